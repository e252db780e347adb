"""Models that are wrong in one mechanism on purpose: the card says in which, the gate refuses, policies find the hole.

The truths are small runs of `tenants` and of the exact FaaS engine; the models are what the grammar of their recordings
writes, with one mechanism taken out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import resources

import pytest
from tests.support.systems import in_process, simulate

from quintain.plugins.doors import RECORDERS, SIMULATORS
from quintain.plugins.package_files import package_files
from quintain.plugins.recorder import Exceeded, RecordedRun
from quintain.plugins.simulator import ModelFault, Part, RunOptions, narrowed
from quintain.verifier.v1 import verifier_pb2 as pb
from quintain_cli.fidelity.card import Card, card_of
from quintain_system.fit import package_fit
from quintain_system.fit.grammar import render
from quintain_system.fit.package_fit import PackageFit
from quintain_system.package_simulator import PackageSimulator
from quintain_system.plugin import simulator
from quintain_system.recorder import recorder

SUITE = """
objective = "on_time"
[[scenarios]]
name = "small"
part = "train"
duration = 300.0
seed = 5
workload = true
config = { nodes = 2, functions = 20, tenants = 4, node_cores = 2, requests_per_second = 1.2 }
"""
# Starts instances until nothing takes one more.
GREEDY = """\
from quintain_system import Decision

functions = []

def decide(observation, happened):
    functions.extend(r.function for r in happened if r.kind == "function")
    waiting = [Decision("place", request=r.request, node=0) for r in happened if r.kind == "request"]
    warm = [Decision("warm", function=f, node=0) for f in functions] if observation["time"] > 0 else []
    return warm + waiting
"""


def system(files: dict[str, bytes]) -> PackageSimulator:
    found = narrowed(simulator, "log", files=files)
    assert isinstance(found, PackageSimulator)
    return found


def recorded(found: PackageSimulator, files: dict[str, bytes], policy: str, source: str) -> RecordedRun:
    scenario = found.scenario(found.suite("log").entries[0].scenario)
    outcome = simulate(found, scenario, in_process(found, source), RunOptions(timeline=True))
    assert outcome.failure is None
    return RecordedRun("log", files, scenario.name, Part.TRAIN, policy, outcome.detail)


@pytest.fixture(scope="module")
def log() -> dict[str, bytes]:
    """What was recorded of the truth under three policies: the package without its model."""
    whole = package_files(resources.files("quintain_system") / "packages" / "tenants")
    truth = {n: c for n, c in whole.items() if not n.startswith("suites/")} | {"suite.toml": SUITE.encode()}
    found = system(truth)
    runs = [recorded(found, truth, b.name, b.source) for b in found.describe().baselines[:3]]
    files = dict(recorder.package(runs[:1])[0])
    for run in runs:
        name, content = recorder.recording(files, run)
        files[name] = content
    return files


@pytest.fixture(scope="module")
def fit(log: dict[str, bytes]) -> Iterator[PackageFit]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(package_fit, "CALIBRATED_ON", 800)
        patch.setattr(package_fit, "RUNS", 10)
        patch.setattr(package_fit, "ROLLOUTS", 2)
        yield PackageFit(log, "build", "log")


# Gives each operator the least, so that as many as there are run at once.
SMALL = """\
from quintain_system import Decision

waiting = []

def decide(observation, happened):
    waiting.extend(r.operator for r in happened if r.kind == "operator" and not r.parents)
    free = int(observation["free_cpu"][0])
    started, waiting[:] = waiting[:free], waiting[free:]
    return [Decision("assign", operator=o, pool=0, cpu=1.0, ram=1.0) for o in started]
