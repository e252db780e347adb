"""The store in memory: what the other stores do, for tests and for reading. Nothing outlives the process."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from quintain.errors import Aborted, AlreadyExists, NotFound
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


@dataclass(slots=True)
class _Search:
    record: SearchRecord
    request_id: str
    request_digest: str
    suite_files: bytes
    candidates: dict[int, CandidateRecord] = field(default_factory=dict)
    events: list[RecordedEvent] = field(default_factory=list)
    lease_token: int = 0
    lease_until: float = 0.0
    look_again_at: float | None = None
    notified: int = 0


class MemoryStore:
    """The `quintain_controller.ports.Store` of one process. Thread safe; every method holds the one lock."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._searches: dict[str, _Search] = {}

    def close(self) -> None:
        pass

    # ------------------------------------------------------------------------------------------------- for everybody

    def create(self, new: NewSearch) -> SearchRecord:
        with self._lock:
            for known in self._searches.values():
                if known.request_id == new.request_id:
                    if known.request_digest != new.request_digest:
                        raise AlreadyExists(
                            f"request_id {new.request_id!r} was used to create another search; choose a new id"
                        )
                    return known.record
            record = SearchRecord(
                search_id=new.search_id,
                spec=new.spec,
                context=new.context,
                budget=new.spec.budget,
                spend=Spend(),
                state=SearchState.RUNNING,
                reason="",
                paused_by_user=False,
                best_number=None,
                winner_number=None,
                gates=(),
                created_at=self._clock(),
                ended_at=None,
                last_sequence=0,
                forked_from=new.forked_from,
                needs_owner=True,
                told=0,
            )
            made = self._searches[new.search_id] = _Search(record, new.request_id, new.request_digest, new.suite_files)
            self._append(made, Spend(), new.events)
            return made.record

    def find_request(self, request_id: str) -> tuple[str, str] | None:
        with self._lock:
            found = (s for s in self._searches.values() if s.request_id == request_id)
            return next(((s.record.search_id, s.request_digest) for s in found), None)

    def search(self, search_id: str) -> SearchRecord:
        with self._lock:
            return self._find(search_id).record

    def suite_files(self, digest: str) -> bytes:
        with self._lock:
            found = (
                s.suite_files for s in self._searches.values() if s.suite_files and s.record.spec.suite_digest == digest
            )
            files = next(found, None)
        if files is None:
            raise NotFound(f"no search here has a suite of its own with the digest {digest!r}")
        return files

    def search_page(self, limit: int, after: tuple[float, str] | None) -> Sequence[SearchRecord | UnreadableSearch]:
        with self._lock:
            records = sorted((s.record for s in self._searches.values()), key=lambda r: (-r.created_at, r.search_id))
        if after is not None:
            records = [r for r in records if (-r.created_at, r.search_id) > (-after[0], after[1])]
        return records[:limit]

    def counts(self) -> dict[SearchState, int]:
        with self._lock:
            return dict(Counter(s.record.state for s in self._searches.values()))

    def events_after(self, search_id: str, sequence: int, limit: int) -> tuple[list[RecordedEvent], bool]:
        with self._lock:
            search = self._find(search_id)
            found = search.events[sequence : sequence + limit]
            seen = found[-1].sequence if found else sequence
            record = search.record
            return found, record.state.ended and not record.needs_owner and seen >= record.last_sequence

    def take_news(self, limit: int, since: float) -> list[tuple[SearchRecord, list[RecordedEvent]]]:
        taken: list[tuple[SearchRecord, list[RecordedEvent]]] = []
        with self._lock:
            new = [search for search in self._searches.values() if search.notified < len(search.events)]
            for search in new[:limit]:
                taken.append((search.record, [e for e in search.events[search.notified :] if e.at >= since]))
                search.notified = len(search.events)
        return taken

    def positions(self, search_ids: Sequence[str]) -> dict[str, tuple[int, bool]]:
        with self._lock:
            known = [self._searches[search_id].record for search_id in search_ids if search_id in self._searches]
        return {record.search_id: (record.last_sequence, record.needs_owner) for record in known}

    def candidate_page(self, search_id: str, after: int, limit: int) -> list[Candidate]:
        with self._lock:
            candidates = self._find(search_id).candidates
            numbers = sorted(number for number in candidates if number > after)[:limit]
            return [candidates[number].candidate for number in numbers]

    def candidates(self, search_id: str, numbers: Sequence[int]) -> dict[int, Candidate]:
        with self._lock:
            known = self._searches[search_id].candidates if search_id in self._searches else {}
            return {number: known[number].candidate for number in sorted({*numbers} & known.keys())}

    def candidate(self, search_id: str, number: int) -> CandidateRecord:
        with self._lock:
            found = self._searches[search_id].candidates.get(number) if search_id in self._searches else None
        if found is None:
            raise NotFound(f"search {search_id} has no candidate {number}")
        return found

    def texts(self, search_id: str, numbers: Sequence[int]) -> dict[int, tuple[Candidate, str, str]]:
        with self._lock:
            known = self._searches[search_id].candidates if search_id in self._searches else {}
            found = [known[number] for number in sorted({*numbers} & known.keys())]
        return {r.candidate.number: (r.candidate, r.source, r.feedback or "") for r in found if r.source is not None}

    def change_state(self, search_id: str, state: SearchState, reason: str) -> SearchRecord:
        with self._lock:
            search = self._find(search_id)
            if lifecycle.changes(search.record, state):
                search.record = replace(
                    search.record,
                    state=state,
                    reason=reason,
                    paused_by_user=state is SearchState.PAUSED,
                    needs_owner=True,
                    ended_at=self._clock() if state.ended else search.record.ended_at,
                )
                self._append(search, search.record.spend, [StateChanged(state, reason)])
            return search.record

    def extend_budget(self, search_id: str, extended: Callable[[SearchRecord], Budget]) -> SearchRecord:
        with self._lock:
            search = self._find(search_id)
            resumes, budget = lifecycle.goes_on(search.record), extended(search.record)
            happened: list[DomainEvent] = [BudgetExtended(budget)]
            search.record = replace(search.record, budget=budget)
            if resumes:
                search.record = replace(
                    search.record,
                    state=SearchState.RUNNING,
                    reason="",
                    ended_at=None,
                    needs_owner=True,
                    winner_number=None,
                    gates=(),
                )
                happened.append(StateChanged(SearchState.RUNNING, "the budget was extended"))
            self._append(search, search.record.spend, happened)
            return search.record

    def update_labels(self, search_id: str, labels: Labels) -> SearchRecord:
        with self._lock:
            search = self._find(search_id)
            search.record = labels.applied(search.record)
            return search.record

    def delete(self, search_id: str) -> None:
        with self._lock:
            lifecycle.check_deletable(self._find(search_id).record)
            del self._searches[search_id]

    def restore(self, search: ArchivedSearch, items: Iterable[CandidateRecord | RecordedEvent]) -> SearchRecord:
        record = search.record
        made = _Search(record, f"restored {record.search_id}", "", search.suite_files)
        for item in items:
            if isinstance(item, CandidateRecord):
                made.candidates[item.candidate.number] = item
            else:
                made.events.append(item)
        made.notified = len(made.events)
        with self._lock:
            if record.search_id in self._searches:
                raise AlreadyExists(f"a search {record.search_id} is here already")
            self._searches[record.search_id] = made
        return record

    # ----------------------------------------------------------------------------------------------------- for owners

    def acquire(self, owner: str, limit: int, seconds: float, ended: bool = False) -> list[Lease]:
        with self._lock:
            now = self._clock()
            free = [
                search
                for search in sorted(self._searches.values(), key=lambda s: s.record.created_at)
                if (search.record.needs_owner or (search.look_again_at is not None and search.look_again_at <= now))
                and lifecycle.lapsed(search.lease_until, now, seconds)
                and (search.record.state.ended or not ended)
            ][:limit]
            for search in free:
                search.lease_token += 1
                search.lease_until = now + seconds
            return [Lease(search.record.search_id, owner, search.lease_token) for search in free]

    def renew(self, lease: Lease, seconds: float, wall_seconds: float) -> Control:
        with self._lock:
            search = self._owned(lease)
            spend = search.record.spend
            spend = replace(spend, wall_seconds=max(spend.wall_seconds, wall_seconds))
            search.record = replace(search.record, spend=spend)
            search.lease_until = self._clock() + seconds
            return search.record.control

    def release(self, lease: Lease) -> None:
        with self._lock:
            search = self._searches.get(lease.search_id)
            if search is not None and search.lease_token == lease.token:
                search.lease_until = 0.0

    def commit(self, lease: Lease, batch: Batch) -> Control:
        with self._lock:
            search = self._owned(lease)
            record, happened = search.record, list(batch.events)
            candidates = dict(search.candidates)
            for write in sorted(batch.candidates, key=lambda w: not w.new):
                candidates[write.candidate.number] = self._written(candidates, write)
            record = replace(record, spend=batch.spend)
            if batch.best_number is not None:
                record = replace(record, best_number=batch.best_number)
            if batch.told is not None:
                record = replace(record, told=batch.told)
            wanted = batch.transition
            if wanted and lifecycle.happens(wanted, record.control):
                happened += [*wanted.events, StateChanged(wanted.state, wanted.reason)]
                record = replace(
                    record,
                    state=wanted.state,
                    reason=without_nul(wanted.reason),
                    paused_by_user=wanted.paused_by_user,
                    ended_at=self._clock() if wanted.state.ended else None,
                    winner_number=wanted.winner_number,
                    gates=wanted.gates,
                )
            search.record = replace(record, needs_owner=record.state is not batch.idle_in)
            search.look_again_at = batch.look_again_at
            search.candidates = candidates
            self._append(search, batch.spend, happened)
            return search.record.control

    def quarantine(self, lease: Lease, reason: str) -> None:
        with self._lock:
            search = self._owned(lease)
            search.record = replace(search.record, needs_owner=False)
            search.look_again_at, search.lease_until = None, 0.0
            if search.record.state is SearchState.RUNNING:
                search.record = replace(
                    search.record, state=SearchState.PAUSED, reason=without_nul(reason), paused_by_user=True
                )
                self._append(search, search.record.spend, [StateChanged(SearchState.PAUSED, reason)])

    # --------------------------------------------------------------------------------------------------------- inside

    def _find(self, search_id: str) -> _Search:
        if search_id not in self._searches:
            raise lifecycle.unknown(search_id)
        return self._searches[search_id]

    def _owned(self, lease: Lease) -> _Search:
        search = self._searches.get(lease.search_id)
        if search is None or search.lease_token != lease.token:
            raise Aborted(f"search {lease.search_id} has another owner now")
        return search

    def _written(self, candidates: dict[int, CandidateRecord], write: CandidateWrite) -> CandidateRecord:
        """The record with what a write gives; None leaves a text or record as it is."""
        number, state = write.candidate.number, write.candidate.state
        known = candidates.get(number)
        if (known is None) is not write.new:
            raise lifecycle.refused(number, state)
        if known is None:
            known = CandidateRecord(write.candidate, self._clock(), None, None, None, None, None)
        elif known.candidate.state not in lifecycle.before(state):
            raise lifecycle.refused(number, state)
        return replace(
            known,
            candidate=write.candidate,
            source=known.source if write.source is None else write.source,
            feedback=known.feedback if write.feedback is None else write.feedback,
            generation=known.generation if write.generation is None else write.generation,
            verdict=known.verdict if write.verdict is None else write.verdict,
            held_out=known.held_out if write.held_out is None else write.held_out,
            tools=known.tools if write.tools is None else write.tools,
        )

    def _append(self, search: _Search, spend: Spend, happened: Sequence[DomainEvent]) -> None:
        now, last = self._clock(), search.record.last_sequence
        search.events += [RecordedEvent(last + place, now, spend, event) for place, event in enumerate(happened, 1)]
        search.record = replace(search.record, last_sequence=last + len(happened))
