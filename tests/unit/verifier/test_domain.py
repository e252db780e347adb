"""A verdict is a pure function of its plan and the outcomes."""

from __future__ import annotations

import statistics
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quintain.plugins.simulator import (
    Aggregation,
    Direction,
    FailureKind,
    Floor,
    Group,
    Objective,
    Outcome,
    Part,
    PolicyFailure,
    ScenarioScore,
    TimelineEvent,
)
from quintain_verifier.domain.determinism import parting
from quintain_verifier.domain.feedback import TEXT_LIMIT, changes, render, render_details
from quintain_verifier.domain.plan import PlannedScenario, RunPlan
from quintain_verifier.domain.verdict import (
    Reference,
    ScenarioResult,
    Status,
    aggregate,
    assemble,
    canonical,
    first_stop,
    first_time_limit,
)
from quintain_verifier.sandbox.limits import Limits

THROUGHPUT = Objective("throughput", "throughput", "jobs/s", Direction.MAXIMIZE, "")
LATENCY = Objective("latency", "latency", "s", Direction.MINIMIZE, "")
BOUND = 10.0


def planned(count: int, held_out: int = 0, **fields: Any) -> RunPlan:
    parts = [Part.TRAIN] * count + [Part.HELD_OUT] * held_out
    scenarios = tuple(PlannedScenario(f"s{i}", f"digest{i}", part, float(i % 3)) for i, part in enumerate(parts))
    defaults: dict[str, Any] = {
        "source": "x = 1\ny = x / 0\n",
        "simulator": "sim",
        "build": "build",
        "scenarios": scenarios,
        "objective": THROUGHPUT,
        "aggregation": Aggregation.MEAN_NORMALIZED,
        "limits": Limits(),
    }
    return RunPlan(**{**defaults, **fields})


def result(value: float, failure: PolicyFailure | None = None, **outcome: Any) -> ScenarioResult:
    """A score on a scenario whose bound is 10, whose worst value is 0 and whose baseline has 4."""
    value = 0.0 if failure else value
    made = Outcome("s", {"throughput": value}, (), f"decisions {value}", "", failure, **outcome)
    return ScenarioResult(made, ScenarioScore(value, value, value / BOUND, 4.0, BOUND), 0.4)


REFERENCE = Reference(ScenarioScore(0.0, None, 0.0, 4.0, BOUND), 0.4)
RAISED = PolicyFailure(FailureKind.RAISED, "ValueError: no", line=2, traceback="  line 2, in f\n")


def results(*values: float) -> dict[str, ScenarioResult]:
    return {f"s{i}": result(v) for i, v in enumerate(values)}


# ------------------------------------------------------------------------------------------------------------- digest


@pytest.mark.parametrize(
    "change",
    [
        {"source": "x = 2\n"},
        {"simulator": "other"},
        {"build": "other"},
        {"objective": LATENCY},
        {"aggregation": Aggregation.MEDIAN_VALUE},
        {"limits": Limits(cpu_seconds=7)},
        {"limits": Limits(wall_seconds=299.0)},
        {"limits": Limits(memory_bytes=1 << 28)},
        {"seed": 1},
        {"calling_mode": "every_tick"},
        {"check_determinism": True},
        {"confirm": True},
        {"stop_below_score": 0.5},
        {"include_detail": True},
        {"continue_after_time_limit": True},
        {"scenarios": (PlannedScenario("s0", "other", Part.TRAIN, 0.0),)},
        {"scenarios": (PlannedScenario("other", "digest0", Part.TRAIN, 0.0),)},
        {"scenarios": (PlannedScenario("s0", "digest0", Part.HELD_OUT, 0.0),)},
    ],
)
def test_everything_that_changes_the_verdict_changes_the_digest(change: dict[str, Any]) -> None:
    plan = planned(1)
    assert replace(plan, **change).digest != plan.digest


def test_the_digest_is_the_same_under_another_hash_seed() -> None:
    program = (
        "import sys; sys.path.insert(0, '.');"
        "from tests.unit.verifier.test_domain import planned;"
        "print(planned(3, 2, seed=5, stop_below_score=0.1).digest)"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert digests == {planned(3, 2, seed=5, stop_below_score=0.1).digest + "\n"}


# -------------------------------------------------------------------------------------------------------- aggregation

values = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=12)


