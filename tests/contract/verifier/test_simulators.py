"""Every simulator keeps the promises of the interface: installed ones, ones served by another process; broken ones are
found out."""

from __future__ import annotations

import itertools
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import grpc
import pytest
from tests.support.certificates import certificates
from tests.support.processes import until
from tests.support.served import served as served_anywhere
from tests.support.verifier import BY_HASH, PERFECT, PLUGINS, RAISING, running_verifier, verify
from tiny_simulator.plugin import TinySimulator

from quintain.clients.simulator import UNARY_SECONDS, RemoteSimulator
from quintain.conformance.simulator import CHECKS, check_simulator
from quintain.errors import Internal, Unavailable
from quintain.plugins.doors import SIMULATORS
from quintain.plugins.inprocess import in_process
from quintain.plugins.simulator import (
    Description,
    FailureKind,
    InvalidInput,
    OpenPolicy,
    Outcome,
    RunOptions,
    Scenario,
    ScenarioScore,
    Simulator,
    SimulatorFault,
)
from quintain.service.guest_bundle import bundle_guest
from quintain.service.settings import ConfigError, load_settings
from quintain.simulator.v1 import simulator_pb2, simulator_pb2_grpc
from quintain.type.v1 import type_pb2
from quintain.verifier.v1 import verifier_pb2 as pb
from quintain.wire.endpoints import Endpoint
from quintain_system.fit import package_fit
from quintain_system.fit.plugin import recorded_packages
from quintain_verifier.adapters.registry import RegistryError, load_simulators
from quintain_verifier.config import VerifierSettings
from quintain_verifier.sandbox.jail import Jail


