"""A search given to a colleague: archived on one machine, restored on another one."""

from __future__ import annotations

import lzma
import os
import socket
from pathlib import Path

import pytest
from tests.e2e.conftest import Quintain, clean_environment, run

pytestmark = pytest.mark.xdist_group("e2e")


@pytest.mark.usefixtures("stack")
def test_a_search_on_a_suite_of_ones_own_is_given_to_a_colleague(tmp_path: Path, quintain: Quintain) -> None:
    mine = clean_environment(tmp_path) | {"OPENAI_API_KEY": "sk-a-secret-of-mine", "MY_OWN": "a-word-of-mine"}
    suite, file = str(tmp_path / "my-suite"), str(tmp_path / "found.quintain")
    assert run(mine, "suite", "new", suite).code == 0
    searched = run(mine, "search", "--suite", suite, "--candidates", "5", "--title", "for you", "--json")
    assert searched.code == 0, searched.err
    search = searched.lines[-1]["search_id"]
    archived = run(mine, "archive", search, "--out", file)
    assert archived.code == 0, archived.err
    again = run(mine, "archive", search, "--out", file)
    assert (again.code, "--force overwrites it" in again.err) == (2, True)
    content = lzma.decompress(Path(file).read_bytes().partition(b"\n")[2])
    private_words = ("sk-a-secret-of-mine", "a-word-of-mine", str(tmp_path), os.environ["HOME"], socket.gethostname())
    for private in private_words:
        assert private.encode() not in content, private

    restored = quintain("restore", file)
    assert restored.code == 0, restored.err
    assert f"restored search {search}: " in restored.out
    twice = quintain("restore", file)
    assert (twice.code, "is here already" in twice.err) == (2, True)
    assert quintain("prompt", search, "2").out == run(mine, "prompt", search, "2").out
    assert "for you; restored from an archive" in " ".join(quintain("searches").out.split())
    replayed = quintain("replay", search, "--json")
    assert replayed.code == 0, replayed.out + replayed.err
    forked = quintain("fork", search, "2", "--candidates", "2")
    assert forked.code == 0, forked.err
    assert f"fork of {search}.2" in " ".join(quintain("searches").out.split())
    assert quintain("report", search, "--no-timelines", "--out", str(tmp_path / "report.html")).code == 0
    assert quintain("delete", search, "--yes").code == 0
