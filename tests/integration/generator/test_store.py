"""The store keeps what it is told, on SQLite and PostgreSQL alike."""

from __future__ import annotations

import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from pydantic import TypeAdapter

from quintain.errors import Aborted, AlreadyExists, FailedPrecondition, Unavailable
from quintain.plugins.backend import BackendReply, CallOutcome, Message, Usage
from quintain_controller.adapters.store.sql import SqlStore
from quintain_generator.adapters.store.schema import metadata
from quintain_generator.adapters.store.sql import SqlGenerationStore
from quintain_generator.domain.generation import CallRecord, Cost, Generation, GenerationOutcome, Ownership, RequestKey
from quintain_generator.domain.habits import Measured

REQUEST = RequestKey("r1", "digest", "llm", "m")
PROMPT = (Message("system", "Be good.", cache_breakpoint=True), Message("user", "Now: äöü \x00 \U0001f600"))
REPLY = BackendReply(CallOutcome.OK, text="a\x00b \u2028", usage=Usage(1, 2, 3, 4, 5), provider_request_id="req_1")
CALL = CallRecord(1, PROMPT, 0.5, REPLY, 1.25, 0.1, 0.0)
RESULT = Generation(
    request_id="r1", backend="llm", model="m", outcome=GenerationOutcome.OK, source="x = 1\n", rationale="why",
    response_text=REPLY.text, prompt=PROMPT, usage=Usage(1, 2, 3, 4, 5), cost=Cost(0.1, False, 0.0, "row"),
    calls=(CALL,), detail="", ast_digest="d", hints=("h",), finished_at=1234.5,
)  # fmt: skip


def opened(url: str) -> SqlGenerationStore:
    store = SqlGenerationStore(url)
    store.open()
    return store


def test_everything_comes_back_as_it_was_after_a_restart(store_url: str) -> None:
    store = opened(store_url)
    assert store.begin(REQUEST).ownership is Ownership.OWNED
    store.intend("r1", 1, PROMPT, 0.5)
    store.settle("r1", CALL)
    store.finish(RESULT)
    store.close()
    again = opened(store_url)
    claim = again.begin(REQUEST)
    assert (claim.ownership, claim.result) == (Ownership.DONE, RESULT)
    assert again.find("r1") == (REQUEST, RESULT)
    assert again.find("r2") is None
    assert again.abandoned() == []
    again.close()


def test_a_call_without_an_outcome_is_found_after_a_restart(store_url: str) -> None:
    store = opened(store_url)
    store.begin(REQUEST)
    store.intend("r1", 1, PROMPT, None)
    store.close()
    again = opened(store_url)
    assert again.abandoned() == [REQUEST]
    assert again.begin(REQUEST).calls == (CallRecord(1, PROMPT, None),)
    again.close()


def test_a_released_request_goes_on_with_its_calls_and_its_first_backend(store_url: str) -> None:
    store = opened(store_url)
    store.begin(REQUEST)
    store.intend("r1", 1, PROMPT, 0.5)
    store.settle("r1", CALL)
    store.release("r1")
    claim = store.begin(replace(REQUEST, backend="another"))
    assert (claim.key.backend, claim.calls) == ("llm", (CALL,))
    store.close()


def test_an_id_is_for_one_task(store_url: str) -> None:
    store = opened(store_url)
    store.begin(REQUEST)
    with pytest.raises(AlreadyExists):
        store.begin(replace(REQUEST, task_digest="other"))
    store.close()


def test_what_is_not_owned_cannot_be_written(store_url: str) -> None:
    store = opened(store_url)
    store.begin(REQUEST)
    store.release("r1")
    with pytest.raises(Aborted):
        store.intend("r1", 1, PROMPT, 0.5)
    with pytest.raises(Aborted):
        store.finish(RESULT)
    store.close()


def test_many_threads_write_at_once(store_url: str) -> None:
    store = opened(store_url)

    def whole(number: int) -> None:
        request_id = f"r{number}"
        store.begin(replace(REQUEST, request_id=request_id))
        store.intend(request_id, 1, PROMPT, 0.5)
        store.settle(request_id, CALL)
        store.finish(replace(RESULT, request_id=request_id))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(whole, range(24)))
    assert all(store.find(f"r{n}") is not None for n in range(24))
    store.close()


def test_a_database_in_memory_is_refused() -> None:
    with pytest.raises((FailedPrecondition, Unavailable), match="in-memory"):
        SqlGenerationStore("sqlite://").open()


def test_a_database_that_fails_is_unavailable_and_says_nothing_private(tmp_path: Path) -> None:
    store = opened(f"sqlite:///{tmp_path}/store.db")
    with sqlite3.connect(tmp_path / "store.db") as connection:
        connection.execute("DROP TABLE generation_call")
        connection.execute("DROP TABLE generation")
    with pytest.raises(Unavailable, match="the store of generations cannot be used: no such table") as error:
        store.begin(REQUEST)
    assert error.value.reason == "STORE_DOWN"
    store.close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("a-secret of no scheme", "store_url: .*it is sqlite:///FILE or postgresql"),
        ("nosuch://user:a-secret@host/db", "store_url: .*nosuch"),
        (
            "postgresql+psycopg://user:a-secret@127.0.0.1:1/db",
            r"user:\*\*\*@127.0.0.1:1/db cannot be opened: .*refused",
        ),
    ],
)
def test_a_database_that_cannot_be_opened_is_said_in_one_line_without_the_password(url: str, said: str) -> None:
    with pytest.raises((FailedPrecondition, Unavailable), match=said) as caught:
        SqlGenerationStore(url).open()
    assert "a-secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


