"""Failures that come from too little, what is done when all its parts are, and which policy is held out."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from quintain.plugins.doors import RECORDERS, SIMULATORS
from quintain.plugins.inprocess import in_process, simulate
from quintain.plugins.recorder import RecordedRun
from quintain.plugins.simulator import Part, RunOptions, narrowed
from quintain_system.fit.grammar import render
from quintain_system.fit.lifecycle import Join
from quintain_system.fit.needs import Attempt, need_of
from quintain_system.fit.package_fit import PackageFit
from quintain_system.recordings.form import Entry, Recording
from quintain_system.recordings.split import four_way

SCENARIO = "smoke_steady"


def attempts(need: dict[str, float], amounts: tuple[float, ...]) -> list[Attempt]:
    """Things of two kinds that are given more until they have enough; what CPU they have does not matter."""
    chance = random.Random(1)
    made = []
    for thing in range(60):
        kind = "large" if thing % 3 == 0 else "small"
        for amount in amounts:
            failed = amount < need[kind]
            given = {"it.cpu": float(chance.randint(1, 8)), "it.ram": amount}
            made.append(Attempt(thing, given, failed, {"it.kind": kind}))
            if not failed:
                break
    return made


def test_what_tells_who_fails_is_found_with_its_groups() -> None:
    found = need_of(attempts({"small": 30.0, "large": 90.0}, (10.0, 20.0, 40.0, 80.0, 160.0)), frozenset({"kind"}))
    assert found is not None
    assert found.given == "it.ram"
    assert found.sigma == 0.0
    assert found.groups["it.kind"] == {"small": 40.0, "large": 160.0}  # the least that was enough, exactly


def test_of_what_was_never_tried_the_most_is_taken_to_be_needed() -> None:
    found = need_of(attempts({"small": 30.0, "large": 30.0}, (20.0, 80.0)), frozenset())
    assert found is not None
    assert found.median == 80.0  # 20 is too little and 80 is enough


def test_failures_by_chance_need_nothing() -> None:
    chance = random.Random(2)
    same = [replace(a, failed=chance.random() < 0.3) for a in attempts({"small": 30.0, "large": 90.0}, (10.0, 20.0))]
    assert need_of(same, frozenset({"kind"})) is None
    assert need_of([replace(a, failed=False) for a in same], frozenset()) is None


@pytest.fixture(scope="module")
def pools() -> PackageFit:
    plugin, recorder = narrowed(SIMULATORS.load("faas"), "smoke"), RECORDERS.load("faas")
    start = plugin.describe().baselines[0].source

    def run(policy: str, source: str) -> RecordedRun:
        opened = in_process(plugin, recorder.policy(source))
        outcome = simulate(plugin, plugin.scenario(SCENARIO), opened, RunOptions(timeline=True))
        assert outcome.failure is None
        return RecordedRun("smoke", None, SCENARIO, Part.TRAIN, policy, outcome.detail)

    files, _ = recorder.package([run("start", start)])
    names = ("fifo_tenths", "priority_tenths", "random_sizes")
    made = [recorder.recording(files, run(name, files[f"baselines/{name}.py"].decode())) for name in names]
    return PackageFit({**files, **dict(made)}, "test", "pools")


def test_pools_run_out_of_memory_by_what_they_are_given_and_pipelines_end_with_their_last_operator(
    pools: PackageFit, monkeypatch: pytest.MonkeyPatch
) -> None:
    life = pools._lifecycle
    assert life.joins == {"done": Join("operator", "pipeline", "finished")}
    assert "pipeline" not in life.next
    assert not any("by_pipeline" in gene.name for gene in pools.grammar.genes)  # they come and go
    event, need = life.needs["started"]
    assert (event, need.given) == ("out_of_memory", "it.ram")
    monkeypatch.setattr("quintain_system.fit.package_fit.RUNS", 3)
    source = render(pools.grammar, {}, "as recorded")
    outcome = pools.run(pools.scenario("pools/train"), in_process(pools, source), RunOptions())
    assert outcome.failure is None
    by_chance = render(pools.grammar, {"fails_out_of_memory": "chance"}, "by chance")
    other = pools.run(pools.scenario("pools/train"), in_process(pools, by_chance), RunOptions())
    floors = outcome.metrics["floor_queueing"], outcome.metrics["floor_replay"]
    assert outcome.metrics["distance"] < 0.6 * min(floors)
    assert outcome.metrics["distance"] < other.metrics["distance"]


def test_the_policy_that_tried_most_amounts_is_not_held_out() -> None:
    def recording(policy: str, amounts: list[float], idle: int = 0) -> Recording:
        made = [Entry(float(t), "decision", "give", {"job": t, "ram": ram}) for t, ram in enumerate(amounts)]
        made += [Entry(50.0, "input", "job", {"job": n}) for n in range(idle)]
        return Recording(policy, "system", policy, {}, 100.0, tuple(made))

    few, many = [10.0, 20.0] * 4, [float(n) for n in range(4)]
    split = four_way([recording("fixed", few), recording("varied", many), recording("other", few, idle=1)])
    assert [r.policy for r in split.other_policy] == ["fixed"]
    split = four_way([recording("fixed", few), recording("varied", many[:3])])
    assert [r.policy for r in split.other_policy] == ["varied"]
