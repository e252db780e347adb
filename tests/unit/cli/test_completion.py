"""What the shell offers when a name is begun: asked as bash asks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.cli.fakes import FakeController
from tests.unit.cli.test_search import finished


def offered(line: str) -> list[str]:
    """The words that bash is offered for the last word of a line."""
    asked = {"_QUINTAIN_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    program = "import sys; sys.argv = ['quintain']; from quintain_cli.__main__ import main; main()"
    ran = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **asked}, capture_output=True, text=True, check=True
    )
    assert ran.stderr == ""
    return ran.stdout.split()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("quintain ver", ["verify"]),
        ("quintain verify policy.py --suite smo", ["smoke"]),
        ("quintain search --simulator fa", ["faas"]),
        ("quintain search --strategy ch", ["chain"]),
        ("quintain search --backend l", ["local"]),
        ("quintain show nothing-runs", []),
    ],
)
def test_names_are_completed(home: Path, monkeypatch: pytest.MonkeyPatch, line: str, words: list[str]) -> None:
    (home / "generator.toml").write_text('[backends.local]\nkind = "offline"\n')
    monkeypatch.setenv("QUINTAIN_CONFIG", str(home))
    assert offered(line) == words


def test_ids_of_searches_are_completed_where_a_controller_runs(services: str, controller: FakeController) -> None:
    finished(controller)
    assert offered("quintain show s") == ["s1"]
