"""A system of one's own against the running services, as its author would make it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.conftest import Quintain


def test_a_new_system_is_made_checked_run_and_searched(quintain: Quintain, tmp_path: Path) -> None:
    folder = tmp_path / "my-shop"
    assert quintain("system", "new", str(folder)).code == 0
    again = quintain("system", "new", str(folder))
    assert (again.code, "is there already" in again.err) == (2, True)

    checked = quintain("system", "check", str(folder))
    assert checked.code == 0, checked.err
    assert "5 train and 2 held-out scenarios" in checked.out
    assert "baseline first_come: train" in checked.out
    assert "two runs equal" in checked.out
    assert "a policy that does nothing scores" in checked.out

    picture = tmp_path / "run.html"
    ran = quintain("system", "run", str(folder), "--scenario", "recorded", "--picture", str(picture))
    assert ran.code == 0, ran.err
    assert "my-shop/recorded" in ran.out
    assert "around the worst moment:" in ran.out
    assert "<html" in picture.read_text(encoding="utf-8")[:2000].lower()

    options = ("--simulator", "system", "--suite", str(folder), "--backend", "offline")
    searched = quintain("search", *options, "--candidates", "6", "--json")
    assert searched.code == 0, searched.err
    search = searched.lines[-1]
    assert search["spec"]["suite"] == "my-shop"
    assert len(search["spec"]["suite_files"]["digest"]) == 64
    compared = quintain("compare", "first_come", "first_come", *options[:4], "--json")
    assert json.loads(compared.out)["differences"][0]["conclusion"] == "A and B are equal everywhere"


def test_a_model_that_breaks_an_invariant_is_named_with_its_line(quintain: Quintain, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    quintain("system", "new", str(folder))
    model = folder / "model.py"
    source = model.read_text(encoding="utf-8").replace("self.free -= 1", "self.free -= 0")
    model.write_text(source, encoding="utf-8")
    line = next(n for n, text in enumerate(source.splitlines(), 1) if 'Event("started"' in text)
    checked = quintain("system", "check", str(folder))
    assert checked.code == 1
    assert f"model.py:{line}: rejected invariant enough_workers" in " ".join(checked.out.split())
