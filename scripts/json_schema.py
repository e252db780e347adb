"""The JSON Schema of what the command line writes with ``--json``, made of the contracts, in docs/json-schema.json.

``python scripts/json_schema.py [--check]``
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from quintain.controller.v1 import controller_pb2
from quintain.generator.v1 import generator_pb2
from quintain.type.v1 import type_pb2
from quintain.verifier.v1 import verifier_pb2

FILE = Path(__file__).parents[1] / "docs/json-schema.json"
# What stands in a line of some command; the rest follows from their fields.
MESSAGES = [
    controller_pb2.Search, controller_pb2.Event, controller_pb2.CandidateSummary, controller_pb2.Candidate,
    controller_pb2.Strategy, generator_pb2.Generation, generator_pb2.Backend, verifier_pb2.Verdict,
    verifier_pb2.Execution, verifier_pb2.SimulatorSummary, type_pb2.SimulatorDescription, type_pb2.Suite,
]  # fmt: skip
WELL_KNOWN: dict[str, dict[str, Any]] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Struct": {"type": "object"},
    "google.protobuf.Value": {},
}


def schema() -> dict[str, Any]:
    """The whole document: a definition for each message, by its short name."""
    definitions: dict[str, Any] = {}
    for message in MESSAGES:
        _define(message.DESCRIPTOR, definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Lines that quintain writes with --json",
        "$defs": dict(sorted(definitions.items())),
    }


def page() -> str:
    """The file's text, a line for each message."""
    whole = schema()
    definitions = ",\n".join(f"  {json.dumps(name)}: {json.dumps(d)}" for name, d in whole.pop("$defs").items())
    head = json.dumps(whole, indent=1).removesuffix("\n}")
    return f'{head},\n "$defs": {{\n{definitions}\n }}\n}}\n'


def _define(descriptor: Any, definitions: dict[str, Any]) -> None:
    if descriptor.name in definitions:
        return
    definition: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
    definitions[descriptor.name] = definition
    for field in descriptor.fields:
        definition["properties"][field.name] = _field(field, definitions)
    # A field without a value of its own is written with its default.
    required = [field.name for field in descriptor.fields if not field.has_presence]
    if required:
        definition["required"] = required


def _field(field: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    if field.message_type and field.message_type.GetOptions().map_entry:
        return {"type": "object", "additionalProperties": _one(field.message_type.fields_by_name["value"], definitions)}
    one = _one(field, definitions)
    return {"type": "array", "items": one} if field.is_repeated else one


def _one(field: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    if field.message_type:
        if field.message_type.full_name in WELL_KNOWN:
            return WELL_KNOWN[field.message_type.full_name]
        _define(field.message_type, definitions)
        return {"$ref": f"#/$defs/{field.message_type.name}"}
    if field.enum_type:
        return {"enum": [value.name for value in field.enum_type.values]}
    if field.cpp_type in (field.CPPTYPE_DOUBLE, field.CPPTYPE_FLOAT):
        return {"anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]}
    if field.cpp_type == field.CPPTYPE_BOOL:
        return {"type": "boolean"}
    if field.cpp_type == field.CPPTYPE_STRING:
        return {"type": "string"}
    return {"type": "integer"}


def main() -> None:
    text = page()
    if "--check" in sys.argv:
        sys.exit(0 if FILE.read_text() == text else f"{FILE} is not up to date: python scripts/json_schema.py")
    FILE.write_text(text)


if __name__ == "__main__":
    main()