@given(values)
def test_the_median_is_the_median(numbers: list[float]) -> None:
    assert aggregate(Aggregation.MEDIAN_VALUE, numbers) == pytest.approx(statistics.median(numbers), abs=1e-15)


@given(values)
def test_the_mean_is_exactly_rounded(numbers: list[float]) -> None:
    exact = float(sum(map(Fraction, numbers)))
    assert aggregate(Aggregation.MEAN_NORMALIZED, numbers) == exact / len(numbers)


@given(values, st.randoms())
def test_the_order_of_scenarios_never_changes_a_score(numbers: list[float], random: Any) -> None:
    shuffled = random.sample(numbers, len(numbers))
    for aggregation in Aggregation:
        assert aggregate(aggregation, shuffled) == aggregate(aggregation, numbers)


def test_baseline_and_bound_are_aggregated_like_the_score() -> None:
    plan = planned(3, aggregation=Aggregation.MEDIAN_VALUE)
    part = assemble(plan, results(1.0, 8.0, 3.0), {}).train
    assert part is not None
    assert (part.score, part.baseline_score, part.bound_score) == (3.0, 4.0, 10.0)
    part = assemble(planned(3), results(1.0, 8.0, 3.0), {}).train
    assert part is not None
    assert (part.score, part.baseline_score, part.bound_score) == (pytest.approx(0.4), pytest.approx(0.4), 1.0)


def broken(value: float, reached: float) -> ScenarioResult:
    made = result(value)
    return replace(made, score=replace(made.score, floors=(Floor("queries completed", 15.0, reached),)))


@pytest.mark.parametrize(("objective", "worst"), [(THROUGHPUT, min), (LATENCY, max)])
def test_a_median_is_at_most_as_good_as_the_worst_scenario_with_a_broken_floor(
    objective: Objective, worst: Any
) -> None:
    plan = planned(5, aggregation=Aggregation.MEDIAN_VALUE, objective=objective)
    fair = results(9.0, 9.0, 9.0, 8.0, 2.0)
    part = assemble(plan, fair, {}).train
    assert part is not None
    assert (part.score, part.normalized) == (9.0, 0.9)
    one, other = broken(7.5, 14), broken(3.0, 0) if objective is THROUGHPUT else broken(9.9, 0)
    for unfair in ({"s1": one}, {"s1": other}, {"s1": one, "s3": other}):
        together = {**fair, **unfair}
        part = assemble(plan, together, {}).train
        assert part is not None
        median = statistics.median(s.score.value for s in together.values())
        assert part.score == worst([median, *(s.score.value for s in unfair.values())])
        assert part.normalized == min([median / BOUND, *(s.score.normalized for s in unfair.values())])
    mended = assemble(plan, {**fair, "s1": broken(7.5, 15)}, {}).train
    assert mended is not None
    assert mended.score == statistics.median([9.0, 7.5, 9.0, 8.0, 2.0])


def test_a_broken_floor_settles_early_that_a_median_is_out_of_reach() -> None:
    plan = planned(5, aggregation=Aggregation.MEDIAN_VALUE, stop_below_score=5.0)
    references = {f"s{i}": REFERENCE for i in range(5)}
    assert first_stop(plan, {"s0": result(9.0), "s3": result(3.0)}, references) is None
    assert first_stop(plan, {"s0": result(9.0), "s3": broken(3.0, 7)}, references) == 2


def test_the_share_of_the_bound_is_that_of_the_score() -> None:
    part = assemble(planned(3, aggregation=Aggregation.MEDIAN_VALUE), results(1.0, 8.0, 3.0), {}).train
    assert part is not None
    assert part.bound_score is not None
    assert part.normalized == part.score / part.bound_score


def test_held_out_scenarios_have_a_score_of_their_own() -> None:
    verdict = assemble(planned(1, 1), results(9.0, 2.0), {})
    assert verdict.train is not None
    assert verdict.held_out is not None
    assert (verdict.train.score, verdict.held_out.score) == (0.9, 0.2)
    assert assemble(planned(1), results(9.0), {}).held_out is None


