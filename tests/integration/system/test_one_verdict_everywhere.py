"""One system and one policy through every door: the same verdict to the last bit, and the metrics of a plain run.

Embedded (a command that starts its own verifier), a stack of real service processes with several verifiers, each of
these by itself, and all of it again with the systems served by ``quintain-simulator``. That a plain run is the same on
every version of Python is in `test_one_verdict` and `tests.golden.test_systems`."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from google.protobuf import json_format
from tests.support.served import served
from tests.support.services import Services
from tests.support.verifier import RunningVerifier, running_verifier

import quintain_system
from quintain.clients.controller import Controller
from quintain.clients.suite_files import read_suite, suite_message
from quintain.controller.v1 import controller_pb2
from quintain.plugins.doors import SIMULATORS
from quintain.plugins.inprocess import in_process, simulate
from quintain.plugins.simulator import RunOptions, Simulator, narrowed
from quintain.type.v1 import type_pb2
from quintain.verifier.v1 import verifier_pb2 as pb

pytestmark = pytest.mark.xdist_group("one_verdict")

REPLICAS = 3
SIMULATORS_BY_PLACE = {"here": "system", "remote": "far"}


@dataclass(frozen=True)
class Package:
    """`suite`: what the command line is given, a name or a folder; `policy`: one of its baselines."""

    suite: str
    policy: str

    @property
    def files(self) -> dict[str, bytes] | None:
        return read_suite(self.suite)[1]

    @property
    def name(self) -> str:
        return read_suite(self.suite)[0]

    def simulator(self) -> Simulator:
        return narrowed(SIMULATORS.load("system"), self.name, files=self.files)

    @property
    def source(self) -> str:
        return next(b.source for b in self.simulator().describe().baselines if b.name == self.policy)

    def request(self, simulator: str, **fields: object) -> pb.VerifyRequest:
        return pb.VerifyRequest(
            simulator=simulator,
            suite=self.name,
            suite_files=suite_message(self.files),
            policy=type_pb2.Policy(source=self.source),
            **fields,  # type: ignore[arg-type]
        )


SHIPPED = Path(quintain_system.__file__).parent / "packages"


@dataclass(frozen=True)
class Stack:
    verifiers: list[RunningVerifier]
    controller: str

    @property
    def address(self) -> str:
        """All verifiers behind one name."""
        return "ipv4:" + ",".join(verifier.address for verifier in self.verifiers)


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served("system", tmp_path_factory.mktemp("far")) as (address, _):
        yield address


@pytest.fixture(scope="module")
def stack(far: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with ExitStack() as running:
        config = f'workers = 1\nsimulators = ["system"]\n[remote_simulators]\nfar = "{far}"\n'
        verifiers = [
            running.enter_context(running_verifier(tmp_path_factory.mktemp(f"verifier{n}"), config))
            for n in range(REPLICAS)
        ]
        address = Stack(verifiers, "").address
        services = Services(tmp_path_factory.mktemp("stack"), controller={"verifier.address": address})
        running.enter_context(services)
        started = services.start("controller", "generator")
        yield Stack(verifiers, started["controller"].address)


def bits(verdict: pb.Verdict) -> bytes:
    """All of it but what names the request: by which name the simulator was called, which seed and checks were asked
    for."""
    same = pb.Verdict()
    same.CopyFrom(verdict)
    for field in ("digest", "simulator", "seed", "determinism_checked", "confirmed"):
        same.ClearField(field)
    return same.SerializeToString(deterministic=True)


def metrics(scenario: pb.ScenarioVerdict) -> Mapping[str, str]:
    """In hexadecimal, groups' as GROUP.METRIC."""
    named = {m.name: m.value for m in scenario.metrics}
    named |= {f"{g.name}.{m.name}": m.value for g in scenario.groups for m in g.metrics}
    return {name: value.hex() for name, value in named.items()}


def plain_run(package: Simulator, scenario: str, source: str) -> Mapping[str, str]:
    outcome = simulate(package, package.scenario(scenario), in_process(package, source), RunOptions())
    assert outcome.failure is None, outcome.failure
    named = dict(outcome.metrics) | {f"{g.name}.{n}": v for g in outcome.groups for n, v in g.metrics.items()}
    return {name: value.hex() for name, value in named.items()}


