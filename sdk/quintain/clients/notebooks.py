"""Notebooks of searches: as a document in a file, and as lessons that another search carries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict

from quintain.clients.controller import Controller
from quintain.controller.v1 import controller_pb2 as pb
from quintain.errors import InvalidArgument

MOST_BYTES = 4 << 20


def notebook_document(search_id: str, notebook: pb.GetNotebookResponse) -> dict[str, Any]:
    """Plain JSON: `search_id`, `entries` (docs/json.md) and `lessons`, each with the search that it is of."""
    entries = [
        {
            "number": e.number,
            "parent_number": e.parent_number,
            "hypothesis": e.hypothesis,
            "predictions": [
                MessageToDict(p, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
                for p in e.predictions
            ],
            "change": e.change if e.HasField("change") else None,
            "text": e.text,
        }
        for e in notebook.entries
    ]
    lessons = [f"{search_id} {lesson}" for lesson in notebook.lessons]
    return {"search_id": search_id, "entries": entries, "lessons": lessons}


def carried_lessons(controller: Controller, wanted: str) -> list[str]:
    """Lessons to carry: of a file (a notebook's document, or a text with one a line), or of a search by its id. Raises
    InvalidArgument for a file that is neither, NotFound for an unknown search."""
    path = Path(wanted)
    if not path.is_file():
        notebook = controller.get_notebook(pb.GetNotebookRequest(search_id=wanted))
        return [f"{wanted} {lesson}" for lesson in notebook.lessons]
    if path.stat().st_size > MOST_BYTES:
        raise InvalidArgument.of("notebook", f"{wanted} is larger than {MOST_BYTES >> 20} MiB: not a notebook")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgument.of("notebook", f"{wanted} cannot be read as text: {error}") from None
    if not text.lstrip().startswith("{"):
        return [line.strip() for line in text.splitlines() if line.strip()]
    try:
        lessons = json.loads(text)["lessons"]
    except (ValueError, KeyError, TypeError):
        lessons = None
    if not isinstance(lessons, list) or not all(isinstance(lesson, str) for lesson in lessons):
        raise InvalidArgument.of("notebook", f"{wanted} is JSON without a list of texts in `lessons`")
    return lessons