def test_a_failed_scenario_counts_as_the_worst() -> None:
    verdict = assemble(planned(2), {"s0": result(8.0), "s1": result(8.0, RAISED)}, {})
    assert verdict.status is Status.POLICY_FAILED
    assert verdict.train is not None
    assert (verdict.train.score, verdict.train.scenarios_failed) == (0.4, 1)
    assert verdict.failure == RAISED


def test_a_policy_that_is_not_deterministic_has_no_score() -> None:
    twice = PolicyFailure(FailureKind.NONDETERMINISTIC, "decision 1 differs")
    verdict = assemble(planned(2, 1), {**results(8.0, 8.0, 8.0), "s1": result(8.0, twice)}, {})
    assert verdict.status is Status.NONDETERMINISTIC
    assert verdict.train is None
    assert verdict.held_out is None


# -------------------------------------------------------------------------------------------------------------- cascade


@given(
    st.lists(st.floats(0.0, 10.0), min_size=1, max_size=6),
    st.floats(0.0, 1.0),
    st.sampled_from(Aggregation),
    st.integers(0, 2),
    st.data(),
)
def test_stopping_early_is_right_and_does_not_depend_on_what_ran_ahead(
    numbers: list[float], wanted: float, aggregation: Aggregation, held_out: int, data: st.DataObject
) -> None:
    threshold = wanted if aggregation is Aggregation.MEAN_NORMALIZED else wanted * BOUND
    plan = planned(len(numbers), held_out, aggregation=aggregation, stop_below_score=threshold)
    every = results(*numbers, *[5.0] * held_out)
    references = {s.name: REFERENCE for s in plan.scenarios}
    stops = set()
    for ready in range(len(plan.scenarios) + 1):
        ahead = data.draw(st.sets(st.sampled_from([s.name for s in plan.scenarios])))
        prefix = {s.name for s in plan.running_order[:ready]} | ahead
        stop = first_stop(plan, {name: r for name, r in every.items() if name in prefix}, references)
        if stop is not None:
            stops.add(stop)
    assert len(stops) <= 1
    full = assemble(replace(plan, stop_below_score=None), every, {}).train
    assert full is not None
    if stops:
        assert full.score < threshold  # what was cut short could indeed not reach it


LATE = PolicyFailure(FailureKind.CPU_LIMIT, "too slow")


@given(st.lists(st.sampled_from([None, RAISED, LATE]), min_size=1, max_size=6), st.integers(0, 2), st.data())
def test_what_counts_after_a_time_limit_does_not_depend_on_what_ran_ahead(
    failures: list[PolicyFailure | None], held_out: int, data: st.DataObject
) -> None:
    plan = planned(len(failures), held_out)
    every = {f"s{i}": result(5.0, failure) for i, failure in enumerate([*failures, *[None] * held_out])}
    order = [s.name for s in plan.running_order]
    ahead = data.draw(st.sets(st.sampled_from(order)))
    count = first_time_limit(plan, every)
    if LATE not in failures:
        assert count is None
        return
    assert count == failures.index(LATE) + 1
    sooner = first_time_limit(plan, {name: every[name] for name in {*order[: count - 1], *ahead}})
    assert sooner is None or sooner >= count  # with the earlier ones done, it can only come down to the same
    assert first_time_limit(replace(plan, continue_after_time_limit=True), every) is None


def test_a_time_limit_is_the_policys_failure_and_what_did_not_run_counts_as_the_worst() -> None:
    plan = planned(4)
    ran = {"s0": result(8.0), "s1": result(8.0, LATE)}
    verdict = assemble(plan, ran, {s.name: REFERENCE for s in plan.scenarios})
    assert (verdict.status, verdict.failure) == (Status.POLICY_FAILED, LATE)
    assert verdict.train is not None
    assert (verdict.train.score, verdict.train.scenarios_failed) == (0.2, 3)
    assert "A time limit ended the policy, and with it the verification: 2 of 4 scenarios did not run" in render(
        verdict, ()
    )