def of_the_command(package: Package, simulator: str, folder: Path, **environment: str) -> pb.Verdict:
    """By ``quintain verify``: with a verifier of its own unless `environment` names one."""
    policy = folder / "policy.py"
    policy.write_text(package.source)
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("QUINTAIN_", "XDG_"))}
    named = {"QUINTAIN_DATA": str(folder / "data"), "QUINTAIN_RUN": str(folder / "run"), "XDG_CONFIG_HOME": str(folder)}
    options = ("--simulator", simulator, "--suite", package.suite, "--json")
    done = subprocess.run(
        [sys.executable, "-m", "quintain_cli.app", "verify", str(policy), *options],
        env={**kept, **named, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json_format.Parse(done.stdout.splitlines()[0], pb.Verdict())


def of_a_search(stack: Stack, package: Package, simulator: str) -> list[controller_pb2.Candidate]:
    """The policy and two candidates that the offline backend makes of it, with their verdicts on train."""
    spec = controller_pb2.SearchSpec(
        simulator=simulator,
        suite=package.name,
        suite_files=suite_message(package.files),
        backends=["offline"],
        seed_policies=[type_pb2.Policy(source=package.source)],
        budget=controller_pb2.Budget(candidates=2),
        parallel_verifications=REPLICAS,
        seed=7,
    )
    with Controller(stack.controller) as controller:
        search = controller.create_search(controller_pb2.CreateSearchRequest(spec=spec)).search.search_id
        *_, last = controller.watch_search(search, timeout=300.0)
        assert last.state_changed.state == controller_pb2.SEARCH_STATE_FINISHED, last
        listed = controller.list_candidates(controller_pb2.ListCandidatesRequest(search_id=search)).candidates
        ids = [summary.candidate_id for summary in sorted(listed, key=lambda summary: summary.number)]
        return [
            controller.get_candidate(controller_pb2.GetCandidateRequest(candidate_id=candidate)).candidate
            for candidate in ids
        ]


@pytest.fixture(scope="module", params=["installed", "files"])
def package(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Package:
    if request.param == "installed":
        return Package("tenants/smoke", "greedy_dual")
    folder = tmp_path_factory.mktemp("own") / "balancer"
    shutil.copytree(SHIPPED / "load_balancer", folder)
    suite = folder / "suite.toml"
    suite.write_text(suite.read_text().replace("duration = 30.0", "duration = 5.0"))
    return Package(str(folder), "shortest_queue")


@pytest.fixture(scope="module")
def expected(package: Package, tmp_path_factory: pytest.TempPathFactory) -> pb.Verdict:
    """The embedded one."""
    return of_the_command(package, "system", tmp_path_factory.mktemp("embedded"))


def test_an_embedded_verifier_says_what_a_plain_run_says(package: Package, expected: pb.Verdict) -> None:
    simulator = package.simulator()
    assert [s.scenario for s in expected.scenarios] == [e.scenario for e in simulator.suite(package.name).entries]
    for scenario in expected.scenarios:
        assert metrics(scenario) == plain_run(simulator, scenario.scenario, package.source)


@pytest.mark.parametrize("place", SIMULATORS_BY_PLACE)
def test_every_replica_says_the_same(stack: Stack, package: Package, expected: pb.Verdict, place: str) -> None:
    for verifier in stack.verifiers:
        with verifier.client() as client:
            result = client.verify(package.request(SIMULATORS_BY_PLACE[place], seed=3))
        assert not result.execution.cached
        assert bits(result.verdict) == bits(expected)


@pytest.mark.parametrize("place", SIMULATORS_BY_PLACE)
def test_the_command_says_the_same_of_a_stack(
    stack: Stack, package: Package, expected: pb.Verdict, place: str, tmp_path: Path
) -> None:
    verdict = of_the_command(package, SIMULATORS_BY_PLACE[place], tmp_path, QUINTAIN_VERIFIER=stack.address)
    assert bits(verdict) == bits(expected)


def test_a_search_in_a_stack_says_the_same(stack: Stack, package: Package, expected: pb.Verdict) -> None:
    train = pb.Verdict(scenarios=[s for s in expected.scenarios if s.part == type_pb2.PART_TRAIN])
    here, remote = (of_a_search(stack, package, simulator) for simulator in SIMULATORS_BY_PLACE.values())
    assert bits(pb.Verdict(scenarios=here[0].verdict.scenarios)) == bits(train)
    assert [c.source for c in here] == [c.source for c in remote]
    assert [bits(c.verdict) for c in here] == [bits(c.verdict) for c in remote]
    assert len({c.source for c in here}) == 3


def test_the_last_bit_of_any_number_is_seen(expected: pb.Verdict) -> None:
    """What the tests above compare by."""
    for number, scenario in enumerate(expected.scenarios):
        assert len(scenario.metrics) + sum(len(g.metrics) for g in scenario.groups) == len(metrics(scenario))
        for place in range(len(scenario.metrics)):
            changed = pb.Verdict()
            changed.CopyFrom(expected)
            metric = changed.scenarios[number].metrics[place]
            metric.value = math.nextafter(metric.value, math.inf)
            assert bits(changed) != bits(expected)
            assert metrics(changed.scenarios[number]) != metrics(scenario)
