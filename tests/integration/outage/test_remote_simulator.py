"""A search on a simulator in another process and language, which is killed in the middle and comes back."""

from __future__ import annotations

import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.node import load_balancer
from tests.support.services import Services, eventually, own_loopback_host

from quintain.clients.controller import Controller
from quintain.controller.v1 import controller_pb2 as pb

CANDIDATES = 24
LIMIT_SECONDS = 120.0
SETTLED = (pb.CANDIDATE_STATE_VERIFIED, pb.CANDIDATE_STATE_REJECTED)

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("load_balancer")]


@dataclass
class Search:
    client: Controller
    search_id: str

    def get(self) -> pb.Search:
        return self.client.get_search(pb.GetSearchRequest(search_id=self.search_id)).search

    def candidates(self) -> list[pb.CandidateSummary]:
        request = pb.ListCandidatesRequest(search_id=self.search_id, page_size=100)
        return list(self.client.list_candidates(request).candidates)

    def settled(self) -> int:
        return sum(c.state in SETTLED for c in self.candidates())


def refused(services: Services) -> float:
    """How many verifications ended because the simulator was not there."""
    with urllib.request.urlopen(f"http://{services.metrics['verifier']}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    ended = [line for line in lines if line.startswith("quintain_rpc_handled_total{") and '"Verify"' in line]
    return sum(float(line.rpartition(" ")[2]) for line in ended if '"UNAVAILABLE"' in line)


def test_a_search_waits_for_its_simulator_and_beats_least_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUINTAIN_CONFIG", str(tmp_path))
    address = f"{own_loopback_host()}:50054"
    spec = pb.SearchSpec(
        simulator="balancer", suite="smoke", backends=["offline"], seed=5, budget=pb.Budget(candidates=CANDIDATES)
    )
    with (
        Services(tmp_path, verifier={"remote_simulators.balancer.address": address}) as services,
        Controller(services.addresses["controller"], timeout_seconds=60) as client,
    ):
        services.start()
        with load_balancer(tmp_path, address) as (_, process):
            search = Search(client, client.create_search(pb.CreateSearchRequest(spec=spec)).search.search_id)
            eventually(lambda: search.settled() >= 2, "the first candidates are settled", LIMIT_SECONDS)
            process.kill()
        eventually(lambda: refused(services) >= 2, "the controller tries again", LIMIT_SECONDS)
        with load_balancer(tmp_path, address) as (_, process):
            before = search.settled()
            eventually(lambda: search.settled() > before, "the search goes on", LIMIT_SECONDS)
            process.kill()
        assert search.get().state == pb.SEARCH_STATE_RUNNING, search.get().pause_reason
        assert search.settled() < CANDIDATES, "it was over before the simulator was killed"
        with load_balancer(tmp_path, address):
            for _ in client.watch_search(search.search_id, 0, timeout=LIMIT_SECONDS):
                pass
        ended, candidates = search.get(), search.candidates()
    assert ended.state == pb.SEARCH_STATE_FINISHED, ended.error
    assert [c.number for c in candidates] == list(range(CANDIDATES + 1))
    assert not [c.summary for c in candidates if "not verified" in c.summary or "SIMULATOR" in c.summary]
    assert ended.best.score > ended.best.baseline_score