def test_train_scenarios_run_before_held_out_ones() -> None:
    plan = planned(2, 2)
    mixed = replace(plan, scenarios=tuple(reversed(plan.scenarios)))
    assert [s.name for s in mixed.running_order] == ["s1", "s0", "s3", "s2"]


def test_cheap_train_scenarios_run_first() -> None:
    order = planned(3, 3, stop_below_score=1.0).running_order
    assert [(s.part, s.cost) for s in order] == [(p, c) for p in (Part.TRAIN, Part.HELD_OUT) for c in (0.0, 1.0, 2.0)]


def test_scenarios_that_did_not_run_count_as_the_worst() -> None:
    plan = planned(4, stop_below_score=0.9)
    verdict = assemble(plan, {"s0": result(8.0)}, {s.name: REFERENCE for s in plan.scenarios})
    assert verdict.status is Status.STOPPED_EARLY
    assert verdict.train is not None
    assert (verdict.train.score, verdict.train.scenarios_failed) == (0.2, 3)


# ------------------------------------------------------------------------------------------------------------ canonical


def test_a_memory_address_in_a_message_is_not_part_of_the_verdict() -> None:
    for address in ("0x7f1234567890", "0x55d0c0ffee00"):
        failure = replace(RAISED, message=f"TypeError: <policy.X object at {address}>")
        outcome = canonical(Outcome("s", {}, (), "", "", failure), "a\nb\n")
        assert outcome.failure is not None
        assert outcome.failure.message == "TypeError: <policy.X object at 0x...>"


def test_how_far_a_policy_came_before_its_time_was_up_is_not_part_of_the_verdict() -> None:
    verdicts = set()
    for step in (100, 2000):
        late = PolicyFailure(FailureKind.CPU_LIMIT, "used up 1 s", step=step, time_seconds=step / 10)
        outcome = Outcome("s", {"jobs": step}, (Group("all", {"jobs": step}),), f"d{step}", "guard", late)
        verdicts.add(repr(canonical(outcome, "")))
    assert len(verdicts) == 1


def test_a_traceback_shows_the_policys_own_lines() -> None:
    outcome = canonical(Outcome("s", {}, (), "", "", RAISED), "def f():\n    return 1 / 0\n")
    assert outcome.failure is not None
    assert outcome.failure.traceback == "  line 2, in f\n    return 1 / 0"


# ---------------------------------------------------------------------------------------------------------- determinism


def decided(*log: str, failure: PolicyFailure | None = None) -> Outcome:
    return Outcome("s", {}, (), "|".join(log), "", failure, decision_log=log)


def test_equal_runs_do_not_part() -> None:
    assert parting(decided("a", "b"), decided("a", "b"), "again") is None
    assert parting(decided("a", failure=RAISED), decided("a", failure=replace(RAISED, message="?")), "again") is None


@pytest.mark.parametrize(
    ("second", "where"),
    [
        (decided("a", "c"), "decision 2 differs again: 'b' against 'c'"),
        (decided("a"), "decision 2 differs again: 'b' against no decision"),
        (decided("a", "b", failure=RAISED), "but the run ended well against it failed (raised"),
    ],
)
def test_runs_that_differ_part_at_the_first_difference(second: Outcome, where: str) -> None:
    failure = parting(decided("a", "b"), second, "again")
    assert failure is not None
    assert failure.kind is FailureKind.NONDETERMINISTIC
    assert where in failure.message


def test_a_time_limit_is_no_sign_of_chance() -> None:
    late = PolicyFailure(FailureKind.CPU_LIMIT, "used up 1 s")
    assert parting(decided("a", "b", failure=late), decided("a", failure=late), "again") is None
    assert parting(decided("a", "b"), decided("a", failure=late), "again") == late
    parted = parting(decided("a", "b", failure=late), decided("x", failure=late), "again")
    assert parted is not None
    assert parted.kind is FailureKind.NONDETERMINISTIC


# ------------------------------------------------------------------------------------------------------------- feedback


