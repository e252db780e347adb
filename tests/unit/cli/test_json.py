"""What is written for machines is what docs/json.md says."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from scripts import json_schema
from tests.unit.cli.conftest import Run
from tests.unit.cli.fakes import FakeController, FakeVerifier
from tests.unit.cli.test_search import finished
from tests.unit.cli.test_verify import good_verdict

from quintain.generator.v1 import generator_pb2
from quintain_cli.command_table import COMMANDS, load_command
from quintain_cli.commands import export

PAGE = (Path(__file__).parents[3] / "docs/json.md").read_text()


def valid(name: str, document: Any) -> None:
    jsonschema.validate(document, {"$ref": f"#/$defs/{name}", "$defs": json_schema.schema()["$defs"]})


def test_the_schema_is_what_the_contracts_say() -> None:
    assert json_schema.FILE.read_text() == json_schema.page(), "run scripts/json_schema.py"
    jsonschema.Draft202012Validator.check_schema(json_schema.schema())


def test_every_command_with_json_stands_on_the_page() -> None:
    writing = [name for name in COMMANDS if any("--json" in p.opts for p in load_command(name).params)]
    rows = " ".join(re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE))
    assert [name for name in writing if not re.search(rf"`{name}[` ]", rows)] == []


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (("search", "--candidates", "3"), ["Event", "Event", "Event", "Search"]),
        (("watch", "s1"), ["Event", "Event", "Event", "Search"]),
        (("searches",), ["Search"]),
        (("show", "s1", "--candidates"), ["Search", *["CandidateSummary"] * 3]),
        (("show", "s1", "2"), ["Candidate"]),
        (("strategies",), ["Strategy", "Strategy"]),
        (("simulators",), ["SimulatorDescription", "SimulatorDescription"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_lines_fit_the_schema(
    services: str, quintain: Run, controller: FakeController, arguments: tuple[str, ...], lines: list[str]
) -> None:
    finished(controller)
    ran = quintain(*arguments, "--json")
    written = [json.loads(line) for line in ran.out.splitlines()]
    assert len(written) == len(lines), ran.out
    for name, document in zip(lines, written, strict=True):
        valid(name, document)


def test_a_verdict_fits_the_schema(services: str, quintain: Run, verifier: FakeVerifier, policy: str) -> None:
    verifier.verdict = good_verdict()
    verdict, execution = map(json.loads, quintain("verify", policy, "--suite", "smoke", "--json").out.splitlines())
    valid("Verdict", verdict)
    valid("Execution", execution["execution"])
    assert verdict["scenarios"][0]["floors"][0]["reached"] == 7


@pytest.fixture
def searched(services: str, controller: FakeController) -> FakeController:
    finished(controller)
    made = controller.candidates[2].summary
    made.operator = generator_pb2.OPERATOR_CROSSOVER
    made.parent_ids[:] = ["s1.0", "s1.1"]
    made.usage.input_tokens, made.cost.usd = 1200, 0.02
    made.summary = "=HYPERLINK(1)"
    return controller


def test_candidates_are_exported_as_rows_with_numbers(searched: FakeController, quintain: Run) -> None:
    rows = [json.loads(line) for line in quintain("export", "s1", "--format", "jsonl", "--sources").out.splitlines()]
    assert [row["score"] for row in rows] == [0.25, 1.2, 2.0]
    assert (rows[2]["parents"], rows[2]["usd"], rows[2]["input_tokens"]) == ([0, 1], 0.02, 1200)
    assert rows[2]["source"] == "# policy 2\n"
    assert rows[2]["held_out_score"] is None
    assert [name for name in rows[0] if f"`{name}`" not in PAGE] == []


def test_a_spreadsheet_runs_nothing_that_a_model_wrote(searched: FakeController, quintain: Run) -> None:
    rows = list(csv.DictReader(io.StringIO(quintain("export", "s1").out)))
    assert [float(row["score"]) for row in rows] == [0.25, 1.2, 2.0]
    assert rows[2]["parents"] == "0 1"
    assert rows[2]["summary"] == "'=HYPERLINK(1)"


def test_an_export_to_a_file_never_overwrites_another(searched: FakeController, quintain: Run, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    assert quintain("export", "s1", "--out", str(table)).code == 0
    assert len(table.read_text().splitlines()) == 4
    assert "exists already" in quintain("export", "s1", "--out", str(table)).err


@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is not None, reason="pyarrow is installed here")
def test_parquet_without_pyarrow_is_one_clear_line(searched: FakeController, quintain: Run, tmp_path: Path) -> None:
    ran = quintain("export", "s1", "--format", "parquet", "--out", str(tmp_path / "table.parquet"))
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "needs pyarrow (pip install pyarrow); csv and jsonl do not" in ran.err


@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is None, reason="pyarrow is not installed here")
def test_parquet_holds_the_same_rows() -> None:
    import pyarrow.parquet  # type: ignore[import-not-found,unused-ignore]

    rows = [{"number": 0, "score": 1.5, "parents": [1]}]
    read = pyarrow.parquet.read_table(io.BytesIO(export.encode(rows, export.Format.PARQUET)))
    assert read.to_pylist() == rows