@contextmanager
def served(name: str, folder: Path, *options: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """With the tests' plug-ins."""
    with served_anywhere(name, folder, *options, environment={"PYTHONPATH": str(PLUGINS)}) as found:
        yield found


@pytest.fixture(scope="module")
def tiny_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served("tiny", tmp_path_factory.mktemp("simulator")) as (address, _):
        yield address


def findings(simulator: Simulator, factory: Any = None) -> dict[str, str]:
    results = check_simulator(simulator, factory)
    assert len(results) == len(CHECKS)
    return {r.name: r.message for r in results if not r.passed}


@pytest.fixture
def hardly_calibrated(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A run of `fit` calibrates its candidate. Packages that were read meanwhile are not for other tests."""
    monkeypatch.setattr(package_fit, "CALIBRATED_ON", 400)
    monkeypatch.setattr(package_fit, "RUNS", 5)
    recorded_packages.cache_clear()
    yield
    recorded_packages.cache_clear()


@pytest.mark.parametrize("name", SIMULATORS.names())
@pytest.mark.usefixtures("hardly_calibrated")
def test_every_installed_simulator_conforms(name: str) -> None:
    assert findings(SIMULATORS.load(name)) == {}


def test_a_simulator_served_by_another_process_conforms(tiny_address: str) -> None:
    assert findings(RemoteSimulator(tiny_address)) == {}


def test_a_served_system_conforms(tmp_path: Path) -> None:
    """A model's and a policy's messages cross the wire, so that runs are slow: it must not take many of them."""
    with served("system", tmp_path) as (address, _):
        assert findings(RemoteSimulator(address)) == {}


def test_what_is_dear_is_not_run_and_a_baseline_as_seldom_as_may_be() -> None:
    runs: list[str] = []

    class Counting(TinySimulator):
        def scenario(self, name: str) -> Scenario:
            found = super().scenario(name)
            return replace(found, cost=100.0) if name == "secret" else found

        def run(self, scenario: Scenario, open_policy: OpenPolicy, options: RunOptions) -> Outcome:
            runs.append(scenario.name)
            return super().run(scenario, open_policy, options)

    assert findings(Counting()) == {}
    assert set(runs) == {"short", "long"}
    assert runs.count("long") == 2 * len(TinySimulator().describe().baselines)  # twice, to be compared


def test_a_simulator_conforms_with_policies_in_the_jail() -> None:
    with Jail(["tiny_simulator.guest"], isolation="required") as jail:

        @contextmanager
        def jailed(simulator: Simulator, source: str) -> Iterator[OpenPolicy]:
            with jail.open(source, guest_module=simulator.guest_module) as run:
                yield run.open_policy

        assert findings(TinySimulator(), jailed) == {}


# --------------------------------------------------------------------------------------------------- broken simulators


class Drifting(TinySimulator):
    """Its outcomes change from run to run."""

    runs = itertools.count()

    def run(self, scenario: Scenario, open_policy: OpenPolicy, options: RunOptions) -> Outcome:
        outcome = super().run(scenario, open_policy, options)
        return replace(outcome, metrics={**outcome.metrics, "hits": outcome.metrics["hits"] + 1e-9 * next(self.runs)})


class Credulous(TinySimulator):
    """Falls over what a policy says."""

    def run(self, scenario: Scenario, open_policy: OpenPolicy, options: RunOptions) -> Outcome:
        outcome = super().run(scenario, open_policy, options)
        if outcome.failure is not None and outcome.failure.kind.value == "protocol":
            raise TypeError("unsupported operand")
        return outcome


class Boastful(TinySimulator):
    """Its bound is none."""

    def score(self, objective: str, scenario: Scenario, outcome: Outcome, baseline: Outcome) -> ScenarioScore:
        return replace(super().score(objective, scenario, outcome, baseline), bound=2.0)


class Forgiving(TinySimulator):
    """A failed run keeps what it had."""

    def score(self, objective: str, scenario: Scenario, outcome: Outcome, baseline: Outcome) -> ScenarioScore:
        return super().score(objective, scenario, replace(outcome, failure=None), baseline)


class Silent(TinySimulator):
    """Hides that the policy failed."""

    def run(self, scenario: Scenario, open_policy: OpenPolicy, options: RunOptions) -> Outcome:
        return replace(super().run(scenario, open_policy, options), failure=None)


class Crashing(TinySimulator):
    """Unknown names crash it."""

    def scenario(self, name: str) -> Scenario:
        try:
            return super().scenario(name)
        except InvalidInput as error:
            raise KeyError(name) from error


class Undescribed(TinySimulator):
    def describe(self) -> Description:
        return replace(super().describe(), policy_guide="", baselines=super().describe().baselines[:1])


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        (Drifting, {"runs are deterministic", "an abandoned run leaves nothing behind"}),
        (Credulous, {"garbage from the policy is a failure"}),
        (Boastful, {"scores are reproducible and within bounds"}),
        (Forgiving, {"a failed run has the worst score"}),
        (Silent, {"sources that do not load fail", "failures of the policy are reported"}),
        (Crashing, {"unknown names are invalid input"}),
        (Undescribed, {"description is complete"}),
    ],
)
def test_a_broken_simulator_is_found_out(broken: Callable[[], Simulator], expected: set[str]) -> None:
    assert expected <= set(findings(broken()))


# --------------------------------------------------------------------------------------------------- remote simulators


def test_a_remote_simulator_gives_what_the_installed_one_gives(tiny_address: str) -> None:
    local, remote = TinySimulator(), RemoteSimulator(tiny_address)
    assert remote.describe() == local.describe()
    assert remote.suite("smoke") == local.suite("smoke")
    inline = {"scenario.json": b'{"steps": 5, "seed": 9}'}
    for here, there in (
        (local.scenario("long"), remote.scenario("long")),
        (local.inline_scenario("mine", inline), remote.inline_scenario("mine", inline)),
    ):
        assert here == there
        for source in (PERFECT, RAISING, "def decide(n):\n    return 77\n"):
            options = RunOptions(timeline=True)
            outcome = local.run(here, in_process(local, source), options)
            assert remote.run(there, in_process(remote, source), options) == outcome
            assert remote.score("hits", there, outcome, outcome) == local.score("hits", here, outcome, outcome)


def test_wrong_input_is_named_across_the_wire(tiny_address: str) -> None:
    remote = RemoteSimulator(tiny_address)
    with pytest.raises(InvalidInput, match="known are: long"):
        remote.scenario("nope")
    with pytest.raises(InvalidInput) as error:
        remote.inline_scenario("mine", {"scenario.json": b"{}"})
    assert error.value.field == "scenario.json:1"


def test_a_policy_that_does_not_load_is_to_blame_on_a_served_simulator_too(tmp_path: Path) -> None:
    """The FaaS engine has the policy run its module at the first message, and tells loading from raising itself."""
    with served("faas", tmp_path) as (address, _):
        simulator = RemoteSimulator(address)
        scenario = simulator.scenario(simulator.suite("smoke").entries[0].scenario)
        for source in ("def (:\n", "raise RuntimeError('at import')\n"):
            outcome = simulator.run(scenario, in_process(simulator, source), RunOptions())
            assert outcome.failure is not None
            assert outcome.failure.kind is FailureKind.LOAD
        simulator.close()


def test_the_verifier_gives_the_same_verdict_on_a_remote_simulator(tiny_address: str, tmp_path: Path) -> None:
    config = f'workers = 1\n[remote_simulators]\nfar = "{tiny_address}"\n'
    with running_verifier(tmp_path, config) as running, running.client() as client:
        for source in (PERFECT, RAISING, BY_HASH, "def (:\n"):
            near, far = (
                verify(client, source, simulator=name, check_determinism=True, confirm=True).verdict
                for name in ("tiny", "far")
            )
            assert near.digest != far.digest
            near.ClearField("digest")
            far.ClearField("digest")
            near.simulator = far.simulator
            assert near == far


def test_a_remote_simulator_may_ask_for_a_token_and_a_certificate(tmp_path: Path) -> None:
    certificates(tmp_path)
    (tmp_path / "token").write_text("a-secret-token\n")
    files = {name: str(tmp_path / f"{name}.crt") for name in ("ca", "server", "client")}
    keys = {name: str(tmp_path / f"{name}.key") for name in ("server", "client")}
    asked = ["--token-file", str(tmp_path / "token"), "--certificate-file", files["server"]]
    asked += ["--key-file", keys["server"], "--client-ca-file", files["ca"]]
    with served("tiny", tmp_path, *asked) as (address, _):
        tls = {"ca_file": files["ca"], "certificate_file": files["client"], "key_file": keys["client"]}
        simulators = {
            "known": {"address": address, "token": "a-secret-token", "tls": tls},
            "stranger": {"address": address, "token": "a-wrong-token", "tls": tls},
            "uncertified": {"address": address, "token": "a-secret-token", "tls": {"ca_file": files["ca"]}},
        }
        config = f"workers = 1\nremote_simulators = {_inline_toml(simulators)}\n"
        with running_verifier(tmp_path, config) as running, running.client(retries=False) as client:
            verdict = verify(client, PERFECT, simulator="known", check_determinism=True).verdict
            assert verdict.status == pb.VERDICT_STATUS_OK
            assert verdict.train.score == 1.0
            with pytest.raises(Internal, match="UNAUTHENTICATED"):  # waiting does not help
                verify(client, PERFECT, simulator="stranger")
            with pytest.raises(Unavailable, match="UNAVAILABLE"):
                verify(client, PERFECT, simulator="uncertified")
        assert "secret-token" not in (tmp_path / "log").read_text()


def _inline_toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_inline_toml(inner)}" for key, inner in value.items()) + "}"
    return json.dumps(value)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"far": {"tls": {}}}, "remote_simulators.far.address: Field required"),
        ({"far": {"address": "host:1", "timeout": 3}}, "remote_simulators.far.timeout: Extra inputs are not permitted"),
        ({"far": {"address": "h:1", "tls": {"ca_file": "/none.pem"}}}, "far.tls.ca_file: /none.pem is not a file"),
        ({"far": 7}, "remote_simulators.far"),
    ],
)
def test_a_wrong_remote_simulator_is_named(tmp_path: Path, given: Any, words: str) -> None:
    file = tmp_path / "verifier.toml"
    file.write_text(f"remote_simulators = {_inline_toml(given)}\n")
    with pytest.raises(ConfigError, match=words):
        load_settings(VerifierSettings, str(file), "QUINTAIN_TEST__")


def test_a_remote_simulators_death_is_not_the_policys_fault(tmp_path: Path) -> None:
    config = 'workers = 1\n[remote_simulators]\nfar = "{}"\n'
    fragile = {"simulator": "far", "suite": "", "scenarios": ["fragile"]}
    with (
        served("tiny", tmp_path) as (address, process),
        running_verifier(tmp_path, config.format(address)) as running,
        running.client(retries=False) as client,
    ):
        with pytest.raises((Internal, Unavailable)) as error:
            verify(client, "def decide(n):\n    return 13\n", **fragile)  # kills the simulator
        assert error.value.reason == "SIMULATOR_FAULT"
        assert process.wait(30) == 1
        assert verify(client, PERFECT).verdict.status == pb.VERDICT_STATUS_OK  # others go on
        with pytest.raises(Unavailable):
            verify(client, PERFECT, simulator="far")


def test_a_remote_simulator_that_hangs_holds_up_nobody_else(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # connections wait for ever to be accepted
        config = f'workers = 1\n[remote_simulators]\nfar = "127.0.0.1:{deaf.getsockname()[1]}"\n'
        with (
            running_verifier(tmp_path, config) as running,
            running.client(retries=False) as client,
            ThreadPoolExecutor(20) as pool,
        ):
            hanging = [pool.submit(verify, client, f"{PERFECT}# {n}\n", simulator="far") for n in range(20)]
            calls = 'quintain_rpc_in_flight{method="Verify",service="verifier"} 20.0'
            until(lambda: calls in urlopen(f"http://{running.metrics_address}/metrics").read().decode())
            assert verify(client, PERFECT).verdict.status == pb.VERDICT_STATUS_OK
            assert not any(call.done() for call in hanging)
            running.process.kill()


@pytest.fixture
def deaf() -> Iterator[str]:
    """An address at which connections wait for ever to be accepted."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def dead() -> str:
    """An address at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return f"127.0.0.1:{listening.getsockname()[1]}"


def test_a_sick_remote_simulator_is_listed_with_the_reason_and_the_others_at_once(
    deaf: str, dead: str, tmp_path: Path
) -> None:
    config = f'workers = 1\n[remote_simulators]\ndeaf = "{deaf}"\ndead = "{dead}"\n'
    with running_verifier(tmp_path, config) as running, running.client(retries=False) as client:
        before = time.monotonic()
        listed = {s.name: s for s in client.list_simulators(pb.ListSimulatorsRequest()).simulators}
        assert time.monotonic() - before < UNARY_SECONDS / 2, "the list waited for the one that does not answer"
        assert listed["tiny"].build
        assert listed["tiny"].unavailable_reason == ""
        assert f"{dead}: UNAVAILABLE" in listed["dead"].unavailable_reason
        assert listed["deaf"].unavailable_reason == "it did not describe itself within 3 s"
        assert (listed["deaf"].address, listed["deaf"].build) == (deaf, "")
        running.process.kill()


def test_the_fault_of_a_dead_simulator_is_said_once(dead: str) -> None:
    (result,) = check_simulator(RemoteSimulator(dead))
    assert not result.passed
    assert f"the simulator at {dead}: UNAVAILABLE" in result.message
    assert f"the {len(CHECKS) - 1} checks that follow were not run" in result.message


def test_one_fault_that_meets_many_checks_is_said_once() -> None:
    class Unscored(TinySimulator):
        def score(self, objective: str, scenario: Scenario, outcome: Outcome, baseline: Outcome) -> ScenarioScore:
            raise SimulatorFault("cannot score")

    assert findings(Unscored()) == {
        "unknown names are invalid input": "a wrong objective raises SimulatorFault, must be InvalidInput",
        "scores are reproducible and within bounds": "cannot score",
        "a failed run has the worst score": "the same fault as in: scores are reproducible and within bounds",
    }


class OlderServicer(simulator_pb2_grpc.SimulatorServicer):
    """Describes itself without what was added since, and has none of the other calls."""

    def Describe(self, request: simulator_pb2.DescribeRequest, context: Any) -> simulator_pb2.DescribeResponse:
        simulator = type_pb2.SimulatorDescription(name="old", title="An old one")
        return simulator_pb2.DescribeResponse(simulator=simulator)


def test_a_simulator_of_an_older_contract_gets_its_word(tmp_path: Path) -> None:
    server = grpc.server(ThreadPoolExecutor(2))
    simulator_pb2_grpc.add_SimulatorServicer_to_server(OlderServicer(), server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    words = "its description lacks build, objectives, baselines, suites, guest_source: it serves an older contract"
    config = f'workers = 1\n[remote_simulators]\nold = "{address}"\n'
    try:
        with pytest.raises(SimulatorFault, match=words):
            RemoteSimulator(address).describe()
        with pytest.raises(SimulatorFault, match="does not have this call"):
            RemoteSimulator(address).inline_scenario("mine", {"scenario.json": b""})
        with running_verifier(tmp_path, config) as running, running.client(retries=False) as client:
            listed = {s.name: s for s in client.list_simulators(pb.ListSimulatorsRequest()).simulators}
            assert words in listed["old"].unavailable_reason
            with pytest.raises(Internal, match=words):  # not UNAVAILABLE: no waiting helps
                verify(client, PERFECT, simulator="old")
    finally:
        server.stop(None)


def test_a_simulator_that_says_nothing_is_a_fault(tmp_path: Path) -> None:
    endless = "def decide(n):\n    return 15\n"  # the engine then computes for ever
    with served("tiny", tmp_path) as (address, process):
        remote = RemoteSimulator(address, message_seconds=0.3)
        with pytest.raises(SimulatorFault, match=r"said nothing for"):
            remote.run(remote.scenario("fragile"), in_process(remote, endless), RunOptions())
        process.kill()


def test_the_guests_of_the_built_in_simulators_can_travel() -> None:
    """The bundle runs in an interpreter that has none of the guest's own modules."""
    program = (
        "import json, sys; namespace = {}; exec(sys.stdin.read(), namespace);"
        "print(callable(namespace['load']), namespace['load'].__module__)"
    )
    bundle = bundle_guest("quintain_faas.guest")
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], input=bundle, capture_output=True, text=True, cwd="/"
    )
    assert ran.stdout.split() == ["True", "quintain_faas.guest.session"], ran.stderr


# ----------------------------------------------------------------------------------------------------------- registry


def test_a_simulator_that_is_not_there_is_named() -> None:
    with pytest.raises(RegistryError, match=r"\['nope'\] are not installed; installed are .*'tiny'"):
        load_simulators(("nope",), {})
    with pytest.raises(RegistryError, match="both installed and remote"):
        load_simulators(("tiny",), {"tiny": Endpoint(address="host:1")})
