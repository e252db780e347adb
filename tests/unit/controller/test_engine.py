"""Opening a database that cannot be used: what is wrong is said, and nothing is touched."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.controller.toy import CONTEXT, make_spec

from quintain.errors import FailedPrecondition, Unavailable
from quintain_controller.adapters.store.sql import SqlStore
from quintain_controller.domain.records import NewSearch


@pytest.mark.parametrize(
    "url",
    ["nonsense", "oracle://x/y", "mysql+nothing://x/y", "sqlite:///{folder}/taken/store.db", ""],
)
def test_a_wrong_url_is_refused_with_a_right_one(tmp_path: Path, url: str) -> None:
    (tmp_path / "taken").write_text("a file where a folder would be")
    with pytest.raises(FailedPrecondition, match="store_url") as refused:
        SqlStore(url.replace("{folder}", str(tmp_path)))
    assert "\n" not in refused.value.message


def test_a_database_that_cannot_be_reached_is_named_without_its_password() -> None:
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1/quintain cannot be opened") as refused:
        SqlStore("postgresql+psycopg://me:hidden@127.0.0.1:1/quintain")
    assert "hidden" not in refused.value.message


def test_a_file_that_is_no_database_stays_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "letter.txt"
    file.write_text("Dear Sir or Madam, " * 100)
    with pytest.raises(Unavailable, match="not a database"):
        SqlStore(f"sqlite:///{file}")
    assert file.read_text().startswith("Dear Sir")


def test_a_database_of_a_newer_controller_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    SqlStore(f"sqlite:///{file}").close()
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(FailedPrecondition, match="9999 was made by a newer controller"):
        SqlStore(f"sqlite:///{file}")
    with sqlite3.connect(file) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("9999",)


def test_a_database_that_may_not_be_written_is_unavailable(tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    SqlStore(f"sqlite:///{file}").close()
    store = SqlStore(f"sqlite:///file:{file}?mode=ro&uri=true")
    with pytest.raises(Unavailable, match="readonly"):
        store.create(NewSearch("one", "request", "digest", make_spec("evolve"), CONTEXT))
    store.close()


def test_a_database_that_another_program_has_locked_is_unavailable(tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    store = SqlStore(f"sqlite:///{file}?timeout=0.05")
    with sqlite3.connect(file, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Unavailable, match="locked"):
            store.acquire("me", 1, 15.0)
        with pytest.raises(Unavailable, match="locked"):
            SqlStore(f"sqlite:///{file}?timeout=0.05")
    assert store.acquire("me", 1, 15.0) == []
    store.close()


def test_the_service_ends_with_one_line_that_says_why() -> None:
    environment = {**os.environ, "QUINTAIN_CONTROLLER__STORE_URL": "nonsense"}
    command = [sys.executable, "-m", "quintain_controller.main"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    *logged, said = ended.stderr.splitlines()
    assert said.startswith("quintain-controller: store_url: ")
    assert all("opening the store" in line for line in logged)
