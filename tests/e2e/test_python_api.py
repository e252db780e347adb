"""The examples of docs/python.md, and what a session promises, against running services."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.e2e.conftest import Quintain

import quintain
from quintain.errors import FailedPrecondition, InvalidArgument, NotFound, Unavailable
from quintain_cli.stack.stack import Stack
from quintain_cli.stack.supervisor import ports

pytestmark = pytest.mark.xdist_group("e2e")

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "python.md"


def test_the_documents_examples_run_as_written(stack: Stack, quintain: Quintain, tmp_path: Path) -> None:
    assert quintain("suite", "new", str(tmp_path / "my-suite")).code == 0
    examples = "".join(re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL))
    for service in ("controller", "verifier"):
        written = f"127.0.0.1:{ports(7070)[service]}"  # where `make up` starts it
        assert written in examples
        examples = examples.replace(written, stack.addresses[service])
    done = subprocess.run([sys.executable, "-c", examples], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert any(line.startswith("finished") for line in lines)
    assert any(re.match(r"#\d+: ", line) for line in lines), "a new best was told"
    assert any(re.match(r"0 seed ok ", line) for line in lines)
    assert any(re.match(r"ok 0\.\d+ ", line) for line in lines)
    assert any("train" in line for line in lines)
    assert any("held out" in line for line in lines), "the suite of one's own was run"
    assert any(line.startswith("False load") for line in lines)
    assert "nowhere" in lines[-1]


def test_a_search_can_be_found_again_steered_and_shown(stack: Stack) -> None:
    with quintain.connect(stack.addresses["controller"]) as session:
        made = session.create_search(suite="smoke", backends=["offline"], candidates=3, title="<b>mine</b>")
        assert made.wait(100).state == "finished"
        assert made.id in [search.id for search in session.searches()]
        found = session.search(made.id)
        rows = found.candidates()
        assert [row.number for row in rows] == list(range(len(rows)))
        events = list(found.watch())
        assert [event.sequence for event in events] == list(range(1, len(events) + 1))
        one = found.candidate(1)
        assert one.source
        assert one.row == rows[1]
        with pytest.raises(NotFound, match="no candidate 99"):
            found.candidate(99)
        assert found.extend_budget(candidates=4).wait(100).message.spend.candidates == 4
        assert found.update(notes="n", add_tags=["tried"]).tags == ("tried",)
        assert (session.search(made.id).notes, found.title) == ("n", "<b>mine</b>")
        page = found._repr_html_()
        assert "&lt;b&gt;mine&lt;/b&gt;" in page
        assert "<b>mine" not in page
        assert "best, #" in page
        with pytest.raises(FailedPrecondition, match="no verifier in this session"):
            session.verify("", suite="smoke")
        with pytest.raises(InvalidArgument, match="budget"):
            session.create_search(suite="smoke")


@pytest.mark.parametrize("service", ["controller", "verifier"])
def test_a_service_that_is_not_there_is_named_within_seconds(service: str) -> None:
    began = time.monotonic()
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1\b"):
        quintain.connect(**{service: "127.0.0.1:1"})
    assert time.monotonic() - began < 10