"""


def card(fit: PackageFit, model: str) -> Card:
    verdict = pb.Verdict(status=pb.VERDICT_STATUS_OK)
    for entry in fit.suite("log").entries:
        scenario = fit.scenario(entry.scenario)
        outcome = fit.run(scenario, in_process(fit, model), RunOptions(timeline=True, policy_digest=model))
        assert outcome.failure is None
        verdict.scenarios.add(scenario=entry.scenario, detail=outcome.detail)
    return card_of("log", "", "", verdict, (), None)


def found_by(log: dict[str, bytes], model: str, policy: str) -> list[str]:
    """What a policy gets out of the model beyond the recordings."""
    files = log | {"model.py": model.encode()}
    found = system(files)
    run = recorder.recording(log, recorded(found, files, "attack", policy))[1]
    exceeded: list[Exceeded] = list(recorder.exceeded(log, {"attack": run})["attack"])
    return [one.what for one in exceeded]


def fixed(model: str, starts: str, factor: float) -> str:
    """The model with these parameters held at a share of what the recordings suggest."""
    return (
        f"{model}\nPARAMETERS |= {{n: Parameter(p.value * {factor}, p.value * {factor}, p.unit, p.value * {factor})\n"
        f"    for n, p in PARAMETERS.items() if n.startswith({starts!r}) and not n.endswith('_spread')}}\n"
    )


@pytest.fixture(scope="module")
def pools() -> dict[str, bytes]:
    """The FaaS engine, recorded under its own policy and under one that tries sizes by chance."""
    engine, faas = narrowed(SIMULATORS.load("faas"), "smoke"), RECORDERS.load("faas")
    scenario = engine.scenario("smoke_steady")

    def run(policy: str, source: str) -> RecordedRun:
        outcome = simulate(engine, scenario, in_process(engine, faas.policy(source)), RunOptions(timeline=True))
        return RecordedRun("smoke", None, scenario.name, Part.TRAIN, policy, outcome.detail)

    runs = [run("fifo", engine.describe().baselines[0].source)]
    files = dict(faas.package(runs)[0])
    runs.append(run("random_sizes", files["baselines/random_sizes.py"].decode()))
    for recording in runs:
        name, content = faas.recording(files, recording)
        files[name] = content
    return files


def test_no_cold_starts(log: dict[str, bytes], fit: PackageFit) -> None:
    right = render(fit.grammar, {}, "As recorded.")
    wrong = fixed(right, "ready_", 0.0)
    said = card(fit, wrong)
    assert any("`ready after instance` comes far too soon" in words for words in said.words)
    assert any(words.startswith("busiest: it is no nearer") for words in said.refused)
    policy = system(log | {"model.py": wrong.encode()}).describe().baselines[0].source
    assert any(what.startswith("mean seconds from instance to ready") for what in found_by(log, wrong, policy))
    assert not any(what.startswith("mean seconds") for what in found_by(log, right, policy))


def test_service_time_without_contention(log: dict[str, bytes], fit: PackageFit) -> None:
    """Every request takes what it takes on an idle node, less than half of what was recorded on busy ones."""
    wrong = fixed(render(fit.grammar, {"share_finished": "alone"}, "Alone."), "finished_", 0.4)
    said = card(fit, wrong)
    words = [words for words in said.words if words.startswith("`finished after started` comes")]
    assert any("too soon" in text and "above 80% load" in text for text in words)
    assert any(words.startswith("busiest: it is no nearer") for words in said.refused)
    policy = system(log | {"model.py": wrong.encode()}).describe().baselines[0].source
    assert any(what.startswith("mean seconds from started to finished") for what in found_by(log, wrong, policy))


def test_infinite_memory(log: dict[str, bytes], fit: PackageFit) -> None:
    """No recorded policy asked for more memory than there is, so no recording tells: a policy that does breaks it."""
    right = render(fit.grammar, {}, "As recorded.")
    refusal = 'raise Rejected("no_room", "there is no room: memory")'
    assert refusal in right
    wrong = right.replace(refusal, "pass")
    assert card(fit, wrong).failures == ()
    with pytest.raises(
        ModelFault, match=r"^model\.py:\d+: rejected invariant memory: .* held of node 0, and the limit is"
    ):
        found_by(log, wrong, GREEDY)


def test_operators_that_never_run_out_of_memory(pools: dict[str, bytes]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("CALIBRATED_ON", 800), ("RUNS", 10), ("ROLLOUTS", 2)):
            patch.setattr(package_fit, name, value)
        fit = PackageFit(pools, "build", "log")
        right = render(fit.grammar, {}, "As recorded.")
        wrong, replaced = re.subn(r"it\.ram < self\.need_of_out_of_memory\(it\)", "False", right)
        assert replaced == 1
        said = card(fit, wrong)
    assert any(
        "`out_of_memory` never comes" in words or "`out_of_memory` happens 0 times" in words for words in said.words
    )
    assert any(words.startswith("later: it is no nearer") for words in said.refused)
    assert "most at once from started to finished" in found_by(pools, wrong, SMALL)
    assert "most at once from started to finished" not in found_by(pools, right, SMALL)
