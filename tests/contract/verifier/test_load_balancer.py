"""The example simulator in TypeScript keeps the contract like one of ours."""

from __future__ import annotations

import itertools
import queue
import random
import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.support.node import built_load_balancer, load_balancer
from tests.support.processes import until
from tests.support.verifier import running_verifier, verify

from quintain.clients.simulator import RemoteSimulator
from quintain.conformance.simulator import check_simulator
from quintain.plugins.grammar import Grammar
from quintain.plugins.inprocess import in_process
from quintain.plugins.simulator import FailureKind, InvalidInput, Outcome, RunOptions
from quintain.simulator.v1 import simulator_pb2, simulator_pb2_grpc
from quintain.verifier.v1 import verifier_pb2
from quintain_generator.backends.offline.render import render
from quintain_generator.backends.offline.variation import random_genome

pytestmark = pytest.mark.xdist_group("load_balancer")

# One server at twice the usual speed, which works on one request and lets one wait.
ONE_SERVER = """
[[servers]]
name = "only"
slots = 1
speed = 2.0
queue = 1
warm_up_seconds = 2.0
"""
TRACE = "arrival_seconds,kind,work_seconds\n"
MAX_RUNS = 64
FIRST = "def choose(balancer, request):\n    return 0\n"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with load_balancer(tmp_path_factory.mktemp("simulator")) as (address, _):
        yield address


@pytest.fixture(scope="module")
def remote(address: str) -> Iterator[RemoteSimulator]:
    simulator = RemoteSimulator(address)
    yield simulator
    simulator.close()


def run_inline(remote: RemoteSimulator, toml: str, rows: str, policy: str = FIRST, mode: str = "") -> Outcome:
    scenario = remote.inline_scenario("mine", {"scenario.toml": toml.encode(), "trace.csv": (TRACE + rows).encode()})
    return remote.run(scenario, in_process(remote, policy), RunOptions(calling_mode=mode))


def test_it_conforms(remote: RemoteSimulator) -> None:
    results = check_simulator(remote)
    assert [r for r in results if not r.passed] == []
    assert Grammar.from_json(remote.describe().grammar).seeds


OWN_SUITE = f"""{ONE_SERVER}
[[scenarios]]
name = "monday"
part = "train"

[[scenarios]]
name = "tuesday"
part = "held_out"

[[scenarios.disturbances]]
server = "only"
from_seconds = 0.06
until_seconds = 0.1
""".encode()
OWN_TRACE = (TRACE + "0.0,small,0.1\n0.07,small,0.1\n1.06,small,0.1\n").encode()


def test_a_suite_of_ones_own_is_run_like_one_of_its_own(remote: RemoteSimulator) -> None:
    own = remote.from_files("mine", {"suite.toml": OWN_SUITE, "trace.csv": OWN_TRACE})
    assert [(entry.scenario, entry.part.value) for entry in own.suite("mine").entries] == [
        ("monday", "train"),
        ("tuesday", "held_out"),
    ]
    outcomes = {
        name: own.run(own.scenario(name), in_process(own, FIRST), RunOptions()) for name in ("monday", "tuesday")
    }
    alone = run_inline(remote, ONE_SERVER, OWN_TRACE.decode().removeprefix(TRACE))
    assert outcomes["monday"].metrics == alone.metrics
    assert outcomes["tuesday"].metrics["failed_share"] > 0.0


