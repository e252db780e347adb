"""What the rows of the store hold: records to columns and back. Whatever is not asked for by itself is JSON."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError
from sqlalchemy import RowMapping

from quintain.service.settings import explain
from quintain_controller.adapters.documents import BUDGET, CANDIDATE, CONTEXT, EVENT, GATES, SPEC, SPEND, TAGS, TOOLS
from quintain_controller.domain.events import DomainEvent, RecordedEvent
from quintain_controller.domain.model import SearchState, Spend
from quintain_controller.domain.records import (
    CandidateRecord,
    CandidateWrite,
    NewSearch,
    SearchRecord,
    UnreadableSearch,
)

COMPLETE_KEYS = ("source", "feedback", "generation", "verdict", "held_out")


def new_search_row(new: NewSearch, created_at: float) -> dict[str, object]:
    return {
        "search_id": new.search_id,
        "request_id": new.request_id,
        "request_digest": new.request_digest,
        "created_at": created_at,
        "ended_at": None,
        "spec": SPEC.dump_json(new.spec).decode(),
        "context": CONTEXT.dump_json(new.context).decode(),
        "budget": BUDGET.dump_json(new.spec.budget).decode(),
        "spend": SPEND.dump_json(Spend()).decode(),
        "state": SearchState.RUNNING,
        "reason": "",
        "paused_by_user": False,
        "gates": "[]",
        "last_sequence": len(new.events),
        "forked_from": new.forked_from,
        "needs_owner": True,
        "told": 0,
        "lease_owner": "",
        "lease_token": 0,
        "lease_until": 0.0,
    }


def restored_search_row(record: SearchRecord, request_id: str) -> dict[str, object]:
    return {
        "search_id": record.search_id,
        "request_id": request_id,
        "request_digest": "",
        "created_at": record.created_at,
        "ended_at": record.ended_at,
        "context": CONTEXT.dump_json(record.context).decode(),
        "budget": BUDGET.dump_json(record.budget).decode(),
        "spend": SPEND.dump_json(record.spend).decode(),
        "state": record.state,
        "reason": record.reason,
        "paused_by_user": False,
        "best_number": record.best_number,
        "winner_number": record.winner_number,
        "gates": GATES.dump_json(record.gates).decode(),
        "last_sequence": record.last_sequence,
        "forked_from": record.forked_from,
        "needs_owner": False,
        "told": record.told,
        "lease_owner": "",
        "lease_token": 0,
        "lease_until": 0.0,
        "notified": record.last_sequence,
        "restored_at": record.restored_at,
    } | label_columns(record)


def restored_candidate_row(search_id: str, record: CandidateRecord) -> dict[str, object]:
    candidate = record.candidate
    return {
        "search_id": search_id,
        "number": candidate.number,
        "state": candidate.state,
        "data": CANDIDATE.dump_json(candidate).decode(),
        "created_at": record.created_at,
        "tools": TOOLS.dump_json(record.tools).decode() if record.tools else None,
    } | {key: getattr(record, key) for key in COMPLETE_KEYS}


def search_record(row: RowMapping) -> SearchRecord:
    return SearchRecord(
        search_id=row["search_id"],
        spec=SPEC.validate_json(row["spec"]),
        context=CONTEXT.validate_json(row["context"]),
        budget=BUDGET.validate_json(row["budget"]),
        spend=SPEND.validate_json(row["spend"]),
        state=SearchState(row["state"]),
        reason=row["reason"],
        paused_by_user=row["paused_by_user"],
        best_number=row["best_number"],
        winner_number=row["winner_number"],
        gates=GATES.validate_json(row["gates"]),
        created_at=row["created_at"],
        ended_at=row["ended_at"],
        last_sequence=row["last_sequence"],
        forked_from=row["forked_from"],
        needs_owner=row["needs_owner"],
        told=row["told"],
        notes=row["notes"],
        tags=TAGS.validate_json(row["tags"]),
        restored_at=row["restored_at"],
    )


def label_columns(record: SearchRecord) -> dict[str, object]:
    return {
        "spec": SPEC.dump_json(record.spec).decode(),
        "notes": record.notes,
        "tags": TAGS.dump_json(record.tags).decode(),
    }


def search_record_or_reason(row: RowMapping) -> SearchRecord | UnreadableSearch:
    try:
        return search_record(row)
    except ValueError as error:  # pydantic's, or a state that there is not
        reason = explain(error) if isinstance(error, ValidationError) else str(error)
        return UnreadableSearch(row["search_id"], row["created_at"], reason)


def candidate_columns(write: CandidateWrite, keys: Sequence[str]) -> dict[str, object]:
    """`keys`: which of the complete texts and records to write."""
    candidate = write.candidate
    columns: dict[str, object] = {"state": candidate.state, "data": CANDIDATE.dump_json(candidate).decode()}
    if write.new:
        columns["number"] = candidate.number
    if write.tools is not None:
        columns["tools"] = TOOLS.dump_json(write.tools).decode()
    return columns | {key: getattr(write, key) for key in keys}


def candidate_record(row: RowMapping) -> CandidateRecord:
    texts = {key: row[key] for key in COMPLETE_KEYS}
    used = TOOLS.validate_json(row["tools"]) if row["tools"] else ()
    return CandidateRecord(CANDIDATE.validate_json(row["data"]), row["created_at"], **texts, tools=used)


def event_rows(
    search_id: str, last: int, at: float, spend: Spend, events: Sequence[DomainEvent]
) -> list[dict[str, object]]:
    """`last`: sequence of the event before."""
    spent = SPEND.dump_json(spend).decode()
    return [
        {
            "search_id": search_id,
            "sequence": last + position,
            "at": at,
            "spend": spent,
            "event": EVENT.dump_json(event).decode(),
        }
        for position, event in enumerate(events, 1)
    ]


def recorded_event(row: RowMapping) -> RecordedEvent:
    return RecordedEvent(
        row["sequence"], row["at"], SPEND.validate_json(row["spend"]), EVENT.validate_json(row["event"])
    )
