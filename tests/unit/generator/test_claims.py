"""What an answer claims is read from whatever form models give it; what cannot be read is no claim."""

from __future__ import annotations

from dataclasses import replace

import pytest
from benchmarks.prompt_size import task_at
from hypothesis import given
from hypothesis import strategies as st

from quintain.plugins.backend import ScenarioFacts
from quintain_generator.domain.claims import MAX_PREDICTIONS, NO_CLAIMS, claims_of
from quintain_generator.domain.extract import cut_at_a_word

TASK = replace(task_at(2), scenarios=(ScenarioFacts("T2_spread_102"), ScenarioFacts("T20"), ScenarioFacts("T5_tight")))


@pytest.mark.parametrize(
    ("text", "hypothesis", "predictions"),
    [
        ("Hypothesis: small jobs first\nPrediction: T5_tight +0.02, mean +0.01", "small jobs first",
         {"T5_tight": 0.02, "": 0.01}),
        ("**Hypothesis:** small jobs\nfirst, always\n\n**Predictions:**\n- `T2`: +2 %\n- T5_tight: -0.1\n",
         "small jobs first, always", {"T2_spread_102": 0.02, "T5_tight": -0.1}),
        ("> - hypothesis = less waste\n> - prediction = all by \u22120.05", "less waste", {"": -0.05}),
        ("Prediction: T99 +0.5, T5_tight +7, T20 0.3", "", {}),  # unknown, impossible, without a sign
        ("I have no idea. The hypothesis: unclear.", "", {}),
        ("", "", {}),
    ],
)  # fmt: skip
def test_claims_are_read_leniently(text: str, hypothesis: str, predictions: dict[str, float]) -> None:
    claims = claims_of(TASK, (text,))
    assert claims.hypothesis == hypothesis
    assert {p.scenario: p.change for p in claims.predictions} == pytest.approx(predictions)


def test_the_first_text_that_claims_something_counts() -> None:
    assert claims_of(TASK, ("nothing", "Hypothesis: b")).hypothesis == "b"
    assert claims_of(TASK, ("Hypothesis: a", "Hypothesis: b")).hypothesis == "a"
    assert claims_of(TASK, ("nothing",)) == NO_CLAIMS


@given(st.text(alphabet="HhypothesisPrediction:+-0.1 T2,\n*%", max_size=300))
def test_any_text_has_bounded_claims(text: str) -> None:
    claims = claims_of(TASK, (text,))
    assert len(claims.predictions) <= MAX_PREDICTIONS
    assert all(abs(p.change) <= 1.0 for p in claims.predictions)
    assert "\n" not in claims.hypothesis


@given(st.text(alphabet="ab \n", max_size=60), st.integers(6, 40))
def test_a_cut_text_ends_after_a_whole_word(text: str, most: int) -> None:
    cut = cut_at_a_word(text, most)
    assert len(cut) <= most
    if cut != text and any(map(str.isspace, text[: most - 4].strip())):
        kept = cut.removesuffix(" ...")
        assert text.startswith(kept)
        assert text[len(kept)].isspace()