@pytest.mark.parametrize(
    ("suite", "said"),
    [
        (OWN_SUITE.replace(b'"train"', b'"held_out"'), "suite.toml:scenarios: none is of part train"),
        (OWN_SUITE.replace(b"tuesday", b"monday"), r"suite.toml:scenarios\[1\].name: found"),
        (OWN_SUITE.replace(b'server = "only"', b'server = "gone"'), r"scenarios\[1\].disturbances\[0\].server: found"),
        (OWN_SUITE + b"[[", "suite.toml:"),
        (OWN_SUITE.replace(b"slots", b"slot"), r"scenarios\[0\].servers\[0\]:slot: unknown key"),
    ],
)
def test_what_is_wrong_in_a_suite_of_ones_own_is_named(remote: RemoteSimulator, suite: bytes, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        remote.from_files("mine", {"suite.toml": suite, "trace.csv": OWN_TRACE})


def test_the_guides_example_is_the_baseline(remote: RemoteSimulator) -> None:
    description = remote.describe()
    (example,) = re.findall(r"```python\n(.*?)```", description.policy_guide, re.DOTALL)
    scenario = remote.scenario("smoke_deaths")
    outcomes = [
        remote.run(scenario, in_process(remote, source), RunOptions())
        for source in (example, description.baselines[0].source)
    ]
    assert outcomes[0] == outcomes[1]


def test_whatever_the_grammar_says_is_a_policy(remote: RemoteSimulator) -> None:
    grammar = Grammar.from_json(remote.describe().grammar)
    rng = random.Random(1)
    scenario = remote.scenario("smoke_deaths")
    decided = set()
    for _ in range(25):
        source = render(grammar, random_genome(grammar, rng))
        outcome = remote.run(scenario, in_process(remote, source), RunOptions())
        assert outcome.failure is None, f"{outcome.failure}\n{source}"
        decided.add(outcome.decisions_digest)
    assert len(decided) > 12, "the genes hardly matter"


def test_a_request_waits_for_its_window_then_for_its_slot(remote: RemoteSimulator) -> None:
    outcome = run_inline(remote, ONE_SERVER, "0.01,small,0.1\n0.02,large,0.4\n0.03,small,0.1\n")
    # Sent at 0.05: the first until 0.1, the second until 0.3; the third finds slot and queue taken.
    groups = {group.name: group.metrics for group in outcome.groups}
    assert groups["large"]["mean_response_seconds"] == pytest.approx(0.28)
    assert groups["small"]["mean_response_seconds"] == pytest.approx((0.09 + 5.0) / 2)
    assert groups["small"]["failed_share"] == 0.5
    assert outcome.metrics["failed_share"] == pytest.approx(1 / 3)


def test_a_death_loses_what_the_server_holds_and_the_return_is_cold(remote: RemoteSimulator) -> None:
    death = '[[disturbances]]\nserver = "only"\nfrom_seconds = 0.06\nuntil_seconds = 0.1\n'
    outcome = run_inline(remote, ONE_SERVER + death, "0.0,small,0.1\n0.07,small,0.1\n1.06,small,0.1\n")
    # The first is lost. The second is served at 0.1, at 0.3 of the speed of 2; the third at 1.1, half warm, at 0.65.
    second, third = 0.03 + 0.1 / 0.6, 0.04 + 0.1 / 1.3
    assert outcome.metrics["mean_response_seconds"] == pytest.approx((5.0 + second + third) / 3, abs=1e-6)


def test_what_a_neighbour_takes_is_back_when_it_ends(remote: RemoteSimulator) -> None:
    slow = '[[disturbances]]\nserver = "only"\nfrom_seconds = 0.01\nuntil_seconds = 0.2\nshare = 0.25\n'
    outcome = run_inline(remote, ONE_SERVER + slow, "0.0,small,0.05\n0.25,small,0.05\n")
    assert outcome.metrics["mean_response_seconds"] == pytest.approx((0.05 + 0.1 + 0.05 + 0.025) / 2)


def test_a_policy_sees_what_a_balancer_sees_and_nothing_before_it_happened(remote: RemoteSimulator) -> None:
    watching = """
seen = []

def on_response(balancer, server, kind, seconds, good):
    seen.append((round(balancer.time, 3), kind, round(seconds, 3), good))

def choose(balancer, request):
    server = balancer.servers[0]
    assert (server.name, server.slots, server.queue) == ("only", 1, 1)
    assert request.waited == 0.04 and server.sent == round(balancer.time / 0.1 - 0.5)
    assert seen == [] if server.sent == 0 else seen[-1] == (round(balancer.time, 3), "small", 0.05, True)
    assert server.outstanding == 0 and server.healthy
    return server.index
"""
    outcome = run_inline(remote, ONE_SERVER, "0.01,small,0.1\n0.11,large,0.1\n", watching)
    assert outcome.failure is None, outcome.failure


def test_runs_do_not_hang_on_the_server_that_made_them(remote: RemoteSimulator, tmp_path: Path) -> None:
    source = remote.describe().baselines[0].source
    with load_balancer(tmp_path) as (address, _):
        other = RemoteSimulator(address)
        assert other.describe() == remote.describe()
        for suite in remote.describe().suites:
            assert other.suite(suite) == remote.suite(suite)
        outcomes = [
            simulator.run(simulator.scenario("smoke_deaths"), in_process(simulator, source), RunOptions())
            for simulator in (remote, other)
        ]
        other.close()
    assert outcomes[0] == outcomes[1]


def test_runs_do_not_hang_on_the_machine(remote: RemoteSimulator) -> None:
    """The same bits wherever it runs. A change of the generator or of a scenario changes them, and is to be seen."""
    scenario = remote.scenario("smoke_steady")
    assert scenario.digest == "8bc0349445652c3cfae04fade0414cd8b96dab1b50eb399eeecca8b02ac4cfa3"
    outcome = remote.run(scenario, in_process(remote, remote.describe().baselines[0].source), RunOptions())
    assert outcome.decisions_digest == "6608ef8c28846d9d5a46ccc79cc84c7c66c6a91a02e486944ae27ecd674a484b"


def test_the_build_is_of_the_code_that_runs_not_of_the_files_as_they_are_now(tmp_path: Path) -> None:
    built = built_load_balancer()
    for part in ("dist", "python"):
        shutil.copytree(built / part, tmp_path / part)
    shutil.copy(built / "package.json", tmp_path)
    (tmp_path / "node_modules").symlink_to(built / "node_modules")
    builds = []
    for _ in range(2):
        with load_balancer(tmp_path, built=tmp_path) as (address, _process):
            simulator = RemoteSimulator(address)
            builds.append(simulator.describe().build)
            with (tmp_path / "python" / "guest.py").open("a") as guest:
                guest.write("# another build\n")
            assert simulator.describe().build == builds[-1]
            simulator.close()
    assert builds[0] != builds[1]


def test_many_runs_at_once_do_not_mix(remote: RemoteSimulator) -> None:
    def run(number: int) -> Outcome:
        baselines = remote.describe().baselines
        policy = in_process(remote, baselines[number % len(baselines)].source)
        return remote.run(remote.scenario("smoke_noisy"), policy, RunOptions())

    alone = [run(number) for number in range(3)]
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(run, range(12))) == alone * 4


