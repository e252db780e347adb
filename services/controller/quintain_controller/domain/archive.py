"""What of a search goes into an archive, and what becomes of it where it is restored."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from quintain.errors import InvalidArgument
from quintain_controller.domain.events import BackendTrouble, DomainEvent, RecordedEvent, StateChanged
from quintain_controller.domain.model import SearchState
from quintain_controller.domain.records import ArchivedSearch, CandidateRecord, SearchRecord

DAMAGED = "ARCHIVE_DAMAGED"
_SEARCH_ID = re.compile(r"s[0-9a-f]{12}")
# Where services and their files are: a reader elsewhere has no use for it.
_ADDRESS = re.compile(r"\b[a-z][a-z+]*://[^\s'\"),;]+|\[[0-9a-fA-F:]+\]:\d+|\b[\w.-]+:\d{4,5}\b")
_PATH = re.compile(r"(?<![\w.~])~?/[\w.@+-]+(?:/[\w.@+-]+)+/?")

ArchiveItem = ArchivedSearch | CandidateRecord | RecordedEvent


def without_places(text: str) -> str:
    """A reason without addresses and paths of the machine that gave it."""
    return _PATH.sub("<path>", _ADDRESS.sub("<address>", text))


def shareable(record: SearchRecord) -> SearchRecord:
    """The search as others may see it. What backends, policies and the user said stands as it was recorded."""
    return replace(record, reason=without_places(record.reason))


def shareable_event(recorded: RecordedEvent) -> RecordedEvent:
    event: DomainEvent = recorded.event
    if isinstance(event, StateChanged | BackendTrouble):
        return replace(recorded, event=replace(event, reason=without_places(event.reason)))
    return recorded


def restored(archived: ArchivedSearch, now: float) -> tuple[ArchivedSearch, list[RecordedEvent]]:
    """The search as it is restored at `now`, and the events that this adds: one that was paused has ended."""
    record = replace(archived.record, restored_at=now, needs_owner=False, paused_by_user=False)
    events: list[RecordedEvent] = []
    if not record.state.ended:
        reason = f"it was {record.state.name.lower()} when it was archived"
        spend = replace(
            record.spend, reserved_usd_nano=0, reserved_tokens=0, reserved_tool_runs=0, reserved_tool_seconds=0.0
        )
        ended = StateChanged(SearchState.CANCELLED, reason)
        events.append(RecordedEvent(record.last_sequence + 1, now, spend, ended))
        record = replace(
            record,
            state=SearchState.CANCELLED,
            reason=reason,
            spend=spend,
            ended_at=now,
            last_sequence=record.last_sequence + 1,
        )
    return replace(archived, record=record), events


def checked(items: Iterable[ArchiveItem]) -> Iterator[ArchiveItem]:
    """The items, if they are one search with all its candidates and events in order. Raises InvalidArgument."""
    search: SearchRecord | None = None
    candidates = events = 0
    for item in items:
        match item:
            case ArchivedSearch(record):
                if search is not None or not _SEARCH_ID.fullmatch(record.search_id):
                    raise damaged("it does not begin with one search")
                if record.state is SearchState.RUNNING:
                    raise damaged("its search is running")
                if not all(text.isprintable() for text in (record.spec.title, record.forked_from, *record.tags)):
                    raise damaged("its title or a tag holds a character that cannot be printed")
                search = record
            case CandidateRecord(candidate):
                if search is None or candidate.number != candidates or events:
                    raise damaged(f"candidate {candidate.number} stands where candidate {candidates} should")
                candidates += 1
            case RecordedEvent(sequence):
                if search is None or sequence != events + 1:
                    raise damaged(f"event {sequence} stands where event {events + 1} should")
                events += 1
        yield item
    if search is None:
        raise damaged("it holds no search")
    named = [n for n in (search.best_number, search.winner_number) if n is not None]
    if events != search.last_sequence or search.told > candidates or any(not 0 <= n < candidates for n in named):
        raise damaged("its search does not fit its candidates and events")


def damaged(what: str) -> InvalidArgument:
    """The error for an archive that cannot be what was written."""
    return InvalidArgument(f"the archive is damaged: {what}", reason=DAMAGED)
