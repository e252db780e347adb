"""What every store promises: one suite in memory, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.controller.toy import CONTEXT, make_spec, verdict

from quintain.errors import Aborted, AlreadyExists, FailedPrecondition, Internal, InvalidArgument, NotFound
from quintain_controller.adapters.store.memory import MemoryStore
from quintain_controller.adapters.store.sql import SqlStore
from quintain_controller.domain.events import CandidateChanged, NewBest, RecordedEvent, StateChanged
from quintain_controller.domain.lifecycle import BUDGET_USED_UP
from quintain_controller.domain.model import Budget, Candidate, CandidateState, Gate, SearchState, Spend
from quintain_controller.domain.records import (
    ArchivedSearch,
    Batch,
    CandidateRecord,
    CandidateWrite,
    Labels,
    Lease,
    NewSearch,
    SearchRecord,
    Transition,
)
from quintain_controller.ports import Store

OpenStore = Callable[[], Store]


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenStore]:
    """Opens the same store again, as another process would."""
    opened: list[Store] = []
    memory = MemoryStore()

    def again() -> Store:
        if request.param == "memory":
            return memory
        url = f"sqlite:///{tmp_path}/store.db"
        if request.param == "postgresql":
            if "postgres_url" not in found:
                found["postgres_url"] = str(request.getfixturevalue("postgres_url"))
            url = found["postgres_url"]
        opened.append(SqlStore(url))
        return opened[-1]

    found: dict[str, str] = {}
    yield again
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: OpenStore) -> Store:
    return open_store()


def new_search(store: Store, name: str = "one") -> SearchRecord:
    return store.create(
        NewSearch(
            name,
            f"request-{name}",
            "digest",
            make_spec("evolve"),
            CONTEXT,
            events=[StateChanged(SearchState.RUNNING, "created")],
        )
    )


def owned(store: Store, owner: str = "me", seconds: float = 60.0) -> Lease:
    (lease,) = store.acquire(owner, 5, seconds)
    return lease


SEED = verdict(Candidate(0, CandidateState.GENERATED, None), 0.2)


def test_what_is_written_is_read(store: Store) -> None:
    record = new_search(store)
    assert (record.spec, record.context, record.state) == (make_spec("evolve"), CONTEXT, SearchState.RUNNING)
    lease = owned(store)
    spend = Spend(usd_nano=3, tokens=4, candidates=1, wall_seconds=0.5)
    write = CandidateWrite(SEED, new=True, source="x = 0\n", generation=b"\x00\xff", feedback="ok")
    store.commit(lease, Batch(spend, [write], [CandidateChanged(SEED), NewBest(SEED, None)], best_number=0, told=1))
    store.commit(lease, Batch(spend, [CandidateWrite(SEED, verdict=b"v")]))
    record = store.search("one")
    assert (record.spend, record.best_number, record.told, record.last_sequence) == (spend, 0, 1, 3)
    stored = store.candidate("one", 0)
    assert (stored.candidate, stored.source, stored.generation) == (SEED, "x = 0\n", b"\x00\xff")
    assert (stored.verdict, stored.feedback, stored.held_out) == (b"v", "ok", None)
    events, ended = store.events_after("one", 1, 10)
    assert [(e.sequence, e.event) for e in events] == [(2, CandidateChanged(SEED)), (3, NewBest(SEED, None))]
    assert not ended
    assert store.texts("one", [0, 1]) == {0: (SEED, "x = 0\n", "ok")}


def test_a_suite_of_ones_own_is_kept_with_the_searches_that_have_it(store: Store) -> None:
    spec = replace(make_spec("evolve"), suite_digest="abc")
    for name in ("one", "two"):
        store.create(NewSearch(name, f"request-{name}", "digest", spec, CONTEXT, suite_files=b"\x00files"))
        store.change_state(name, SearchState.CANCELLED, "")
        store.commit(owned(store), Batch(Spend(), idle_in=SearchState.CANCELLED))
    new_search(store, "another")
    assert store.suite_files("abc") == b"\x00files"
    store.delete("one")
    assert store.suite_files("abc") == b"\x00files"
    store.delete("two")
    with pytest.raises(NotFound, match="abc"):
        store.suite_files("abc")


def test_an_archived_search_is_restored_as_it_was_and_never_goes_on(store: Store) -> None:
    record = replace(
        new_search(store, "another"),
        search_id="one",
        spec=replace(make_spec("evolve"), suite_digest="abc"),
        state=SearchState.FINISHED,
        reason=BUDGET_USED_UP,
        spend=Spend(usd_nano=3),
        best_number=0,
        gates=(Gate("held_out", True, "", 0),),
        created_at=1234.000001,
        ended_at=1235.5,
        last_sequence=2,
        forked_from="s0.1",
        needs_owner=False,
        told=1,
        notes="n",
        tags=("a", "b"),
        restored_at=2000.25,
    )
    candidate = CandidateRecord(SEED, 1234.5, "x = 0\n", None, b"\x00g", b"v", None)
    events = [RecordedEvent(n, 1234.5 + n, Spend(usd_nano=n), CandidateChanged(SEED)) for n in (1, 2)]
    with pytest.raises(ZeroDivisionError):
        store.restore(ArchivedSearch(record), (1 // 0 for _ in "x"))  # a file that cannot be read to its end
    assert store.restore(ArchivedSearch(record, b"files"), [candidate, *events]) == record
    assert store.search("one") == record
    assert store.candidate("one", 0) == candidate
    assert store.events_after("one", 0, 10) == (events, True)
    assert store.suite_files("abc") == b"files"
    assert "one" not in [lease.search_id for lease in store.acquire("me", 5, 60.0)]
    with pytest.raises(AlreadyExists, match="one is here already"):
        store.restore(ArchivedSearch(record), [])
    with pytest.raises(FailedPrecondition, match="fork it instead"):
        store.extend_budget("one", lambda _record: Budget(candidates=99))
    store.delete("one")
    assert store.restore(ArchivedSearch(record), []) == record


def test_each_event_is_told_by_one_controller_once(open_store: OpenStore) -> None:
    one, other = open_store(), open_store()
    new_search(one)
    new_search(one, "two")
    taken = {record.search_id: [e.event for e in events] for record, events in one.take_news(5, 0.0)}
    assert taken == {name: [StateChanged(SearchState.RUNNING, "created")] for name in ("one", "two")}
    assert other.take_news(5, 0.0) == []
    other.change_state("two", SearchState.PAUSED, "p")
    ((record, events),) = one.take_news(1, 0.0)
    assert (record.search_id, record.state) == ("two", SearchState.PAUSED)
    assert [(e.sequence, e.event) for e in events] == [(2, StateChanged(SearchState.PAUSED, "p"))]
    assert one.take_news(1, 0.0) == other.take_news(1, 0.0) == []
    one.change_state("two", SearchState.CANCELLED, "")
    assert [events for _, events in one.take_news(1, 1e12)] == [[]]  # long ago
    assert one.take_news(1, 0.0) == []


def test_a_late_owner_is_refused_and_writes_nothing(store: Store) -> None:
    new_search(store)
    late = owned(store, "late", seconds=-1.0)
    now = owned(store, "now")
    assert now.token == late.token + 1
    with pytest.raises(Aborted, match="another owner"):
        store.commit(late, Batch(Spend(), [CandidateWrite(SEED, new=True)], [CandidateChanged(SEED)]))
    with pytest.raises(Aborted, match="another owner"):
        store.renew(late, 60.0, 0.0)
    store.release(late)
    assert store.acquire("third", 5, 60.0) == []
    assert store.candidate_page("one", -1, 10) == []
    assert store.search("one").last_sequence == 1


def test_a_pause_by_a_person_is_not_ended_by_an_owner_that_has_not_heard_of_it(store: Store) -> None:
    new_search(store)
    lease = owned(store)
    down = Transition(SearchState.PAUSED, "the backend is down")
    store.commit(lease, Batch(Spend(), transition=down))
    store.change_state("one", SearchState.PAUSED, "paused by the user")
    back = Transition(SearchState.RUNNING, "the backend is back")
    control = store.commit(lease, Batch(Spend(), transition=back))
    assert (control.state, control.paused_by_user) == (SearchState.PAUSED, True)
    assert store.search("one").reason == "paused by the user"


def test_a_heartbeat_keeps_the_time_that_a_search_has_run(store: Store) -> None:
    new_search(store)
    lease = owned(store)
    store.commit(lease, Batch(Spend(usd_nano=3, wall_seconds=5.0)))
    store.renew(lease, 60.0, 65.0)
    assert store.search("one").spend == Spend(usd_nano=3, wall_seconds=65.0)
    store.renew(lease, 60.0, 60.0)  # overtaken on the way
    assert store.search("one").spend.wall_seconds == 65.0


def test_a_released_or_expired_search_is_taken_and_an_owned_one_is_not(store: Store) -> None:
    new_search(store)
    lease = owned(store)
    assert store.acquire("other", 5, 60.0) == []
    store.release(lease)
    assert owned(store, "other").owner == "other"


def test_many_owners_at_once_never_share_a_search(store: Store, open_store: OpenStore) -> None:
    for index in range(12):
        new_search(store, f"s{index}")
    taken: list[Lease] = []
    barrier = threading.Barrier(4)

    def take(owner: str) -> None:
        own = open_store()
        barrier.wait()
        while leases := own.acquire(owner, 1, 60.0):
            taken.extend(leases)

    threads = [threading.Thread(target=take, args=(f"owner{i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(lease.search_id for lease in taken) == sorted(f"s{index}" for index in range(12))


def test_a_person_and_the_owner_number_their_events_without_gap_or_repeat(store: Store, open_store: OpenStore) -> None:
    new_search(store)
    lease = owned(store)
    other = open_store()

    def person() -> None:
        for _ in range(10):
            other.change_state("one", SearchState.PAUSED, "p")
            other.change_state("one", SearchState.RUNNING, "")

    thread = threading.Thread(target=person)
    thread.start()
    for _ in range(20):
        store.commit(lease, Batch(Spend(), events=[NewBest(SEED, None)]))
    thread.join()
    events, _ = store.events_after("one", 0, 1000)
    assert [e.sequence for e in events] == list(range(1, 42))
    assert store.search("one").last_sequence == 41


def test_the_owner_cannot_overrule_a_person(store: Store) -> None:
    new_search(store)
    lease = owned(store)
    store.change_state("one", SearchState.CANCELLED, "enough")
    finish = Transition(SearchState.FINISHED, "done", events=[NewBest(SEED, None)], winner_number=0)
    control = store.commit(lease, Batch(Spend(), transition=finish, idle_in=SearchState.FINISHED))
    assert control.state is SearchState.CANCELLED
    assert (store.search("one").last_sequence, store.search("one").winner_number) == (2, None)
    with pytest.raises(FailedPrecondition, match="still being settled"):
        store.delete("one")
    store.commit(lease, Batch(Spend(), idle_in=SearchState.CANCELLED))
    assert store.events_after("one", 0, 10)[1]
    store.delete("one")
    with pytest.raises(NotFound):
        store.search("one")


@pytest.mark.parametrize("change", [SearchState.RUNNING, SearchState.CANCELLED])
def test_a_search_changed_while_its_owner_leaves_is_not_forgotten(store: Store, change: SearchState) -> None:
    new_search(store)
    lease = owned(store)
    store.change_state("one", SearchState.PAUSED, "p")
    store.change_state("one", change, "")
    store.commit(lease, Batch(Spend(), idle_in=SearchState.PAUSED))  # decided while it was paused
    store.release(lease)
    assert owned(store, "next").search_id == "one"


def test_who_only_settles_takes_nothing_that_runs(store: Store) -> None:
    for name in ("one", "two"):
        new_search(store, name)
    store.change_state("two", SearchState.CANCELLED, "enough")
    assert [lease.search_id for lease in store.acquire("me", 5, 60.0, ended=True)] == ["two"]


@pytest.mark.parametrize("ended", [False, True])
def test_an_ended_search_is_taken_once_more_when_it_is_to_be_looked_at_again(store: Store, ended: bool) -> None:
    new_search(store)
    store.change_state("one", SearchState.CANCELLED, "enough")

    def idle_until(again: float | None) -> list[Lease]:
        (lease,) = store.acquire("me", 5, 60.0)
        store.commit(lease, Batch(Spend(), idle_in=SearchState.CANCELLED, look_again_at=again))
        store.release(lease)
        assert not store.search("one").needs_owner
        return store.acquire("other", 5, 60.0, ended=ended)

    now = time.time()
    (lease,) = idle_until(now - 3600.0)
    assert store.acquire("third", 5, 60.0) == []  # it has an owner now
    store.release(lease)
    assert idle_until(now + 3600.0) == []


def test_a_request_id_makes_one_search(store: Store) -> None:
    first = new_search(store)
    again = NewSearch("two", "request-one", "digest", make_spec("evolve"), CONTEXT)
    assert store.create(again).search_id == first.search_id
    with pytest.raises(AlreadyExists):
        store.create(replace(again, request_digest="other"))


def test_a_new_budget_wakes_a_finished_search_and_takes_its_winner_back(store: Store) -> None:
    new_search(store)
    lease = owned(store)
    gates = (Gate("held_out", True, "", 0),)
    done = Transition(SearchState.FINISHED, BUDGET_USED_UP, winner_number=0, gates=gates)
    store.commit(lease, Batch(Spend(), transition=done, idle_in=SearchState.FINISHED))
    store.release(lease)
    assert (store.search("one").winner_number, store.search("one").gates) == (0, gates)
    assert store.acquire("me", 5, 60.0) == []
    record = store.extend_budget("one", lambda _record: Budget(candidates=99))
    assert (record.state, record.winner_number, record.gates) == (SearchState.RUNNING, None, ())
    assert record.spec.budget == make_spec("evolve").budget
    assert owned(store).search_id == "one"


def test_a_new_budget_is_refused_to_a_search_that_did_not_end_for_want_of_it(store: Store) -> None:
    budget = new_search(store).budget
    lease = owned(store)
    done = Transition(SearchState.FINISHED, "stopped: score 2.4 is reached, 2.3 was asked for", winner_number=0)
    store.commit(lease, Batch(Spend(), transition=done, idle_in=SearchState.FINISHED))
    store.release(lease)
    with pytest.raises(FailedPrecondition, match=r"score 2.4 is reached.*fork it"):
        store.extend_budget("one", lambda _record: Budget(candidates=99))
    assert (store.search("one").budget, store.search("one").winner_number) == (budget, 0)


def test_a_search_whose_budget_was_raised_meanwhile_does_not_end(store: Store) -> None:
    budget = new_search(store).budget
    lease = owned(store)
    store.extend_budget("one", lambda record: replace(record.budget, candidates=99))
    done = Transition(SearchState.FINISHED, BUDGET_USED_UP, within=budget, winner_number=0)
    control = store.commit(lease, Batch(Spend(), transition=done, idle_in=SearchState.FINISHED))
    assert (control.state, control.budget.candidates) == (SearchState.RUNNING, 99)
    record = store.search("one")
    assert (record.winner_number, record.needs_owner) == (None, True)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])  # PostgreSQL measures leases by its own clock
def test_a_lease_from_before_the_clock_was_set_back_does_not_last_for_ever(kind: str, tmp_path: Path) -> None:
    now = [10_000.0]
    store: Store = MemoryStore(clock=lambda: now[0])
    if kind == "sqlite":
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


def test_an_id_that_the_database_cannot_hold_is_no_crash(store: Store) -> None:
    with pytest.raises((NotFound, InvalidArgument)):
        store.search("a\0b")


def test_a_search_that_its_owner_cannot_work_on_waits_for_the_user(store: Store) -> None:
    new_search(store)
    lease = owned(store)
    store.quarantine(lease, "broken")
    assert store.acquire("next", 5, 60.0) == []
    events, _ = store.events_after("one", 1, 10)
    assert [event.event for event in events] == [StateChanged(SearchState.PAUSED, "broken")]
    assert store.search("one").paused_by_user
    with pytest.raises(Aborted):
        store.quarantine(replace(lease, token=99), "late")


def test_a_candidate_takes_no_step_that_the_table_does_not_know(store: Store) -> None:
    new_search(store)
    lease = owned(store)
    store.commit(lease, Batch(Spend(), [CandidateWrite(Candidate(0, CandidateState.GENERATED, None), new=True)]))
    store.commit(lease, Batch(Spend(), [CandidateWrite(SEED)]))
    for state in (CandidateState.REQUESTED, CandidateState.GENERATED, CandidateState.REJECTED):
        with pytest.raises(Internal, match=f"candidate 0 cannot become {state.name}"):
            store.commit(lease, Batch(Spend(usd_nano=5), [CandidateWrite(replace(SEED, state=state))]))
    with pytest.raises(Internal, match="candidate 7"):
        store.commit(lease, Batch(Spend(usd_nano=5), [CandidateWrite(replace(SEED, number=7))]))
    assert store.search("one").spend == Spend()
    assert store.candidate("one", 0).candidate == SEED


def test_pages_go_from_the_newest_to_the_oldest_without_gap_or_repeat(store: Store) -> None:
    for index in range(5):
        new_search(store, f"s{index}")
    seen: list[str] = []
    after = None
    while page := store.search_page(2, after):
        seen += [record.search_id for record in page]
        after = (page[-1].created_at, page[-1].search_id)
    assert sorted(seen) == [f"s{index}" for index in range(5)]
    assert [(-store.search(name).created_at, name) for name in seen] == sorted(
        (-store.search(name).created_at, name) for name in seen
    )
    assert store.counts() == {SearchState.RUNNING: 5}
    assert store.positions(["s1", "nobody"]) == {"s1": (1, True)}


def test_what_a_search_is_called_changes_in_any_state_and_nothing_else_does(open_store: OpenStore) -> None:
    store = open_store()
    before = new_search(store)
    assert (before.notes, before.tags) == ("", ())
    store.update_labels("one", Labels(title="mine", notes="two\nlines", add_tags=frozenset({"b", "a"})))
    store.change_state("one", SearchState.CANCELLED, "enough")
    store.update_labels("one", Labels(add_tags=frozenset({"a", "c"}), remove_tags=frozenset({"b", "never"})))
    after = open_store().search("one")
    assert (after.spec.title, after.notes, after.tags) == ("mine", "two\nlines", ("a", "c"))
    assert after.spec == replace(before.spec, title="mine")
    assert (after.state, after.last_sequence, after.budget) == (SearchState.CANCELLED, 2, before.budget)


def test_an_owner_keeps_its_lease_while_a_search_is_renamed(store: Store) -> None:
    new_search(store)
    lease = owned(store)
    store.update_labels("one", Labels(title="mine"))
    store.commit(lease, Batch(Spend(usd_nano=1)))
    assert (store.search("one").spec.title, store.search("one").spend.usd_nano) == ("mine", 1)


def test_more_tags_than_a_search_may_have_change_nothing(store: Store) -> None:
    new_search(store)
    store.update_labels("one", Labels(add_tags=frozenset(map(str, range(50)))))
    with pytest.raises(InvalidArgument, match="51 tags; at most 50"):
        store.update_labels("one", Labels(notes="n", add_tags=frozenset({"one more"})))
    assert (len(store.search("one").tags), store.search("one").notes) == (50, "")
    with pytest.raises(NotFound):
        store.update_labels("none", Labels(notes="n"))
