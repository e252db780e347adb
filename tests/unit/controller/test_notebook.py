"""A notebook joins predictions with what was measured, and tells the entries that are worth it, by number."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from quintain_controller.domain.model import Candidate, CandidateState, PartScore, Plan, Prediction, VerdictStatus
from quintain_controller.domain.notebook import (
    LESSON_CHARACTERS,
    MOST_LESSONS,
    Failures,
    Notebook,
    compared,
    lesson,
    outcome_of,
)


def part(**values: float) -> PartScore:
    mean = sum(values.values()) / len(values)
    return PartScore(mean, 0.1, 1.0, mean, values)


def candidate(
    number: int, hypothesis: str = "", /, *predictions: Prediction, parent: int = 0, **values: float
) -> Candidate:
    plan = Plan("gpt", "full", (parent,), (), 0, 1, number, (), (), None) if number else None
    status = VerdictStatus.OK if values else VerdictStatus.POLICY_FAILED
    train = part(**values) if values else None
    return Candidate(
        number, CandidateState.VERIFIED, plan, status=status, train=train, hypothesis=hypothesis,
        predictions=predictions, summary="raised at line 7: KeyError" if not values else "",
    )  # fmt: skip


def verified(new: Candidate, parent: Candidate) -> Candidate:
    return compared(new, new.train if new.status is VerdictStatus.OK else None, parent)


SEED = candidate(0, T2=0.5, T5=0.4)


@pytest.mark.parametrize(
    ("predicted", "measured", "outcome"),
    [
        (0.02, -0.02, "false"), (0.02, 0.0004, "false"), (0.02, 0.019, "true"), (0.02, 0.005, "partly"),
        (-0.1, -0.3, "true"), (0.0, 0.0, "true"), (0.0, 0.05, "false"), (0.1, None, ""),
    ],
)  # fmt: skip
def test_a_prediction_holds_by_its_direction_and_half_its_size(
    predicted: float, measured: float | None, outcome: str
) -> None:
    assert outcome_of(Prediction("T2", predicted, measured)) == outcome


def test_a_lesson_says_what_was_claimed_predicted_and_measured() -> None:
    new = candidate(7, "small jobs first.", Prediction("T2", 0.02), Prediction("", 0.01), T2=0.48, T5=0.6)
    assert lesson(verified(new, SEED)) == (
        "#7 from #0: small jobs first. Predicted T2 +0.020, measured -0.020: false; predicted mean +0.010, measured "
        "+0.090: true; moved most: T5 +0.200."
    )


def test_a_failed_candidate_is_a_lesson_with_its_reason() -> None:
    assert lesson(verified(candidate(3, "guess"), SEED)) == "#3 from #0: guess. It failed: raised at line 7: KeyError"


def test_failures_are_told_by_their_reason_the_frequent_first_with_their_numbers() -> None:
    failures = Failures()
    for number, rule in enumerate(["overcommit", "overcommit", "", "overcommit", "overcommit", "not_ready"]):
        failures.tell(replace(candidate(number), rule=rule, summary=f"rejected at line {number}: {rule}"))
    assert failures.texts() == (
        "4 failed so (#1, #3, #4): rejected at line 4: overcommit",
        "1 failed so (#5): rejected at line 5: not_ready",
        "1 failed so (#2): rejected at line 2:",
    )


def test_what_was_never_verified_or_claims_nothing_is_no_entry() -> None:
    notebook = Notebook()
    notebook.tell(verified(candidate(1, T2=0.9, T5=0.9), SEED))
    notebook.tell(replace(candidate(2, "refused"), status=VerdictStatus.NONE))
    assert notebook.chosen() == ()


def test_big_gains_and_surprises_outlive_what_taught_nothing_and_equal_claims_are_told_once() -> None:
    notebook = Notebook()
    told = [
        candidate(1, "gains much", T2=0.9, T5=0.9),
        candidate(2, "is surprised", Prediction("T2", 0.15), T2=0.45, T5=0.4),
        *(candidate(n, f"changes nothing {n}", T2=0.5, T5=0.4) for n in range(3, 60)),
        candidate(60, "Gains: much", T2=0.8, T5=0.9),
    ]
    for new in told:
        notebook.tell(verified(new, SEED))
    chosen = notebook.chosen()
    assert len(chosen) == MOST_LESSONS
    assert {2, 60} <= set(chosen)
    assert 1 not in chosen
    assert [text.split(" ")[0] for text in notebook.texts(chosen)] == [f"#{n}" for n in chosen]


@given(st.text(max_size=2000), st.floats(0, 1), st.text(min_size=1, max_size=80).filter(lambda name: name != "parent"))
@example("idea", 0.5, "hypothesis")
def test_a_lesson_is_one_bounded_line(hypothesis: str, value: float, name: str) -> None:
    seed = candidate(0, **{name: 0.5})
    text = lesson(verified(candidate(1, hypothesis, Prediction(name, 0.1), **{name: value}), seed))
    assert len(text) <= LESSON_CHARACTERS
    assert "\n" not in text