def test_the_text_says_what_an_author_needs() -> None:
    broken = ScenarioScore(3.0, 8.0, 0.3, 4.0, BOUND, (Floor("query jobs completed", 12.0, 5.0),))
    slow = Outcome(
        "s1",
        {"throughput": 8.0, "waste_percent": 61.5},
        (Group("query", {"arrivals": 12.0, "p99_seconds": 3.25}),),
        "d",
        "",
        failures_by_reason={"OOM": 7},
        timeline=(TimelineEvent(12.5, "container c7 is killed"),),
    )
    verdict = assemble(planned(2), {"s0": result(0.0, RAISED), "s1": ScenarioResult(slow, broken, 0.4)}, {})
    text = render(verdict, changes(verdict, {"s1": 2.5}))
    for expected in (
        "failed on 1 of 2 scenarios",
        "First failure, in s0: an exception left the policy (line 2 of the policy): ValueError: no",
        "- s1: 3, baseline 4, parent 2.5, bound 10, normalised 0.3",
        "BROKEN FLOORS: query jobs completed 5 of 12 (measured 8)",
        "waste_percent 61.5",
        "query: arrivals 12, p99_seconds 3.25",
        "OOM 7",
    ):
        assert expected in text


@pytest.mark.parametrize("aggregation", Aggregation)
def test_an_objective_without_a_unit_is_named_alone(aggregation: Aggregation) -> None:
    """A share, say."""
    share = replace(THROUGHPUT, unit="")
    with_unit, without = (
        render(assemble(planned(1, objective=objective, aggregation=aggregation), {"s0": result(3.0)}, {}), ())
        for objective in (THROUGHPUT, share)
    )
    assert "Scenarios (throughput, jobs/s; " in with_unit
    assert without == with_unit.replace("throughput, jobs/s", "throughput")


def test_details_repeat_nothing_of_a_table_and_no_metric_of_another_objective() -> None:
    broken = ScenarioScore(3.0, 8.0, 0.3, 4.0, BOUND, (Floor("query jobs completed", 12.0, 5.0),))
    slow = Outcome(
        "s1",
        {"throughput": 8.0, "latency": 77.5, "query_arrivals": 12.0},
        (Group("query", {"arrivals": 12.0}),),
        "d",
        "",
    )
    plan = replace(planned(2), other_metrics=("latency",))
    verdict = assemble(plan, {"s0": result(9.0), "s1": ScenarioResult(slow, broken, 0.4)}, {})
    details = render_details(verdict)
    assert "- s1: BROKEN FLOORS: query jobs completed 5 of 12 (measured 8)" in details
    assert "query: arrivals 12" in details
    for repeated in ("baseline 4", "bound 10", "normalised", "latency", "77.5", "query_arrivals"):
        assert repeated not in details
    assert "77.5" not in render(verdict, ())


def test_the_worst_scenario_comes_with_its_worst_moment() -> None:
    moment = (TimelineEvent(12.5, "container c7 is killed"),)
    verdict = assemble(planned(2), {"s0": result(9.0), "s1": result(1.0, timeline=moment)}, {})
    assert "12.5 s: container c7 is killed" in render(verdict, ())


@given(st.integers(1, 40), st.integers(0, 3), st.text(max_size=4000))
def test_the_text_is_bounded(count: int, failing: int, message: str) -> None:
    failure = replace(RAISED, message=message, traceback="  line 2, in f\n" * 300)
    made = {f"s{i}": result(1.0, failure if i < failing else None) for i in range(count)}
    assert len(render(assemble(planned(count), made, {}), ())) <= TEXT_LIMIT


@given(st.data())
def test_the_text_never_depends_on_what_happened_in_held_out_scenarios(data: st.DataObject) -> None:
    plan = planned(2, 2)
    texts = set()
    for _ in range(2):
        made = results(5.0, 6.0)
        for name in ("s2", "s3"):
            failed = data.draw(st.booleans())
            failure = replace(RAISED, message=data.draw(st.text(min_size=1))) if failed else None
            made[name] = result(data.draw(st.floats(0, 10)), failure)
        verdict = assemble(plan, made, {})
        moved = changes(verdict, {s.name: 1.0 for s in plan.scenarios})
        assert {c.scenario for c in moved} == {"s0", "s1"}
        texts.add(render(verdict, moved))
    (text,) = texts
    assert "s2" not in text
    assert "s3" not in text