# What the first version made, before there were numbered migrations.
_FIRST_SCHEMA = """
CREATE TABLE generator_owner (owner VARCHAR(36) PRIMARY KEY, alive_until DOUBLE PRECISION NOT NULL);
CREATE TABLE generation (request_id VARCHAR(128) PRIMARY KEY, task_digest VARCHAR(64) NOT NULL, backend TEXT NOT NULL,
  model TEXT NOT NULL, owner VARCHAR(36), created_at DOUBLE PRECISION NOT NULL, finished_at DOUBLE PRECISION,
  result TEXT);
CREATE TABLE generation_call (request_id VARCHAR(128) NOT NULL REFERENCES generation (request_id),
  attempt INTEGER NOT NULL, sent_at DOUBLE PRECISION NOT NULL, prompt TEXT NOT NULL, reserved_usd DOUBLE PRECISION,
  reply TEXT, seconds DOUBLE PRECISION NOT NULL, charged_usd DOUBLE PRECISION, at_risk_usd DOUBLE PRECISION NOT NULL,
  PRIMARY KEY (request_id, attempt));
"""


def test_a_database_from_before_there_were_versions_is_taken_over_with_all_it_holds(store_url: str) -> None:
    engine = sa.create_engine(store_url)
    with engine.begin() as connection:
        for statement in _FIRST_SCHEMA.split(";\n"):
            if statement.strip():
                connection.execute(sa.text(statement))
        result = TypeAdapter(Generation).dump_json(RESULT).decode()
        values = (
            {"result": result.replace("\\u0000", " ")} if engine.dialect.name == "postgresql" else {"result": result}
        )
        connection.execute(
            sa.text("INSERT INTO generation VALUES ('r1', 'digest', 'llm', 'm', NULL, 1.0, 1234.5, :result)"), values
        )
    engine.dispose()
    store = opened(store_url)
    claim = store.begin(REQUEST)
    assert claim.ownership is Ownership.DONE
    assert claim.result is not None
    assert (claim.result.source, claim.result.cost) == (RESULT.source, RESULT.cost)
    assert store.measured("llm", "m", 10) == [Measured(0.1, 6, 4)]
    store.close()
    opened(store_url).close()


def test_a_schema_of_a_newer_generator_is_refused_and_left_alone(store_url: str) -> None:
    opened(store_url).close()
    engine = sa.create_engine(store_url)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE generator_version SET version_num = '9999'"))
    with pytest.raises(FailedPrecondition, match="9999 was made by a newer generator; this one knows 0004"):
        opened(store_url)
    with engine.begin() as connection:
        assert connection.execute(sa.text("SELECT version_num FROM generator_version")).scalar() == "9999"
    engine.dispose()


def test_the_migrations_make_the_tables_that_the_code_knows(store_url: str) -> None:
    opened(store_url).close()
    engine = sa.create_engine(store_url)
    with engine.connect() as connection:
        found = compare_metadata(MigrationContext.configure(connection), metadata)
    engine.dispose()
    assert [difference for difference in found if "generator_version" not in str(difference)] == []


def test_what_keeps_a_write_from_succeeding_is_found_before_it_is_tried(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "store.db"
    store = opened(f"sqlite:///{file}")
    assert store.check() == ""
    file.parent.rename(tmp_path / "elsewhere")
    assert "moved or removed" in store.check()
    (tmp_path / "elsewhere").rename(file.parent)
    assert store.check() == ""
    store.close()


def test_a_full_database_is_unavailable_in_its_own_words(tmp_path: Path) -> None:
    store = opened(f"sqlite:///{tmp_path}/store.db")
    with store._engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    sa.event.listen(store._engine, "begin", lambda c: c.exec_driver_sql(f"PRAGMA max_page_count = {pages}"))
    with pytest.raises(Unavailable, match="cannot be used: database or disk is full"):
        store.begin(replace(REQUEST, model="m" * 40_000))
    store.close()


def test_a_full_disk_is_found_by_the_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small write may still go into room that the database has already; the next answer would not."""
    store = opened(f"sqlite:///{tmp_path}/store.db")
    full = shutil.disk_usage(tmp_path)._replace(free=4096)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: full)
    assert "less than 8388608 bytes are left" in store.check()
    monkeypatch.undo()
    assert store.check() == ""
    store.close()


def test_a_flipped_bit_is_found_by_the_check(tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    store = opened(f"sqlite:///{file}")
    for number in range(50):
        store.begin(replace(REQUEST, request_id=f"r{number}", model="m" * 4000))
    assert store.check() == ""
    store.close()
    with file.open("r+b") as stream:
        for page in range(8, 16):
            stream.seek(page * 4096)
            stream.write(b"\xff" * 8)
    store = opened(f"sqlite:///{file}")
    assert "damaged" in store.check()
    store.close()


@pytest.mark.parametrize("generator_first", [True, False])
def test_a_controller_may_have_the_same_database(store_url: str, generator_first: bool) -> None:
    def controller() -> None:
        SqlStore(store_url).close()

    def generator() -> None:
        opened(store_url).close()

    for _ in range(2):
        for make in (generator, controller) if generator_first else (controller, generator):
            make()
