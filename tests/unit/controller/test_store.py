"""The store on SQLite and on a real PostgreSQL: one suite for both."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import inspect, text, update
from tests.unit.controller.toy import CONTEXT, make_spec, verdict

from quintain.errors import Aborted, AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from quintain_controller.adapters.store.schema import searches
from quintain_controller.adapters.store.sql import SqlStore
from quintain_controller.domain.events import CandidateChanged, NewBest, StateChanged
from quintain_controller.domain.model import Budget, Candidate, CandidateState, Gate, SearchState, Spend
from quintain_controller.domain.records import CandidateWrite, Changes, Lease, NewSearch, SearchRecord, Transition


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


def new_search(store: SqlStore, name: str = "one") -> SearchRecord:
    return store.create(
        NewSearch(
            name,
            f"request-{name}",
            "digest",
            make_spec("evolve"),
            CONTEXT,
            facts=[StateChanged(SearchState.RUNNING, "created")],
        )
    )


def owned(store: SqlStore, owner: str = "me", seconds: float = 60.0) -> Lease:
    (lease,) = store.acquire(owner, 5, seconds)
    return lease


SEED = verdict(Candidate(0, CandidateState.GENERATED, None), 0.2)


def test_what_is_written_is_read(store: SqlStore) -> None:
    record = new_search(store)
    assert (record.spec, record.context, record.state) == (make_spec("evolve"), CONTEXT, SearchState.RUNNING)
    lease = owned(store)
    spend = Spend(usd_nano=3, tokens=4, candidates=1, wall_seconds=0.5)
    write = CandidateWrite(SEED, new=True, source="x = 0\n", generation=b"\x00\xff", feedback="ok")
    store.commit(lease, Changes(spend, [write], [CandidateChanged(SEED), NewBest(SEED, None)], best_number=0, told=1))
    store.commit(lease, Changes(spend, [CandidateWrite(SEED, verdict=b"v")]))
    record = store.search("one")
    assert (record.spend, record.best_number, record.told, record.last_sequence) == (spend, 0, 1, 3)
    stored = store.candidate("one", 0)
    assert (stored.candidate, stored.source, stored.generation) == (SEED, "x = 0\n", b"\x00\xff")
    assert (stored.verdict, stored.feedback, stored.held_out) == (b"v", "ok", None)
    events, ended = store.events_after("one", 1, 10)
    assert [(e.sequence, e.fact) for e in events] == [(2, CandidateChanged(SEED)), (3, NewBest(SEED, None))]
    assert not ended
    assert store.texts("one", [0, 1]) == {0: (SEED, "x = 0\n", "ok")}


def test_a_late_owner_is_refused_and_writes_nothing(store: SqlStore) -> None:
    new_search(store)
    late = owned(store, "late", seconds=-1.0)
    now = owned(store, "now")
    assert now.token == late.token + 1
    with pytest.raises(Aborted, match="another owner"):
        store.commit(late, Changes(Spend(), [CandidateWrite(SEED, new=True)], [CandidateChanged(SEED)]))
    with pytest.raises(Aborted, match="another owner"):
        store.renew(late, 60.0, 0.0)
    store.release(late)
    assert store.acquire("third", 5, 60.0) == []
    assert store.candidate_page("one", -1, 10) == []
    assert store.search("one").last_sequence == 1


def test_a_pause_by_a_person_is_not_ended_by_an_owner_that_has_not_heard_of_it(store: SqlStore) -> None:
    new_search(store)
    lease = owned(store)
    down = Transition((SearchState.RUNNING,), SearchState.PAUSED, "the backend is down")
    store.commit(lease, Changes(Spend(), transition=down))
    store.change_state("one", SearchState.PAUSED, "paused by a person")
    back = Transition((SearchState.PAUSED,), SearchState.RUNNING, "the backend is back")
    control = store.commit(lease, Changes(Spend(), transition=back))
    assert (control.state, control.paused_by_person) == (SearchState.PAUSED, True)
    assert store.search("one").reason == "paused by a person"


def test_a_heartbeat_keeps_the_time_that_a_search_has_run(store: SqlStore) -> None:
    new_search(store)
    lease = owned(store)
    store.commit(lease, Changes(Spend(usd_nano=3, wall_seconds=5.0)))
    store.renew(lease, 60.0, 65.0)
    assert store.search("one").spend == Spend(usd_nano=3, wall_seconds=65.0)
    store.renew(lease, 60.0, 60.0)  # overtaken on the way
    assert store.search("one").spend.wall_seconds == 65.0


def test_a_released_or_expired_search_is_taken_and_an_owned_one_is_not(store: SqlStore) -> None:
    new_search(store)
    lease = owned(store)
    assert store.acquire("other", 5, 60.0) == []
    store.release(lease)
    assert owned(store, "other").owner == "other"


def test_many_owners_at_once_never_share_a_search(store: SqlStore, url: str) -> None:
    for index in range(12):
        new_search(store, f"s{index}")
    taken: list[Lease] = []
    barrier = threading.Barrier(4)

    def take(owner: str) -> None:
        own = SqlStore(url)
        barrier.wait()
        while leases := own.acquire(owner, 1, 60.0):
            taken.extend(leases)
        own.close()

    threads = [threading.Thread(target=take, args=(f"owner{i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(lease.search_id for lease in taken) == sorted(f"s{index}" for index in range(12))


def test_a_person_and_the_owner_number_their_events_without_gap_or_repeat(store: SqlStore, url: str) -> None:
    new_search(store)
    lease = owned(store)
    other = SqlStore(url)

    def person() -> None:
        for _ in range(10):
            other.change_state("one", SearchState.PAUSED, "p")
            other.change_state("one", SearchState.RUNNING, "")

    thread = threading.Thread(target=person)
    thread.start()
    for _ in range(20):
        store.commit(lease, Changes(Spend(), facts=[NewBest(SEED, None)]))
    thread.join()
    other.close()
    events, _ = store.events_after("one", 0, 1000)
    assert [e.sequence for e in events] == list(range(1, 42))
    assert store.search("one").last_sequence == 41


def test_the_owner_cannot_overrule_a_person(store: SqlStore) -> None:
    new_search(store)
    lease = owned(store)
    store.change_state("one", SearchState.CANCELLED, "enough")
    finish = Transition(
        (SearchState.RUNNING,), SearchState.FINISHED, "done", facts=[NewBest(SEED, None)], winner_number=0
    )
    control = store.commit(lease, Changes(Spend(), transition=finish, idle_in=SearchState.FINISHED))
    assert control.state is SearchState.CANCELLED
    assert (store.search("one").last_sequence, store.search("one").winner_number) == (2, None)
    with pytest.raises(FailedPrecondition, match="still being settled"):
        store.delete("one")
    store.commit(lease, Changes(Spend(), idle_in=SearchState.CANCELLED))
    assert store.events_after("one", 0, 10)[1]
    store.delete("one")
    with pytest.raises(NotFound):
        store.search("one")


@pytest.mark.parametrize("change", [SearchState.RUNNING, SearchState.CANCELLED])
def test_a_search_changed_while_its_owner_leaves_is_not_forgotten(store: SqlStore, change: SearchState) -> None:
    new_search(store)
    lease = owned(store)
    store.change_state("one", SearchState.PAUSED, "p")
    store.change_state("one", change, "")
    store.commit(lease, Changes(Spend(), idle_in=SearchState.PAUSED))  # decided while it was paused
    store.release(lease)
    assert owned(store, "next").search_id == "one"


def test_who_only_settles_takes_nothing_that_runs(store: SqlStore) -> None:
    for name in ("one", "two"):
        new_search(store, name)
    store.change_state("two", SearchState.CANCELLED, "enough")
    assert [lease.search_id for lease in store.acquire("me", 5, 60.0, ended=True)] == ["two"]


def test_a_request_id_makes_one_search(store: SqlStore) -> None:
    first = new_search(store)
    again = NewSearch("two", "request-one", "digest", make_spec("evolve"), CONTEXT)
    assert store.create(again).search_id == first.search_id
    with pytest.raises(AlreadyExists):
        store.create(replace(again, request_digest="other"))


def test_a_new_budget_wakes_a_finished_search_and_takes_its_winner_back(store: SqlStore) -> None:
    new_search(store)
    lease = owned(store)
    gates = (Gate("held_out", True, "", 0),)
    done = Transition((SearchState.RUNNING,), SearchState.FINISHED, "budget used up", winner_number=0, gates=gates)
    store.commit(lease, Changes(Spend(), transition=done, idle_in=SearchState.FINISHED))
    store.release(lease)
    assert (store.search("one").winner_number, store.search("one").gates) == (0, gates)
    assert store.acquire("me", 5, 60.0) == []
    record = store.extend_budget("one", lambda _record: (Budget(candidates=99), True))
    assert (record.state, record.winner_number, record.gates) == (SearchState.RUNNING, None, ())
    assert record.spec.budget == make_spec("evolve").budget
    assert owned(store).search_id == "one"


def test_a_search_whose_budget_was_raised_meanwhile_does_not_end(store: SqlStore) -> None:
    budget = new_search(store).budget
    lease = owned(store)
    store.extend_budget("one", lambda record: (replace(record.budget, candidates=99), True))
    done = Transition((SearchState.RUNNING,), SearchState.FINISHED, "budget used up", within=budget, winner_number=0)
    control = store.commit(lease, Changes(Spend(), transition=done, idle_in=SearchState.FINISHED))
    assert (control.state, control.budget.candidates) == (SearchState.RUNNING, 99)
    record = store.search("one")
    assert (record.winner_number, record.needs_owner) == (None, True)


def test_a_search_that_its_owner_cannot_work_on_waits_for_a_person(store: SqlStore) -> None:
    new_search(store)
    lease = owned(store)
    with store._engine.begin() as connection:
        connection.execute(update(searches).values(spec='{"no": "spec"}'))
    store.park(lease, "broken")
    assert store.acquire("next", 5, 60.0) == []
    events, _ = store.events_after("one", 1, 10)
    assert [event.fact for event in events] == [StateChanged(SearchState.PAUSED, "broken")]
    with pytest.raises(Aborted):
        store.park(replace(lease, token=99), "late")


def test_a_lease_from_before_the_clock_was_set_back_does_not_last_for_ever(tmp_path: Path) -> None:
    now = [10_000.0]
    store = SqlStore(f"sqlite:///{tmp_path}/store.db", clock=lambda: now[0])
    new_search(store)
    late = owned(store, "late", seconds=15.0)
    now[0] -= 5_000.0
    taken = owned(store, "next", seconds=15.0)
    with pytest.raises(Aborted):
        store.renew(late, 15.0, 0.0)
    store.renew(taken, 15.0, 0.0)
    assert store.acquire("third", 5, 15.0) == []
    store.close()


def test_an_id_that_the_database_cannot_hold_is_no_crash(store: SqlStore) -> None:
    with pytest.raises((NotFound, InvalidArgument)):
        store.search("a\0b")


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
        connection.execute(text("DROP INDEX searches_states"))
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    store.close()

    store = SqlStore(url)
    assert store.search("kept") == made
    with store._engine.begin() as connection:
        assert "searches_states" in {index["name"] for index in inspect(connection).get_indexes("searches")}
    store.close()
