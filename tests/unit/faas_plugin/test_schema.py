"""The JSON Schemas for editors take what the simulator takes, and refuse what it refuses."""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import Any

import jsonschema
import pytest
from scripts import suite_schema

from quintain.plugins.simulator import InvalidInput
from quintain_faas.plugin import simulator

FOLDERS = [resources.files("quintain_faas") / "suites" / name for name in ("smoke", "standard", "paper-reference")]
TEMPLATE = resources.files("quintain_faas") / "template"


def valid(table: dict[str, Any]) -> bool:
    return jsonschema.Draft202012Validator(suite_schema.schemas()["faas-suite.json"]).is_valid(table)


def test_the_schemas_are_what_the_script_writes() -> None:
    for name, schema in suite_schema.schemas().items():
        assert (suite_schema.FOLDER / name).read_text() == suite_schema.text(schema), "run scripts/suite_schema.py"
        jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("folder", [*FOLDERS, TEMPLATE], ids=lambda f: f.name)
def test_every_suite_that_is_shipped_is_valid(folder: Any) -> None:
    assert valid(tomllib.loads((folder / "suite.toml").read_text()))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('objective = "throughput"', 'objective = "speed"'),
        ('part = "held_out"', 'part = "test"'),
        ("num_pools = 1", "num_pools = true"),
        ("duration = 60 ", "duratoin = 60 "),
        ('workload.trace = "monday.csv"', 'workload.trace = "../monday.csv"'),
        ('workload.trace = "monday.csv"', 'workload.trace = "monday.csv"\ngenerator = { num_pipelines = 1 }'),
    ],
)
def test_what_the_simulator_refuses_the_schema_refuses(old: str, new: str) -> None:
    text = (TEMPLATE / "suite.toml").read_text()
    assert old in text
    files = {**simulator.suite_template("mine"), "suite.toml": text.replace(old, new, 1).encode()}
    with pytest.raises(InvalidInput):
        simulator.from_files("mine", files)
    assert not valid(tomllib.loads(files["suite.toml"].decode()))
