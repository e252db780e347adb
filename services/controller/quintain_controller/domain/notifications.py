"""What is worth telling a person who does not look."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from quintain_controller.domain.events import NewBest, RecordedEvent, StateChanged
from quintain_controller.domain.model import NANO, SearchState
from quintain_controller.domain.records import SearchRecord


def document(
    search: SearchRecord, recorded: RecordedEvent, fidelity: str = "", fidelity_reason: str = ""
) -> bytes | None:
    """A JSON document, the same as the command line's; None: the event is not worth it. `fidelity`: of the model that
    the search searches in, and why it is no better; empty if it is no model of something else."""
    number: int | None = None
    score: float | None = None
    match recorded.event:
        case NewBest(candidate) if candidate.train is not None:
            kind, number, score = "new best", candidate.number, candidate.train.score
            words = f"#{number} new best {score:.6g}"
        case StateChanged(state, reason) if state is not SearchState.RUNNING:
            kind = state.name.lower()
            words = f"search {kind}{f': {reason}' if reason else ''}"
        case _:
            return None
    title = search.spec.title
    if fidelity:
        words += f"; in a model of the system, fidelity {fidelity}{f': {fidelity_reason}' if fidelity_reason else ''}"
    content = {
        "text": f"search {search.search_id}{f' ({title})' if title else ''}: {words}",
        "kind": kind,
        "search_id": search.search_id,
        "title": title,
        "sequence": recorded.sequence,
        "at": datetime.fromtimestamp(recorded.at, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "usd": recorded.spend.usd_nano / NANO,
        "number": number,
        "score": score,
        "fidelity": fidelity or None,
        "fidelity_reason": fidelity_reason or None,
    }
    return json.dumps(content, sort_keys=True).encode()
