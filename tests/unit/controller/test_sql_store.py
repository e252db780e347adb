"""What only the stores in databases have: migrations, rows that cannot be read, several processes that open one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import inspect, text, update
from tests.unit.controller.test_store import new_search, owned

from quintain_controller.adapters.store.schema import searches
from quintain_controller.adapters.store.sql import SqlStore
from quintain_controller.domain.model import SearchState


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def store(url: str) -> Iterator[SqlStore]:
    made = SqlStore(url)
    yield made
    made.close()


def test_a_search_whose_record_is_broken_can_be_put_aside(store: SqlStore) -> None:
    new_search(store)
    lease = owned(store)
    with store._engine.begin() as connection:
        connection.execute(update(searches).values(spec='{"no": "spec"}'))
    store.quarantine(lease, "broken")
    assert store.acquire("next", 5, 60.0) == []


def test_opening_a_store_from_several_threads_migrates_it_once(url: str) -> None:
    errors: list[BaseException] = []

    def open_and_use(index: int) -> None:
        try:
            made = SqlStore(url)
            new_search(made, f"s{index}")
            made.close()
        except BaseException as error:  # noqa: BLE001 - a thread's error is shown below
            errors.append(error)

    threads = [threading.Thread(target=open_and_use, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    made = SqlStore(url)
    assert made.counts() == {SearchState.RUNNING: 4}
    made.close()


def test_the_migrations_make_the_schema_that_the_code_uses(store: SqlStore) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from quintain_controller.adapters.store.schema import metadata

    with store._engine.begin() as connection:
        found = compare_metadata(MigrationContext.configure(connection), metadata)
    assert [difference for difference in found if "alembic_version" not in str(difference)] == []


def test_a_database_of_an_older_controller_is_brought_up_to_date_with_all_that_is_in_it(url: str) -> None:
    store = SqlStore(url)
    made = new_search(store, "kept")
    with store._engine.begin() as connection:  # as 0001 left it
        connection.execute(text("DROP TABLE suites"))
        connection.execute(text("DROP INDEX searches_to_look_at"))
        for column in ("notes", "tags", "restored_at", "notified", "look_again_at"):
            connection.execute(text(f"ALTER TABLE searches DROP COLUMN {column}"))
        connection.execute(text("ALTER TABLE candidates DROP COLUMN tools"))
        connection.execute(text("DROP INDEX searches_states"))
        connection.execute(text("ALTER TABLE searches RENAME COLUMN paused_by_user TO paused_by_person"))
        connection.execute(text("ALTER TABLE events RENAME COLUMN event TO fact"))
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    store.close()

    store = SqlStore(url)
    assert store.search("kept") == made
    with store._engine.begin() as connection:
        assert "searches_states" in {index["name"] for index in inspect(connection).get_indexes("searches")}
    store.close()