def test_a_suite_of_held_out_scenarios_shows_nothing() -> None:
    verdict = assemble(planned(0, 2), results(5.0, 6.0), {})
    assert "s0" not in render(verdict, ())


# ------------------------------------------------------------------------------------------------------ several models


def in_two_models(**fields: Any) -> RunPlan:
    """Two situations, each in the models `a` and `b`."""
    scenarios = [(s, m) for s in ("s0", "s1") for m in ("a", "b")]
    made = tuple(PlannedScenario(f"{s}@{m}", f"{s}{m}", Part.TRAIN, 1.0, s, m) for s, m in scenarios)
    return planned(0, scenarios=made, **fields)


def values_in_models(*values: float) -> dict[str, ScenarioResult]:
    names = [s.name for s in in_two_models().scenarios]
    return {name: result(value) for name, value in zip(names, values, strict=True)}


@pytest.mark.parametrize("aggregation", Aggregation)
def test_of_one_situation_in_several_models_the_worst_counts(aggregation: Aggregation) -> None:
    plan = in_two_models(aggregation=aggregation)
    part = assemble(plan, values_in_models(8.0, 2.0, 4.0, 6.0), {}).train
    assert part is not None
    scale = BOUND if aggregation is Aggregation.MEAN_NORMALIZED else 1.0
    assert part.score == pytest.approx(3.0 / scale)
    assert part.normalized == pytest.approx(0.3)
    assert part.models == pytest.approx({"a": 6.0 / scale, "b": 4.0 / scale})
    assert part.scenarios == 4
    assert part.baseline_score == pytest.approx(4.0 / scale)


def test_of_what_is_minimised_the_worst_is_the_largest() -> None:
    plan = in_two_models(aggregation=Aggregation.MEDIAN_VALUE, objective=LATENCY)
    part = assemble(plan, values_in_models(8.0, 2.0, 4.0, 6.0), {}).train
    assert part is not None
    assert part.score == pytest.approx(7.0)


def test_the_score_of_several_models_is_out_of_reach_as_soon_as_one_of_them_says_so() -> None:
    plan = in_two_models(stop_below_score=0.7)
    alone = {s.name: replace(s, group="") for s in plan.scenarios}
    ran = dict(list(values_in_models(8.0, 2.0, 4.0, 6.0).items())[:2])
    assert first_stop(plan, ran, {}) == 2, "at best (0.2 + 1) / 2"
    assert first_stop(replace(plan, scenarios=tuple(alone.values())), ran, {}) is None, "at best (0.8 + 0.2 + 2) / 4"


def test_groups_are_part_of_the_digest() -> None:
    plan = in_two_models()
    apart = tuple(replace(s, group="") for s in plan.scenarios)
    assert plan.digest != replace(plan, scenarios=apart).digest


def test_feedback_names_the_model_that_was_worst() -> None:
    verdict = assemble(in_two_models(), values_in_models(8.0, 2.0, 4.0, 6.0), {})
    for text in (render(verdict, ()), render_details(verdict)):
        assert "Score alone: a 0.6, b 0.4" in text
        assert "- s0: worst in b, 0.2 (a 0.8)" in text
        assert "- s1: worst in a, 0.4 (b 0.6)" in text
    assert "worst in" not in render(assemble(planned(2), results(1.0, 2.0), {}), ())


# ---------------------------------------------------------------------------------------------------------- sections


def test_scenarios_of_one_section_are_also_scored_by_themselves() -> None:
    made = tuple(
        PlannedScenario(f"s{n}", f"d{n}", Part.HELD_OUT, 1.0, section=name)
        for n, name in enumerate(("later", "later", "busiest"))
    )
    plan = planned(0, scenarios=made)
    part = assemble(plan, {s.name: result(value) for s, value in zip(made, (8.0, 2.0, 1.0), strict=True)}, {}).held_out
    assert part is not None
    assert {name: of.normalized for name, of in part.sections.items()} == pytest.approx({"later": 0.5, "busiest": 0.1})
    assert {of.baseline_normalized for of in part.sections.values()} == {0.4}
    apart = tuple(replace(s, section="") for s in made)
    assert plan.digest != replace(plan, scenarios=apart).digest
