"""A search on traces of one's own, whose controller and verifier are killed: the other controller ends it from what
PostgreSQL holds, as if nothing had happened."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.crash.harness import START_SECONDS, Service, free_port

import quintain
from quintain.controller.v1 import controller_pb2 as pb
from quintain.errors import QuintainError
from quintain.session import Search, Session

TEMPLATE = Path(__file__).parents[2] / "simulators/faas/quintain_faas/template"
CANDIDATES = 12


def service(folder: Path, name: str, config: str) -> Service:
    """Started; it listens where it always will."""
    port = free_port()
    file = folder / f"{name}.toml"
    file.write_text(f'{config}\n[server]\nlisten = "127.0.0.1:{port}"\n')
    started = Service(f"quintain_{name.rstrip('01')}.main", file, folder, port)
    started.start()
    return started


@pytest.fixture
def stack(tmp_path: Path, postgres_url: str) -> Iterator[dict[str, Service]]:
    """Generator, verifier and two controllers on one database; what they keep else is theirs alone."""
    services = {
        "generator": service(tmp_path, "generator", f'store_url = "sqlite:///{tmp_path}/generator.db"'),
        "verifier": service(tmp_path, "verifier", 'simulators = ["faas"]\nworkers = 1'),
    }
    others = "".join(f'[{name}]\naddress = "{one.address}"\n' for name, one in services.items())
    for name in ("controller0", "controller1"):
        wanted = f'store_url = "{postgres_url}"\n[runner]\nlease_seconds = 3.0\n{others}'
        services[name] = service(tmp_path, name, wanted)
    yield services
    for one in services.values():
        one.kill()


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A suite that no simulator has: two traces, one of them held out."""
    folder = tmp_path / "mine"
    shutil.copytree(TEMPLATE, folder)
    trace = folder / "monday.csv"
    trace.write_text(trace.read_text().replace("INTERACTIVE", "BATCH_PIPELINE"))
    return folder


def connect(to: Service) -> Session:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            return quintain.connect(to.address)
        except QuintainError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def essence(search: Search) -> list[tuple[Any, ...]]:
    rows = search.candidates()
    return [(row.number, row.state, row.parents, row.score, row.held_out_score) for row in rows]


@pytest.mark.timeout(600)
def test_another_controller_ends_a_search_on_ones_own_traces(stack: dict[str, Service], suite: Path) -> None:
    wanted = {"suite": suite, "backends": ["offline"], "candidates": CANDIDATES, "seed": 3}
    moved = suite.with_name("moved")
    with connect(stack["controller0"]) as first, connect(stack["controller1"]) as other:
        began = first.create_search(**wanted)
        for event in began.watch():
            if event.kind == "candidate changed" and (event.number or 0) >= 3:
                break
        stack["controller0"].kill()
        assert other.search(began.id).state == "running"
        stack["verifier"].kill()  # and with it all that it was sent
        suite.rename(moved)  # nobody reads the folder again
        stack["verifier"].start()

        ended = other.search(began.id).wait(400)
        assert (ended.state, ended.message.spend.candidates) == ("finished", CANDIDATES)
        report = pb.ReplayReport()
        for response in other.controller.replay_search(pb.ReplaySearchRequest(search_id=began.id), 300):
            assert response.WhichOneof("event") != "difference", response.difference
            report = response.report
        assert (report.equal, report.winner_equal) == (True, True)

        moved.rename(suite)
        undisturbed = other.create_search(**wanted).wait(400)
        assert essence(undisturbed) == essence(ended)
        assert undisturbed.message.winner.score == ended.message.winner.score