def test_one_message_a_window_or_one_a_request_decide_the_same(remote: RemoteSimulator) -> None:
    rows = "".join(f"{n / 1000:.3f},small,0.05\n" for n in range(300))
    for policy in (FIRST, *(b.source for b in remote.describe().baselines)):
        by_window, by_request = (run_inline(remote, ONE_SERVER, rows, policy, m) for m in ("windows", "each_request"))
        assert by_window.metrics == by_request.metrics
        assert by_window.decisions_digest == by_request.decisions_digest


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        ("7", FailureKind.REJECTED, "choose() gave server 7; there are 1, numbered from 0"),
        ("-1", FailureKind.REJECTED, "choose() gave server -1"),
        ("0.5", FailureKind.PROTOCOL, "expected a list of 1 server numbers, got [0.5]"),
        ("None", FailureKind.PROTOCOL, "expected a list of 1 server numbers, got [null]"),
        ("True", FailureKind.PROTOCOL, "expected a list of 1 server numbers, got [true]"),
        ("10**18", FailureKind.REJECTED, "choose() gave server 1000000000000000000"),
    ],
)
def test_a_wrong_decision_is_the_policys_failure(
    remote: RemoteSimulator, answer: str, kind: FailureKind, words: str
) -> None:
    policy = f"def choose(balancer, request):\n    return {answer} if balancer.time > 1 else 0\n"
    outcome = run_inline(remote, ONE_SERVER, "0.1,small,0.01\n0.2,small,0.01\n1.1,small,0.01\n", policy)
    assert outcome.failure is not None
    assert outcome.failure.kind is kind
    assert words in outcome.failure.message
    assert (outcome.failure.step, outcome.failure.time_seconds) == (3, pytest.approx(1.15))


