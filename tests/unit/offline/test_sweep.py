"""Sweeping the constants of a policy that another backend wrote."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest

from quintain.plugins.backend import Attempt, Example, Operator
from quintain_generator.backends.offline.foreign import sweep_source
from quintain_generator.backends.offline.propose import propose
from quintain_generator.backends.offline.trials import Trial, read_trials

POLICY = """def decide(state):
    share = 0.5
    most = 40
    if state.load > 3:
        return share * most
    return most
"""


def swept(trials: list[Trial], count: int = 300) -> Counter[tuple[str, str]]:
    """Places (old text, "up", "down" or the new comparison) that sweeps with different seeds change."""
    found: Counter[tuple[str, str]] = Counter()
    for seed in range(count):
        _, changes = sweep_source(POLICY, trials, random.Random(seed))
        for change in changes:
            old, new, _ = re.fullmatch(r"(\S+) -> (\S+) \(line (\d+)\)", change).groups()  # type: ignore[union-attr]
            way = new if old == ">" else "up" if float(new) > float(old) else "down"
            found[old, way] += 1
    return found


def of(found: Counter[tuple[str, str]], old: str) -> int:
    return sum(count for (place, _), count in found.items() if place == old)


def test_a_sweep_changes_one_or_two_numbers_and_comparisons_and_no_logic() -> None:
    found = swept([])
    assert {old for old, _ in found} == {"0.5", "40", ">", "3"}
    assert 300 < found.total() < 450
    assert min(of(found, old) for old in ("0.5", "40", ">", "3")) > 50


def test_what_made_no_difference_or_was_in_vain_is_tried_less_and_the_other_way() -> None:
    found = swept([Trial(3, "40", "55", -0.1), Trial(4, "3", "4", 0.0), Trial(2, "0.1", "0.2", 0.0)])
    assert of(found, "3") < of(found, "40") < of(found, "0.5")
    assert found["40", "down"] > 3 * found["40", "up"]


def test_what_helped_is_taken_further() -> None:
    found = swept([Trial(2, "0.4", "0.5", 0.02)])
    assert of(found, "0.5") > 1.5 * of(found, "40")
    assert found["0.5", "up"] > 3 * found["0.5", "down"]


def test_trials_are_read_from_the_digest_against_their_own_parents_and_in_the_scores_direction() -> None:
    history = [
        Attempt(4, "c4", 0.80, "score 0.8, 80.0% of the bound. Sizes by class."),
        Attempt(5, "c5", 0.81, "score 0.81, 81.0% of the bound. c4 with 0.4 -> 0.5 (line 2)."),
        Attempt(6, "c6", 0.80, "score 0.8, 80.0% of the bound. c4 with 3 -> 4 (line 4); > -> >= (line 4)."),
        Attempt(7, "c7", None, "raised at line 3: ZeroDivisionError"),
        Attempt(8, "c8", 0.79, "score 0.79, 79.0% of the bound. c2 with 3 -> 4 (line 4)."),  # nobody knows c2's score
    ]
    parent = Example("c5", POLICY, 0.81, 0.81)
    trials = [Trial(2, "0.4", "0.5", pytest.approx(0.01)), Trial(4, "3", "4", 0.0), Trial(4, ">", ">=", 0.0)]
    assert read_trials(history, parent, 0.81) == trials
    assert read_trials(history, parent, 0.79)[0].gain == pytest.approx(-0.01)  # less is better


def test_a_sweep_that_was_stopped_because_it_decided_the_same_made_no_difference() -> None:
    same = "the same decisions as candidate 4 on one scenario of each kind, not run on the others."
    worse = "worse than candidate 4 on one scenario of each kind, not run on the others."
    history = [
        Attempt(4, "c4", 0.80, "score 0.8, 80.0% of the bound. Sizes by class."),
        Attempt(5, "c5", None, f"{same} c4 with 3 -> 4 (line 4)."),
        Attempt(6, "c6", None, f"{worse} c4 with 0.4 -> 0.5 (line 2)."),
    ]
    found = read_trials(history, Example("c4", POLICY, 0.80, 0.80), 0.80)
    assert found == [Trial(4, "3", "4", 0.0), Trial(2, "0.4", "0.5", -1.0)]


def test_a_change_of_a_foreign_policy_alone_is_a_sweep_that_names_its_parent() -> None:
    parent = Example("c7", POLICY, 0.81, 0.81)
    for grammar in (None,):
        proposal = propose(grammar, [parent], [], Operator.DIFF, 3)
        assert re.fullmatch(r"c7 with \S+ -> \S+ \(line \d\)(; \S+ -> \S+ \(line \d\))?\.", proposal.rationale)
    # one that its own grammar wrote, or a baseline, is no sweep's business
    assert propose(None, [parent], [], Operator.DIFF, 3, baselines=[POLICY]).rationale.startswith("The parent with")


def test_sweeps_of_sweeps_find_the_best_constants() -> None:
    """With the digest of what was tried, as a search sends it; the score is highest at 0.8, 25 and 6."""

    def score(source: str) -> float:
        share, most, load = (float(n) for n in re.findall(r"(?:share = |most = |load >=? )([\d.e+-]+)", source))
        return 1.0 - abs(share - 0.8) - abs(most - 25) / 40 - abs(load - 6) / 10

    ends = []
    for seed in range(5):
        best, history = Example("c0", POLICY, score(POLICY), None), [Attempt(0, "c0", score(POLICY), "")]
        for number in range(1, 60):
            proposal = propose(
                None, [best], [], Operator.DIFF, 1000 * seed + number, history=history[-40:], best_score=best.score
            )
            got = score(proposal.source)
            history.append(Attempt(number, f"c{number}", got, f"score {got}. {proposal.rationale}"))
            if best.score is None or got > best.score:
                best = Example(f"c{number}", proposal.source, got, None)
        ends.append(best.score or 0.0)
    assert score(POLICY) < 0.4
    assert sorted(ends)[1] > 0.9
