"""Suites of one's own on a simulator that is served by another process: the cache example, with one's own trace."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from tests.support.cache_eviction import EXAMPLE, served_cache
from tests.support.services import Services, eventually, own_loopback_host
from tests.support.verifier import running_verifier, verify

from quintain.clients.controller import Controller
from quintain.clients.simulator import RemoteSimulator
from quintain.clients.suite_files import suite_message
from quintain.conformance.simulator import _in_this_process, _Subject, suites_of_ones_own_are_taken_and_checked
from quintain.controller.v1 import controller_pb2
from quintain.errors import InvalidArgument
from quintain.plugins.inprocess import in_process
from quintain.plugins.simulator import InvalidInput, RunOptions, SimulatorUnavailable, files_digest
from quintain.simulator.v1 import simulator_pb2, simulator_pb2_grpc
from quintain.verifier.v1 import verifier_pb2

sys.path.insert(0, str(EXAMPLE))
from cache_eviction.plugin import simulator as local  # type: ignore[import-not-found,unused-ignore]

SUITE = b"""
[[scenarios]]
name = "monday"
part = "train"
capacity = 2
trace = "monday.csv"

[[scenarios]]
name = "tuesday"
part = "held_out"
capacity = 3
trace = "monday.csv"
"""
TRACE = ("key\n" + "".join(f"{key}\n" for key in "abcabdabcaabbdcabcdabc" * 20)).encode()
FILES = {"suite.toml": SUITE, "monday.csv": TRACE}
FIRST = "def evict(cache, key):\n    return next(iter(cache))\n"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served_cache(tmp_path_factory.mktemp("cache")) as (address, _):
        yield address


@pytest.fixture
def remote(address: str) -> Iterator[RemoteSimulator]:
    simulator = RemoteSimulator(address)
    yield simulator
    simulator.close()


def test_it_conforms(remote: RemoteSimulator) -> None:
    suites_of_ones_own_are_taken_and_checked(_Subject(remote, _in_this_process))


def test_a_suite_is_the_same_here_and_there(remote: RemoteSimulator) -> None:
    there, here = remote.from_files("mine", FILES), local.from_files("mine", FILES)
    assert there.describe().build == here.describe().build
    assert there.suite("mine") == here.suite("mine")
    lru = here.describe().baselines[0].source
    for name in ("monday", "tuesday"):
        ours, theirs = here.scenario(name), there.scenario(name)
        assert ours.digest == theirs.digest
        outcomes = [
            one.run(scenario, in_process(one, lru), RunOptions()) for one, scenario in ((here, ours), (there, theirs))
        ]
        assert outcomes[0] == outcomes[1]
        assert there.score("hit_rate", theirs, outcomes[1], outcomes[1]) == here.score(
            "hit_rate", ours, outcomes[0], outcomes[0]
        )
    assert remote.suite_template("x") == local.suite_template("x")
    assert list(remote.suite_notes("mine", FILES)) == list(local.suite_notes("mine", FILES))


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({**FILES, "suite.toml": SUITE.replace(b"capacity = 2", b"capacity = 0")}, r"scenarios\[1\]:capacity"),
        ({"suite.toml": SUITE}, "monday.csv: is missing"),
        ({**FILES, "monday.csv": b"key\na\n\n,\n"}, "monday.csv:4:key: is empty"),
        ({**FILES, "../up": b""}, "is no relative name"),
    ],
)
def test_what_is_wrong_is_said_with_file_and_place(remote: RemoteSimulator, files: dict[str, bytes], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        remote.from_files("mine", files)


def reached(simulator: RemoteSimulator) -> bool:
    try:
        return bool(simulator.describe().name)
    except SimulatorUnavailable:
        return False


def test_files_cross_once_and_again_to_a_server_that_lost_them(tmp_path: Path) -> None:
    listen = f"{own_loopback_host()}:50054"
    with served_cache(tmp_path, listen) as (address, _):
        simulator = RemoteSimulator(address)
        own = simulator.from_files("mine", FILES)
        scenario = own.scenario("monday")
    with served_cache(tmp_path, listen) as (address, _):
        stub = simulator_pb2_grpc.SimulatorStub(grpc.insecure_channel(address))
        named = verifier_pb2.SuiteFiles(digest=files_digest(FILES))
        request = simulator_pb2.GetSuiteRequest(suite=simulator_pb2.OwnSuite(name="mine", files=named))
        with pytest.raises(grpc.RpcError, match="are not here; send them"):
            stub.GetSuite(request)
        eventually(lambda: reached(simulator), "the connection is there again")
        outcome = own.run(scenario, in_process(own, FIRST), RunOptions())
        assert outcome.failure is None
        assert stub.GetSuite(request).suite.name == "mine"
        simulator.close()


def test_the_verifier_verifies_on_it_and_names_what_takes_none(address: str, tmp_path: Path) -> None:
    config = f'[remote_simulators]\ncache = "{address}"\n'
    with running_verifier(tmp_path, config) as running, running.client() as client:
        result = verify(client, FIRST, simulator="cache", suite="mine", suite_files=suite_message(FILES))
        verdict = result.verdict
        assert [(s.scenario, s.value > 0) for s in verdict.scenarios] == [("monday", True), ("tuesday", True)]
        with pytest.raises(InvalidArgument, match="takes no suites of one's own"):
            verify(client, FIRST, simulator="tiny", suite="mine", suite_files=suite_message(FILES))
        one = [
            verifier_pb2.File(name=n, content=c) for n, c in (("scenario.toml", b"capacity = 2"), ("trace.csv", TRACE))
        ]
        inline = verifier_pb2.InlineScenario(name="monday", files=one)
        alone = verify(client, FIRST, simulator="cache", suite="", inline_scenarios=[inline]).verdict
        assert alone.scenarios[0].value == verdict.scenarios[0].value
        broken = suite_message({**FILES, "monday.csv": b"keys\na\n"})
        with pytest.raises(InvalidArgument, match=r"monday\.csv:1: needs a column 'key'"):
            verify(client, FIRST, simulator="cache", suite="mine", suite_files=broken)


def test_a_server_of_the_contract_before_takes_none(remote: RemoteSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    described = simulator_pb2.DescribeResponse()
    described.CopyFrom(remote._description())
    described.takes_suites = False
    monkeypatch.setattr(remote, "_described", described)
    with pytest.raises(InvalidInput, match="takes no suites of one's own"):
        remote.from_files("mine", FILES)


@pytest.mark.timeout(240)
def test_a_search_on_ones_own_trace_goes_on_when_its_simulator_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUINTAIN_CONFIG", str(tmp_path))
    address = f"{own_loopback_host()}:50054"
    spec = controller_pb2.SearchSpec(
        simulator="cache",
        suite="mine",
        suite_files=suite_message(FILES),
        backends=["offline"],
        seed=3,
        budget=controller_pb2.Budget(candidates=8),
    )
    with (
        Services(tmp_path, verifier={"remote_simulators.cache.address": address}) as services,
        Controller(services.addresses["controller"], timeout_seconds=60) as client,
    ):
        services.start()
        with served_cache(tmp_path, address) as (_, process):
            created = client.create_search(controller_pb2.CreateSearchRequest(spec=spec)).search
            request = controller_pb2.GetSearchRequest(search_id=created.search_id)
            eventually(lambda: client.get_search(request).search.spend.verifications >= 3, "three verifications")
            process.kill()
        with served_cache(tmp_path, address):
            for _ in client.watch_search(created.search_id, timeout=120):
                pass
            search = client.get_search(request).search
            assert search.state == controller_pb2.SEARCH_STATE_FINISHED, search
            assert search.best.score >= search.best.baseline_score
            assert search.spend.candidates == 8
            replayed = [
                r.report
                for r in client.replay_search(controller_pb2.ReplaySearchRequest(search_id=created.search_id), 120)
                if r.HasField("report")
            ]
            assert [report.equal for report in replayed] == [True]