@pytest.mark.parametrize(
    ("toml", "trace", "field", "words"),
    [
        (None, TRACE, "scenario.toml", "is missing; the files given are: trace.csv"),
        (ONE_SERVER, None, "trace.csv", "is missing"),
        ("servers = [", TRACE, "scenario.toml:1:11", "Invalid TOML document"),
        ("colour = 1\n", TRACE, "scenario.toml:colour", "unknown key; known are: description, trace, seed"),
        ("servers = 3\n", TRACE, "scenario.toml:servers", "must be a list of tables"),
        ("servers = []\n", TRACE, "scenario.toml:servers", "at least one server is needed"),
        ("[[servers]]\nspeed = 0\n", TRACE, "scenario.toml:servers[0].speed", "found 0; must be a number from 0.01"),
        ("[[servers]]\nslots = 1.5\n", TRACE, "scenario.toml:servers[0].slots", "must be a whole number from 1"),
        ("[[servers]]\n" * 300, TRACE, "scenario.toml:servers", "has 300 entries; at most 256"),
        (ONE_SERVER + '[[disturbances]]\nserver = "x"\n', TRACE, "scenario.toml:disturbances[0].server", "of: only"),
        (
            ONE_SERVER + '[[disturbances]]\nserver = "only"\nfrom_seconds = 3\nuntil_seconds = 2\n',
            TRACE,
            "scenario.toml:disturbances[0].until_seconds",
            "must be after from_seconds",
        ),
        (b"\xff", TRACE, "scenario.toml", "is not UTF-8 text"),
        (ONE_SERVER, "time,kind\n", "trace.csv:1", "must be arrival_seconds,kind,work_seconds"),
        (ONE_SERVER, TRACE, "trace.csv", "at least one request is needed"),
        (ONE_SERVER, TRACE + "1,small\n", "trace.csv:2", "has 2 columns; must have 3"),
        (ONE_SERVER, TRACE + "x,small,1\n", "trace.csv:2:arrival_seconds", 'found "x"; must be a number'),
        (ONE_SERVER, TRACE + "2,small,1\n1,small,1\n", "trace.csv:3:arrival_seconds", "is before the row above"),
        (ONE_SERVER, TRACE + "1,medium,1\n", "trace.csv:2:kind", "found 'medium'; must be one of: small, large"),
        (ONE_SERVER, TRACE + "1,small,-1\n", "trace.csv:2:work_seconds", "found -1; must be a number"),
        (ONE_SERVER, TRACE + "1,small,8\n", "trace.csv:2:work_seconds", "must be below 5"),
        (ONE_SERVER, TRACE + "1,small,1\n" * 200_001, "trace.csv", "has 200001 rows; at most 200000"),
    ],
)
def test_wrong_files_are_named_with_row_and_column(
    remote: RemoteSimulator, toml: str | bytes | None, trace: str | None, field: str, words: str
) -> None:
    given = {"scenario.toml": toml, "trace.csv": trace}
    files = {name: c.encode() if isinstance(c, str) else c for name, c in given.items() if c is not None}
    with pytest.raises(InvalidInput) as error:
        remote.inline_scenario("mine", files)
    assert error.value.field == field
    assert words in error.value.message


