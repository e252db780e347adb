"""The store: SQLAlchemy Core on SQLite or PostgreSQL. Blocking; thread safe. One method is one transaction.

The owner of a search writes under a lease: owner, expiry and fencing token in the search's row. The token grows with
each owner and is compared in every transaction, so an owner that lost its lease unawares is refused (`Aborted`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from sqlalchemy import Connection, RowMapping, and_, delete, func, insert, or_, select, true, update
from sqlalchemy.exc import DataError, IntegrityError

from quintain.errors import Aborted, AlreadyExists, InvalidArgument, NotFound, Unavailable
from quintain.service.sql import STORE_ERRORS, Schema, cause, open_engine, reading
from quintain_controller.adapters import documents
from quintain_controller.adapters.store import rows
from quintain_controller.adapters.store.schema import candidates, events, searches, suites
from quintain_controller.domain import lifecycle
from quintain_controller.domain.events import BudgetExtended, DomainEvent, RecordedEvent, StateChanged
from quintain_controller.domain.model import Budget, Candidate, SearchState, Spend, without_nul
from quintain_controller.domain.records import (
    ArchivedSearch,
    Batch,
    CandidateRecord,
    CandidateWrite,
    Control,
    Labels,
    Lease,
    NewSearch,
    SearchRecord,
    UnreadableSearch,
)

_SCHEMA = Schema(
    "controller", Path(__file__).parent / "migrations/versions", "searches", "alembic_version", lock_key=5_120_731
)
_ENDED = [state for state in SearchState if state.ended]


class SqlStore:
    """`observe(seconds)` is called with the duration of every transaction."""

    def __init__(
        self,
        url: str,
        *,
        clock: Callable[[], float] = time.time,
        observe: Callable[[float], None] = lambda _seconds: None,
    ) -> None:
        self._engine = open_engine(url, _SCHEMA)
        self._reader = reading(self._engine)
        self._clock = clock
        self._observe = observe
        self.shared = self._engine.dialect.name == "postgresql"

    def close(self) -> None:
        self._engine.dispose()

    # ------------------------------------------------------------------------------------------------- for everybody

    def create(self, new: NewSearch) -> SearchRecord:
        """Record a search. The same request id gives the search it made; raises AlreadyExists if it was another
        request."""
        try:
            with self._transaction() as connection:
                connection.execute(insert(searches).values(rows.new_search_row(new, self._clock())))
                if new.suite_files:
                    values = {"search_id": new.search_id, "digest": new.spec.suite_digest, "files": new.suite_files}
                    connection.execute(insert(suites).values(values))
                self._append(connection, new.search_id, 0, Spend(), new.events)
        except IntegrityError:
            known = self.find_request(new.request_id)
            if known is None or known[1] != new.request_digest:
                raise AlreadyExists(
                    f"request_id {new.request_id!r} was used to create another search; choose a new id"
                ) from None
            return self.search(known[0])
        return self.search(new.search_id)

    def find_request(self, request_id: str) -> tuple[str, str] | None:
        """The search made by a request, and the request's digest."""
        with self._transaction(write=False) as connection:
            row = connection.execute(
                select(searches.c.search_id, searches.c.request_digest).where(searches.c.request_id == request_id)
            ).first()
        return (row[0], row[1]) if row else None

    def suite_files(self, digest: str) -> bytes:
        """The suite of this digest that some search brought along. Raises NotFound."""
        with self._transaction(write=False) as connection:
            row = connection.execute(select(suites.c.files).where(suites.c.digest == digest).limit(1)).first()
        if row is None:
            raise NotFound(f"no search here has a suite of its own with the digest {digest!r}")
        return bytes(row[0])

    def search(self, search_id: str) -> SearchRecord:
        """Raises NotFound."""
        with self._transaction(write=False) as connection:
            return self._read(connection, search_id)

    def search_page(self, limit: int, after: tuple[float, str] | None) -> list[SearchRecord | UnreadableSearch]:
        """Newest first, after (created_at, search_id) of the last one seen."""
        query = select(searches).order_by(searches.c.created_at.desc(), searches.c.search_id).limit(limit)
        if after is not None:
            at, search_id = after
            query = query.where(
                or_(
                    searches.c.created_at < at,
                    and_(searches.c.created_at == at, searches.c.search_id > search_id),
                )
            )
        with self._transaction(write=False) as connection:
            return [rows.search_record_or_reason(row) for row in connection.execute(query).mappings()]

    def counts(self) -> dict[SearchState, int]:
        """How many searches are in each state."""
        with self._transaction(write=False) as connection:
            counted = connection.execute(select(searches.c.state, func.count()).group_by(searches.c.state))
            return {SearchState(state): count for state, count in counted}

    def events_after(self, search_id: str, sequence: int, limit: int) -> tuple[list[RecordedEvent], bool]:
        """The next events, and whether there will be no more after them. Raises NotFound."""
        with self._transaction(write=False) as connection:
            head = connection.execute(
                select(searches.c.state, searches.c.needs_owner, searches.c.last_sequence).where(
                    searches.c.search_id == search_id
                )
            ).first()
            if head is None:
                raise lifecycle.unknown(search_id)
            query = (
                select(events)
                .where(events.c.search_id == search_id, events.c.sequence > sequence)
                .order_by(events.c.sequence)
                .limit(limit)
            )
            found = [rows.recorded_event(row) for row in connection.execute(query).mappings()]
        seen = found[-1].sequence if found else sequence
        return found, SearchState(head.state).ended and not head.needs_owner and seen >= head.last_sequence

    def take_news(self, limit: int, since: float) -> list[tuple[SearchRecord, list[RecordedEvent]]]:
        """Events that nobody has taken yet, in order, of at most `limit` searches; each is given to one caller, once.
        What is older than `since` (seconds since the epoch), and a search whose record cannot be read, is passed
        over."""
        new = select(searches.c.search_id).where(searches.c.notified < searches.c.last_sequence).limit(limit)
        with self._transaction(write=False) as connection:
            found = list(connection.scalars(new))
        if not found:  # as nearly always, and then nobody is held up by a write
            return []
        taken: list[tuple[SearchRecord, list[RecordedEvent]]] = []
        query = select(searches).where(searches.c.search_id.in_(found), searches.c.notified < searches.c.last_sequence)
        with self._transaction() as connection:
            for row in connection.execute(query.with_for_update(skip_locked=True)).mappings().all():
                this = searches.c.search_id == row["search_id"]
                connection.execute(update(searches).where(this).values(notified=row["last_sequence"]))
                record = rows.search_record_or_reason(row)
                if isinstance(record, SearchRecord):
                    news = select(events).where(
                        events.c.search_id == record.search_id,
                        events.c.sequence > row["notified"],
                        events.c.sequence <= record.last_sequence,
                        events.c.at >= since,
                    )
                    rest = connection.execute(news.order_by(events.c.sequence)).mappings()
                    taken.append((record, [rows.recorded_event(event) for event in rest]))
        return taken

    def positions(self, search_ids: Sequence[str]) -> dict[str, tuple[int, bool]]:
        """Last sequence, and whether somebody must still work on it, of those that there are."""
        columns = (searches.c.search_id, searches.c.last_sequence, searches.c.needs_owner)
        with self._transaction(write=False) as connection:
            found = connection.execute(select(*columns).where(searches.c.search_id.in_(search_ids)))
            return {search_id: (sequence, needs_owner) for search_id, sequence, needs_owner in found}

    def candidate_page(self, search_id: str, after: int, limit: int) -> list[Candidate]:
        """Candidates with a greater number, in order. Raises NotFound for an unknown search."""
        with self._transaction(write=False) as connection:
            self._exists(connection, search_id)
            query = (
                select(candidates.c.data)
                .where(candidates.c.search_id == search_id, candidates.c.number > after)
                .order_by(candidates.c.number)
                .limit(limit)
            )
            return [documents.CANDIDATE.validate_json(row.data) for row in connection.execute(query)]

    def candidates(self, search_id: str, numbers: Sequence[int]) -> dict[int, Candidate]:
        with self._transaction(write=False) as connection:
            query = select(candidates.c.number, candidates.c.data).where(
                candidates.c.search_id == search_id, candidates.c.number.in_(numbers)
            )
            return {row.number: documents.CANDIDATE.validate_json(row.data) for row in connection.execute(query)}

    def candidate(self, search_id: str, number: int) -> CandidateRecord:
        """Everything recorded of one candidate. Raises NotFound."""
        with self._transaction(write=False) as connection:
            row = (
                connection.execute(
                    select(candidates).where(candidates.c.search_id == search_id, candidates.c.number == number)
                )
                .mappings()
                .first()
            )
        if row is None:
            raise NotFound(f"search {search_id} has no candidate {number}")
        return rows.candidate_record(row)

    def texts(self, search_id: str, numbers: Sequence[int]) -> dict[int, tuple[Candidate, str, str]]:
        """Candidate, source and feedback of the numbers that have a source."""
        with self._transaction(write=False) as connection:
            query = select(candidates.c.number, candidates.c.data, candidates.c.source, candidates.c.feedback).where(
                candidates.c.search_id == search_id, candidates.c.number.in_(numbers)
            )
            return {
                row.number: (documents.CANDIDATE.validate_json(row.data), row.source, row.feedback or "")
                for row in connection.execute(query)
                if row.source is not None
            }

    def change_state(self, search_id: str, state: SearchState, reason: str) -> SearchRecord:
        """A user's pause, resume or cancel; an owner then does what is left to do. Raises NotFound,
        FailedPrecondition if the search has ended another way. Repeating it is harmless."""
        with self._transaction() as connection:
            record = self._read(connection, search_id, lock=True)
            if not lifecycle.changes(record, state):
                return record
            values = {
                "state": state,
                "reason": reason,
                "paused_by_user": state is SearchState.PAUSED,
                "needs_owner": True,
            }
            if state.ended:
                values["ended_at"] = self._clock()
            self._update(connection, record, values, [StateChanged(state, reason)])
            return self._read(connection, search_id)

    def extend_budget(self, search_id: str, extended: Callable[[SearchRecord], Budget]) -> SearchRecord:
        """Put a new budget in force: `extended` says which, and whether a finished search goes on. Raises NotFound and
        what `extended` raises."""
        with self._transaction() as connection:
            record = self._read(connection, search_id, lock=True)
            resumes, budget = lifecycle.goes_on(record), extended(record)
            values: dict[str, object] = {"budget": documents.BUDGET.dump_json(budget).decode()}
            happened: list[DomainEvent] = [BudgetExtended(budget)]
            if resumes:
                values |= {
                    "state": SearchState.RUNNING,
                    "reason": "",
                    "ended_at": None,
                    "needs_owner": True,
                    "winner_number": None,
                    "gates": "[]",
                }
                happened.append(StateChanged(SearchState.RUNNING, "the budget was extended"))
            self._update(connection, record, values, happened)
            return self._read(connection, search_id)

    def update_labels(self, search_id: str, labels: Labels) -> SearchRecord:
        """Change title, notes and tags, in any state. Raises NotFound, InvalidArgument for too many tags."""
        with self._transaction() as connection:
            record = labels.applied(self._read(connection, search_id, lock=True))
            connection.execute(
                update(searches).where(searches.c.search_id == search_id).values(rows.label_columns(record))
            )
        return record

    def delete(self, search_id: str) -> None:
        """Raises NotFound, FailedPrecondition if somebody still works on it."""
        with self._transaction() as connection:
            record = self._read(connection, search_id, lock=True)
            lifecycle.check_deletable(record)
            for table in (events, candidates, searches):
                connection.execute(delete(table).where(table.c.search_id == search_id))

    def restore(self, search: ArchivedSearch, items: Iterable[CandidateRecord | RecordedEvent]) -> SearchRecord:
        """Record an archived search with its candidates and events, as they are. Raises AlreadyExists if a search has
        its id."""
        record = search.record
        search_id, digest = record.search_id, record.spec.suite_digest
        try:
            with self._transaction() as connection:
                connection.execute(insert(searches).values(rows.restored_search_row(record, f"restored {search_id}")))
                if search.suite_files:
                    values = {"search_id": search_id, "digest": digest, "files": search.suite_files}
                    connection.execute(insert(suites).values(values))
                for item in items:
                    if isinstance(item, CandidateRecord):
                        connection.execute(insert(candidates).values(rows.restored_candidate_row(search_id, item)))
                    else:
                        given = rows.event_rows(search_id, item.sequence - 1, item.at, item.spend, [item.event])
                        connection.execute(insert(events), given)
                return self._read(connection, search_id)
        except IntegrityError:
            raise AlreadyExists(f"a search {search_id} is here already") from None

    # ----------------------------------------------------------------------------------------------------- for owners

    def acquire(self, owner: str, limit: int, seconds: float, ended: bool = False) -> list[Lease]:
        """Take over at most `limit` searches that need an owner, or are to be looked at again by now, and have none;
        with `ended`, only those that have ended and are to be settled."""
        with self._transaction() as connection:
            now = self._now(connection)
            # As `lifecycle.lapsed` says.
            until = searches.c.lease_until
            lapsed = or_(until <= now, until > lifecycle.latest_lease(now, seconds))
            wanted = or_(searches.c.needs_owner.is_(True), searches.c.look_again_at <= now)
            free = (
                select(searches.c.search_id, searches.c.lease_token)
                .where(wanted, lapsed, searches.c.state.in_(_ENDED) if ended else true())
                .order_by(searches.c.created_at)
                .limit(limit)
                .with_for_update(skip_locked=True)
            )
            leases = [Lease(row.search_id, owner, row.lease_token + 1) for row in connection.execute(free).all()]
            for lease in leases:
                connection.execute(
                    update(searches)
                    .where(searches.c.search_id == lease.search_id)
                    .values(lease_owner=owner, lease_token=lease.token, lease_until=now + seconds)
                )
        return leases

    def renew(self, lease: Lease, seconds: float, wall_seconds: float) -> Control:
        """The heartbeat, with the time that the search has run, which no kill may give back. Raises Aborted if the
        lease was lost."""
        with self._transaction() as connection:
            row = self._owned_row(connection, lease)
            spend = documents.SPEND.validate_json(row["spend"])
            spend = replace(spend, wall_seconds=max(spend.wall_seconds, wall_seconds))
            connection.execute(
                update(searches)
                .where(searches.c.search_id == lease.search_id)
                .values(lease_until=self._now(connection) + seconds, spend=documents.SPEND.dump_json(spend).decode())
            )
            return _control(row)

    def release(self, lease: Lease) -> None:
        """Let others take the search at once. A lost lease is nothing to release."""
        with self._transaction() as connection:
            connection.execute(
                update(searches)
                .where(searches.c.search_id == lease.search_id, searches.c.lease_token == lease.token)
                .values(lease_owner="", lease_until=0.0)
            )

    def commit(self, lease: Lease, batch: Batch) -> Control:
        """Write what belongs together. Raises Aborted if the lease was lost; then nothing is written."""
        with self._transaction() as connection:
            control = _control(self._owned_row(connection, lease))
            happened = list(batch.events)
            values: dict[str, object] = {"spend": documents.SPEND.dump_json(batch.spend).decode()}
            for key in ("best_number", "told"):
                if (number := getattr(batch, key)) is not None:
                    values[key] = number
            wanted = batch.transition
            if wanted and lifecycle.happens(wanted, control):
                values |= {
                    "state": wanted.state,
                    "reason": without_nul(wanted.reason),
                    "paused_by_user": wanted.paused_by_user,
                    "ended_at": self._clock() if wanted.state.ended else None,
                    "winner_number": wanted.winner_number,
                    "gates": documents.GATES.dump_json(wanted.gates).decode(),
                }
                happened += [*wanted.events, StateChanged(wanted.state, wanted.reason)]
                control = replace(control, state=wanted.state, paused_by_user=wanted.paused_by_user)
            values["needs_owner"] = control.state is not batch.idle_in
            values["look_again_at"] = batch.look_again_at
            self._write_candidates(connection, lease.search_id, batch.candidates)
            last = self._append(connection, lease.search_id, control.sequence, batch.spend, happened)
            values["last_sequence"] = last
            connection.execute(update(searches).where(searches.c.search_id == lease.search_id).values(values))
        return replace(control, sequence=last)

    def quarantine(self, lease: Lease, reason: str) -> None:
        """The owner cannot work on this search: nobody shall, until a user resumes it. Reads as little as possible,
        it may be the record that is broken. Raises Aborted if the lease was lost."""
        with self._transaction() as connection:
            row = self._owned_row(connection, lease)
            values: dict[str, object] = {
                "needs_owner": False, "look_again_at": None, "lease_owner": "", "lease_until": 0.0
            }  # fmt: skip
            if row["state"] == SearchState.RUNNING:
                values |= {"state": SearchState.PAUSED, "reason": without_nul(reason), "paused_by_user": True}
                paused = StateChanged(SearchState.PAUSED, reason)
                spend = documents.SPEND.validate_json(row["spend"])
                values["last_sequence"] = self._append(
                    connection, lease.search_id, row["last_sequence"], spend, [paused]
                )
            connection.execute(update(searches).where(searches.c.search_id == lease.search_id).values(values))

    # --------------------------------------------------------------------------------------------------------- inside

    @contextmanager
    def _transaction(self, write: bool = True) -> Iterator[Connection]:
        begin = time.perf_counter()
        try:
            with (self._engine if write else self._reader).begin() as connection:
                yield connection
        except IntegrityError:
            raise
        except DataError as error:
            raise InvalidArgument(f"the store cannot hold such a value: {cause(error)}") from error
        except STORE_ERRORS as error:
            raise Unavailable(f"the store cannot be used: {cause(error)}", reason="STORE_UNAVAILABLE") from error
        finally:
            self._observe(time.perf_counter() - begin)

    def _now(self, connection: Connection) -> float:
        """Leases of several machines are measured by one clock: the database's, where it has one."""
        if not self.shared:
            return self._clock()
        return float(connection.execute(select(func.extract("epoch", func.clock_timestamp()))).scalar_one())

    def _exists(self, connection: Connection, search_id: str) -> None:
        if connection.execute(select(searches.c.search_id).where(searches.c.search_id == search_id)).first() is None:
            raise lifecycle.unknown(search_id)

    def _read(self, connection: Connection, search_id: str, lock: bool = False) -> SearchRecord:
        query = select(searches).where(searches.c.search_id == search_id)
        row = connection.execute(query.with_for_update() if lock else query).mappings().first()
        if row is None:
            raise lifecycle.unknown(search_id)
        return rows.search_record(row)

    def _owned_row(self, connection: Connection, lease: Lease) -> RowMapping:
        of = searches.c
        columns = (of.state, of.budget, of.paused_by_user, of.last_sequence, of.lease_token, of.spend)
        query = select(*columns).where(of.search_id == lease.search_id).with_for_update()
        row = connection.execute(query).mappings().first()
        if row is None or row["lease_token"] != lease.token:
            raise Aborted(f"search {lease.search_id} has another owner now")
        return row

    def _update(
        self, connection: Connection, record: SearchRecord, values: dict[str, object], happened: Sequence[DomainEvent]
    ) -> None:
        last = self._append(connection, record.search_id, record.last_sequence, record.spend, happened)
        connection.execute(
            update(searches).where(searches.c.search_id == record.search_id).values(values | {"last_sequence": last})
        )

    def _append(
        self, connection: Connection, search_id: str, last: int, spend: Spend, happened: Sequence[DomainEvent]
    ) -> int:
        if happened:
            connection.execute(insert(events), rows.event_rows(search_id, last, self._clock(), spend, happened))
        return last + len(happened)

    def _write_candidates(self, connection: Connection, search_id: str, writes: Sequence[CandidateWrite]) -> None:
        new = [
            {"search_id": search_id, "created_at": self._clock()} | rows.candidate_columns(write, rows.COMPLETE_KEYS)
            for write in writes
            if write.new
        ]
        if new:
            connection.execute(insert(candidates), new)
        for write in writes:
            if write.new:
                continue
            given = tuple(key for key in rows.COMPLETE_KEYS if getattr(write, key) is not None)
            number, state = write.candidate.number, write.candidate.state
            changed = connection.execute(
                update(candidates)
                .where(candidates.c.search_id == search_id, candidates.c.number == number)
                .where(candidates.c.state.in_(lifecycle.before(state)))
                .values(rows.candidate_columns(write, given))
            )
            if changed.rowcount != 1:
                raise lifecycle.refused(number, state)


def _control(row: RowMapping) -> Control:
    budget = documents.BUDGET.validate_json(row["budget"])
    return Control(SearchState(row["state"]), budget, row["paused_by_user"], row["last_sequence"])
