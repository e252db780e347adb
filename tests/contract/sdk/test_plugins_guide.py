"""Every example in docs/plugins.md is whole: it runs, and keeps its door's contract. The backend's is checked beside
the built-in ones."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from quintain.conformance.strategy import check_strategy
from quintain.plugins import doors
from quintain.plugins.loading import Door
from quintain.plugins.recorder import RecordedRun, Recorder
from quintain.plugins.simulator import Part
from quintain.plugins.trace import Row, TraceFormat

GUIDE = (Path(__file__).parents[3] / "docs/plugins.md").read_text()


def example(section: str) -> dict[str, Any]:
    """What the first Python block of a section defines."""
    text = GUIDE.split(f"## {section}")[1].split("\n## ")[0]
    (code, *_) = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    scope: dict[str, Any] = {"__name__": "guide"}
    exec(compile(code, "plugins.md", "exec", dont_inherit=True), scope)
    return scope


def test_the_strategy_keeps_the_contract() -> None:
    plugin = example("A strategy")["plugin"]
    assert {r.name: r.message for r in check_strategy(plugin, "greedy") if not r.passed} == {}


def test_the_picture_draws_what_the_simulator_gave() -> None:
    figure = example("A picture of a run")["draw"]('{"seconds": [0, 1], "queue": [3, 4]}', "a run")
    assert list(figure.data[0].y) == [3, 4]
    assert figure.layout.title.text == "a run"


def test_the_export_keeps_the_provenance() -> None:
    text = example("An export of a policy")["to_upstream"]("from quintain_mine import x\n", ["search s1"])
    assert text == "# search s1\nfrom upstream import x\n"


def test_the_trace_format_writes_rows_in_order_and_says_what_is_left_out() -> None:
    scope = example("A trace format")
    assert isinstance(scope["trace_format"], TraceFormat)
    out = io.BytesIO()
    rows = [Row(f"log:{n}", {"arrival_seconds": t, "duration_seconds": 1.0}) for n, t in ((1, 2.0), (2, 0.5))]
    assert "2 requests" in scope["trace_format"].write(rows, out)[0]
    assert out.getvalue() == b"0.5,1.0\n2.0,1.0\n"


def test_the_recorder_gives_a_package_and_a_file_of_lines() -> None:
    scope = example("A recorder")
    assert isinstance(scope["recorder"], Recorder)
    run = RecordedRun(
        "mine", None, "calm", Part.TRAIN, "fifo", '{"entries": [{"time": 0.5, "input": "request", "id": 1}]}'
    )
    name, content = scope["recorder"].recording({}, run)
    assert name == "recordings/calm-fifo.jsonl"
    assert [json.loads(line)["policy"] for line in content.splitlines()[:1]] == ["fifo"]


@pytest.mark.parametrize("door", [v for v in vars(doors).values() if isinstance(v, Door)], ids=lambda d: d.noun)
def test_the_page_names_every_door_and_its_group(door: Door[Any]) -> None:
    assert f"| {door.noun} | `{door.group}` |" in GUIDE