def test_what_breaks_the_protocol_is_refused(address: str) -> None:
    start, wrong_mode = (
        simulator_pb2.SimulateRequest(start=simulator_pb2.Start(scenario="smoke_steady", calling_mode=mode))
        for mode in ("", "x")
    )
    answer, no_json, query, nothing = (
        simulator_pb2.SimulateRequest(policy_reply=simulator_pb2.PolicyReply(**reply))
        for reply in ({"answer_json": "[]"}, {"answer_json": "x{"}, {"query_json": "1"}, {})
    )
    with grpc.insecure_channel(address) as channel:
        stub = simulator_pb2_grpc.SimulatorStub(channel)
        for requests, words in (
            ([answer], "the first message of a run must be start"),
            ([start, start], "a run has one start"),
            ([start], "one reply is due for every policy_message"),
            ([start, nothing], "one reply is due for every policy_message"),
            ([start, no_json], "policy_reply.answer_json: is not JSON"),
            ([wrong_mode], "known are: each_request, windows"),
            ([answer] * 50, "the first message of a run must be start"),
        ):
            with pytest.raises(grpc.RpcError, match=words) as error:
                list(stub.Simulate(iter(requests), timeout=30))
            assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        late = list(stub.Simulate(iter([start, query, start, answer]), timeout=30))
        assert late[-1].outcome.failure.kind == verifier_pb2.FAILURE_KIND_PROTOCOL, (
            "what comes after the end is ignored"
        )


def test_runs_at_a_time_are_bounded_and_one_whose_caller_is_gone_counts_no_more(tmp_path: Path) -> None:
    start = simulator_pb2.SimulateRequest(start=simulator_pb2.Start(scenario="smoke_steady"))

    def begun(stub: simulator_pb2_grpc.SimulatorStub) -> Any:
        """A run that waits for its policy."""
        hold: queue.SimpleQueue[None] = queue.SimpleQueue()
        call = stub.Simulate(itertools.chain([start], iter(hold.get, None)))
        next(call)
        return call

    with load_balancer(tmp_path) as (address, process), grpc.insecure_channel(address) as channel:
        stub = simulator_pb2_grpc.SimulatorStub(channel)
        calls = [begun(stub) for _ in range(MAX_RUNS)]
        with pytest.raises(grpc.RpcError, match=f"{MAX_RUNS} runs are simulated already") as error:
            begun(stub)
        assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        calls.pop().cancel()
        until(lambda: _begins(lambda: calls.append(begun(stub))))
        for call in calls:
            call.cancel()
        process.terminate()
        assert process.wait(30) == 0


def _begins(begin: Callable[[], None]) -> bool:
    try:
        begin()
    except grpc.RpcError:
        return False
    return True


def test_the_verifier_runs_its_policies_in_the_jail(address: str, tmp_path: Path) -> None:
    config = f'workers = 2\nsimulators = ["tiny"]\n[remote_simulators]\nbalancer = "{address}"\n'
    simulator = RemoteSimulator(address)
    with running_verifier(tmp_path, config) as running, running.client() as client:
        for baseline in simulator.describe().baselines:
            careful = baseline.name == "random_choice"  # it would be the first to decide otherwise a second time
            verdict = verify(
                client, baseline.source, simulator="balancer", suite="smoke", check_determinism=careful, confirm=careful
            ).verdict
            assert verdict.status == verifier_pb2.VERDICT_STATUS_OK, verdict.failure
            assert 0 < verdict.train.score <= verdict.train.baseline_score
            assert (verdict.train.score == verdict.train.baseline_score) == (baseline.name == "least_connections")
        inline = verifier_pb2.InlineScenario(name="mine")
        inline.files.add(name="scenario.toml", content=ONE_SERVER.encode())
        inline.files.add(name="trace.csv", content=f"{TRACE}0.01,small,0.1\n".encode())
        verdict = verify(client, FIRST, simulator="balancer", suite="", inline_scenarios=[inline]).verdict
        assert verdict.scenarios[0].value == pytest.approx(0.09)
        peeking = "import socket\ndef choose(balancer, request):\n    socket.socket()\n    return 0\n"
        verdict = verify(client, peeking, simulator="balancer", suite="smoke").verdict
        assert verdict.status == verifier_pb2.VERDICT_STATUS_POLICY_FAILED
        assert verdict.train.score == 0.0
    simulator.close()
