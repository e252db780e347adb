"""What the documents say is so: the tutorial's files run, the schemas are those of the code."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tests.support.systems import run

from quintain_system.form.spec import SuiteSpec, SystemSpec
from quintain_system.package_simulator import PackageSimulator
from quintain_system.plugin import simulator

DOCS = Path(__file__).parents[3] / "docs"
FILE = re.compile(r"^```\w+ (balancer/\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def tutorial_files() -> dict[str, bytes]:
    found = FILE.findall((DOCS / "tutorial-system.md").read_text(encoding="utf-8"))
    return {name.removeprefix("balancer/"): text.encode() for name, text in found}


@pytest.fixture(scope="module")
def balancer() -> PackageSimulator:
    made = simulator.from_files("balancer", tutorial_files())
    assert isinstance(made, PackageSimulator)
    return made


def test_the_tutorials_package_is_thirty_lines_and_complete() -> None:
    files = tutorial_files()
    assert set(files) == {
        "system.toml", "model.py", "suite.toml", "baselines/in_turn.py", "baselines/weighted.py"
    }  # fmt: skip
    assert len(files["system.toml"].splitlines()) <= 30


def test_a_smaller_weight_for_the_fast_server_is_better_as_the_tutorial_says(balancer: PackageSimulator) -> None:
    sources = {b.name: b.source for b in balancer.describe().baselines}
    assert list(sources) == ["in_turn", "weighted"]
    better = sources["weighted"].replace("2: 1.0", "2: 0.4")
    for entry in balancer.suite("balancer").entries:
        scenario = balancer.scenario(entry.scenario)
        outcomes = [run(balancer, entry.scenario, s) for s in (sources["in_turn"], sources["weighted"], better)]
        assert [outcome.failure for outcome in outcomes] == [None] * 3
        values = [balancer.score("seconds", scenario, outcome, outcomes[0]).value for outcome in outcomes]
        assert values[0] > values[1] > values[2], entry.scenario


def test_check_says_of_it_what_the_tutorial_says() -> None:
    notes = simulator.suite_notes("balancer", tutorial_files())
    assert notes == ["hidden from policies: request.work"]


@pytest.mark.parametrize(("name", "spec"), [("system", SystemSpec), ("suite", SuiteSpec)])
def test_the_schema_is_that_of_the_code(name: str, spec: type[SystemSpec | SuiteSpec]) -> None:
    written = json.loads((DOCS / "schemas" / f"{name}.schema.json").read_text(encoding="utf-8"))
    assert written == spec.model_json_schema(by_alias=True), f"write docs/schemas/{name}.schema.json anew"


def test_every_key_is_in_the_reference() -> None:
    reference = (DOCS / "systems.md").read_text(encoding="utf-8")
    schemas = [spec.model_json_schema(by_alias=True) for spec in (SystemSpec, SuiteSpec)]
    keys = {key for schema in schemas for of in (schema, *schema["$defs"].values()) for key in of.get("properties", ())}
    missing = [key for key in sorted(keys) if not re.search(rf"\b{key}\b", reference)]
    assert not missing
