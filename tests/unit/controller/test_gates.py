from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.controller.toy import CONTEXT

from quintain import statistics
from quintain_controller.domain.gates import (
    Gap,
    bootstrap_gate,
    confirmation_gate,
    determinism_gate,
    earlier_bests_gate,
    held_out_gate,
    paired_bootstrap,
)
from quintain_controller.domain.model import (
    Candidate,
    CandidateState,
    Gate,
    PartScore,
    Plan,
    SectionScore,
    VerdictStatus,
    Verification,
)


def part(*values: float, baseline: float = 0.5) -> PartScore:
    mean = sum(values) / len(values)
    return PartScore(mean, baseline, 1.0, mean, {f"s{i}": value for i, value in enumerate(values)})


def candidate(train: PartScore, held_out: PartScore | None) -> Candidate:
    return Candidate(3, CandidateState.VERIFIED, None, train=train, held_out=held_out)


@pytest.mark.parametrize("count", [5, 8, 20])
def test_the_interval_covers_the_mean_of_a_known_population_as_often_as_it_says(
    monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(statistics, "_RESAMPLES", 1000)
    rng, trials = random.Random(count), 400
    intervals = [paired_bootstrap([rng.gauss(0.1, 0.2) for _ in range(count)], trial) for trial in range(trials)]
    covered = sum(interval.low <= 0.1 <= interval.high for interval in intervals)
    # Two standard errors of a share of 400 are 0.022; plain percentiles of five cover too little.
    assert 0.9 <= covered / trials <= 0.98


def test_a_handful_of_scenarios_gives_no_interval_and_must_improve_on_each() -> None:
    seed = candidate(part(0.5, 0.5), part(0.1, 0.1))
    gate = bootstrap_gate(candidate(part(0.9, 0.9), part(0.6, 0.7)), seed, 1)
    assert gate.passed
    assert "from +0.5000 to +0.6000 over 2 held-out scenarios: too few for an interval" in gate.detail
    assert "95 %" not in gate.detail
    assert not bootstrap_gate(candidate(part(0.9, 0.9), part(0.9, 0.1)), seed, 1).passed


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=1, max_size=12), st.integers(0, 2**64 - 1))
def test_the_interval_is_deterministic_and_holds_its_mean(differences: list[float], seed: int) -> None:
    interval = paired_bootstrap(differences, seed)
    assert interval == paired_bootstrap(differences, seed)
    assert min(differences) - 1e-9 <= interval.low <= interval.high <= max(differences) + 1e-9


@pytest.mark.parametrize(
    ("gap", "said"),
    [
        (Gap(0.3, 0.29), ""),
        (Gap(-0.1, -0.2), ""),
        (Gap(0.3, -0.01), "held-out did not"),
        (Gap(0.3, 0.1), "held-out only by +0.1000"),
        (Gap(0.01, 0.001), ""),
    ],
)
def test_overfitting_is_said_out_loud(gap: Gap, said: str) -> None:
    assert (said in gap.overfitting()) if said else gap.overfitting() == ""


def test_held_out_worse_than_the_baseline_is_refused_even_if_better_than_the_seed() -> None:
    context = replace(CONTEXT, held_out=("s0", "s1"))
    seed = candidate(part(0.2, 0.2), part(0.2, 0.2))
    assert not held_out_gate(candidate(part(0.9, 0.9), part(0.4, 0.4)), seed, context).passed
    assert held_out_gate(candidate(part(0.9, 0.9), part(0.6, 0.6)), seed, context).passed
    assert not held_out_gate(candidate(part(0.9, 0.9), None), seed, context).passed


def test_each_section_of_the_held_out_part_must_hold_by_itself() -> None:
    context = replace(CONTEXT, held_out=("s0", "s1"))

    def gate(later: float, busiest: float) -> Gate:
        sections = {"later": SectionScore(later, 0.5), "busiest": SectionScore(busiest, 0.5)}
        held_out = replace(part(later, busiest), sections=sections)
        return held_out_gate(candidate(part(0.9), held_out), candidate(part(0.2), part(0.2, 0.2)), context)

    assert gate(0.5, 0.6).passed
    refused = gate(0.49, 0.9)
    assert not refused.passed
    assert "later by itself 0.4900, baseline 0.5000" in refused.detail
    assert "busiest" not in refused.detail


def test_an_improvement_on_one_scenario_alone_is_not_significant() -> None:
    seed = candidate(part(0.5, 0.5, 0.5, 0.5), part(0.5, 0.5, 0.5, 0.5))
    lucky = candidate(part(0.9, 0.5, 0.5, 0.5), part(0.9, 0.5, 0.5, 0.5))
    steady = candidate(part(0.6, 0.6, 0.6, 0.6), part(0.6, 0.61, 0.62, 0.6))
    assert not bootstrap_gate(lucky, seed, 1).passed
    gate = bootstrap_gate(steady, seed, 1)
    assert gate.passed
    assert "4 held-out scenarios" in gate.detail


def test_a_candidate_that_is_clearly_worse_on_held_out_than_an_earlier_best_is_refused() -> None:
    plan = Plan("b", "full", (0,), (), 0, 0, 1, (), (), 0)
    train = part(0.9, 0.9)

    def best(number: int, *held_out: float) -> Candidate:
        return replace(candidate(train, part(*held_out)), number=number, plan=plan)

    earlier = [best(1, 0.5, 0.5, 0.5, 0.5, 0.5), best(2, 0.7, 0.7, 0.72, 0.7, 0.7)]
    worse = candidate(train, part(0.6, 0.61, 0.62, 0.6, 0.6))
    gate = earlier_bests_gate(worse, earlier, 1)
    assert not gate.passed
    assert "against candidate 2, the best of 2 bests on held-out: -0.0980" in gate.detail
    # one that cannot be told apart from it passes, and so does the earlier one itself
    assert earlier_bests_gate(candidate(train, part(0.6, 0.8, 0.62, 0.8, 0.6)), earlier, 1).passed
    assert earlier_bests_gate(earlier[1], earlier, 1).passed
    # the seed is no best that anybody found: other gates compare with it
    seed = replace(candidate(train, part(0.9, 0.9, 0.9, 0.9, 0.9)), number=0)
    assert earlier_bests_gate(worse, [seed], 1).detail == "no other best has a held-out score"


def test_determinism_and_confirmation_want_the_same_score_and_the_verifiers_word() -> None:
    own = candidate(part(0.6, 0.6), None)
    again = Verification("d", "b1", VerdictStatus.OK, own.train, None, {}, "b", "", "", True, True, "", b"", b"")
    assert determinism_gate(own, again).passed
    assert confirmation_gate(own, again).passed
    assert not determinism_gate(own, replace(again, determinism_checked=False)).passed
    assert not determinism_gate(own, replace(again, train=part(0.6, 0.7))).passed
    wavering = replace(again, status=VerdictStatus.NONDETERMINISTIC, failure="tick 3 differs")
    assert "tick 3 differs" in determinism_gate(own, wavering).detail
    assert not confirmation_gate(own, replace(again, confirmed=False)).passed
