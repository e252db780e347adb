"""Writes docs/schemas/faas-suite.json and faas-scenario.json, by which editors check the FaaS simulator's TOML files.

``python scripts/suite_schema.py``. In a TOML file: ``#:schema PATH`` on the first line (Taplo, Even Better TOML).
"""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from quintain.plugins.simulator import Aggregation, Part
from quintain_faas.objective import OBJECTIVES
from quintain_faas.params import Params
from quintain_faas.scenario import SECTIONS

FOLDER = Path(__file__).parents[1] / "docs/schemas"
DRAFT = "https://json-schema.org/draft/2020-12/schema"
TYPES = {"bool": "boolean", "int": "integer", "str": "string", "int | float": "number"}


def scenario() -> dict[str, Any]:
    """The tables of a scenario."""
    params = {field.name: field for field in fields(Params)}

    def table(keys: tuple[str, ...]) -> dict[str, Any]:
        known = {key: {"type": TYPES[str(params[key].type)], "default": params[key].default} for key in keys}
        if "estimator_algo" in known:
            known["estimator_algo"]["enum"] = ["", "noisy"]
        return closed(known)

    return {
        "description": {"type": "string"},
        "workload": closed({"trace": {"type": "string", "pattern": r"^[^./\\][^/\\]*\.csv(\.gz)?$"}}, ["trace"]),
        **{section: table(keys) for section, keys in SECTIONS.items()},
    }


def closed(properties: dict[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        **({"required": required} if required else {}),
    }


def schemas() -> dict[str, dict[str, Any]]:
    either = {"oneOf": [{"required": ["workload"]}, {"required": ["generator"]}]}
    named = {"name": {"type": "string", "minLength": 1}, "part": {"enum": [part.value for part in Part]}}
    defaults = {name: table for name, table in scenario().items() if name in SECTIONS}
    entry = closed(named | scenario(), ["name", "part"]) | either
    suite = closed(
        {
            "description": {"type": "string"},
            "objective": {"enum": list(OBJECTIVES)},
            "aggregation": {"enum": [aggregation.value for aggregation in Aggregation]},
            "defaults": closed(defaults),
            "scenarios": {"type": "array", "minItems": 1, "items": entry},
        },
        ["objective", "aggregation", "scenarios"],
    )
    one = closed(scenario()) | {"not": {"required": ["workload", "generator"]}}
    return {
        "faas-suite.json": {"$schema": DRAFT, "title": "A suite of the FaaS simulator"} | suite,
        "faas-scenario.json": {"$schema": DRAFT, "title": "A scenario of the FaaS simulator"} | one,
    }


def text(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=1) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, schema in schemas().items():
        (FOLDER / name).write_text(text(schema))
