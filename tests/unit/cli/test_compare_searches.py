"""`quintain compare-searches`, and the list of searches by state and in order."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.cli.conftest import Run
from tests.unit.cli.fakes import FakeController, scored

from quintain.controller.v1 import controller_pb2 as pb
from quintain.type.v1 import type_pb2


def finished(search_id: str, score: float, **spec: object) -> pb.Search:
    search = pb.Search(
        search_id=search_id,
        state=pb.SEARCH_STATE_FINISHED,
        spec=pb.SearchSpec(simulator="faas", suite="smoke", budget=pb.Budget(candidates=9), **spec),  # type: ignore[arg-type]
        direction=type_pb2.DIRECTION_MAXIMIZE,
    )
    search.best.CopyFrom(scored(3, score).summary)
    return search


@pytest.fixture(autouse=True)
def two(services: str, controller: FakeController) -> None:
    controller.search = finished("s1", 0.5, seed=7, strategy="evolve", title="[red]mine")
    other = finished("s2", 0.75, seed=7, strategy="chain")
    other.winner.CopyFrom(scored(2, 0.6, held_out_score=0.3, held_out_baseline_score=0.2).summary)
    other.spend.usd, other.spend.candidates = 1.25, 8
    controller.others = [other]


def test_what_they_found_and_where_they_differ_is_in_one_place(quintain: Run) -> None:
    ran = quintain("compare-searches", "s1", "s2")
    assert ran.code == 0
    first, second = (next(line for line in ran.out.splitlines() if search in line) for search in ("s1", "s2"))
    for text in ("[red]mine", "#3 best", "0.5", "+100.0 %", "20.8 %", "$0.00"):
        assert text in first
    ran_rows = ran.out.splitlines()
    row = next(line for line in ran_rows if "#2 winner" in line)
    for text in ("0.6", "+140.0 %", "0.3", "+50.0 %", "8", "$1.25"):
        assert text in row
    assert "s2" in second
    (strategy,) = (line for line in ran_rows if "strategy" in line and "evolve" in line)
    assert "chain" in strategy
    assert not any("seed" in line for line in ran_rows), "what is the same is not listed"
    assert "same problem" not in ran.out


def test_the_document_says_the_same_in_numbers(quintain: Run) -> None:
    (line,) = quintain("compare-searches", "s1", "s2", "--json").out.splitlines()
    said = json.loads(line)
    assert said["settings"] == {"strategy": {"s1": "evolve", "s2": "chain"}}
    assert said["same_problem"] is True
    assert [row["number"] for row in said["searches"]] == [3, 2]
    assert said["searches"][1]["held_out_better"] == pytest.approx(0.5)
    assert said["searches"][0]["held_out_score"] is None


def test_scores_of_different_suites_are_said_to_be_no_comparison(quintain: Run, controller: FakeController) -> None:
    controller.search.spec.suite_files.digest = "0123"
    ran = quintain("compare-searches", "s1", "s2")
    assert "they differ in suite_digest: their scores are not of the same problem" in ran.out
    assert "0123" in ran.out


def test_one_search_is_not_compared_and_an_unknown_one_is_named(quintain: Run) -> None:
    ran = quintain("compare-searches", "s1", "s1")
    assert ran.code == 2
    assert "two searches or more" in ran.err
    ran = quintain("compare-searches", "s1", "s9")
    assert ran.code == 2
    assert "s9" in ran.err


def ids(out: str) -> list[str]:
    return [json.loads(line)["search_id"] for line in out.splitlines()]


def test_searches_are_listed_by_state_and_by_what_they_spent(quintain: Run, controller: FakeController) -> None:
    paused = finished("s3", 0.1, seed=1)
    paused.state = pb.SEARCH_STATE_PAUSED
    paused.spend.candidates = 20
    paused.forked_from_candidate_id = "s1.3"
    controller.others.append(paused)
    assert ids(quintain("searches", "--json").out) == ["s1", "s2", "s3"]
    assert ids(quintain("searches", "--json", "--sort", "spent", "--limit", "1").out) == ["s2"]
    assert ids(quintain("searches", "--json", "--sort", "tried").out) == ["s3", "s2", "s1"]
    assert ids(quintain("searches", "--json", "--state", "finished").out) == ["s1", "s2"]
    assert ids(quintain("searches", "--json", "--state", "finished", "--state", "paused").out) == ["s1", "s2", "s3"]
    assert "no such searches" in quintain("searches", "--state", "failed").out
    paused.tags.extend(["night", "gpu"])
    assert ids(quintain("searches", "--json", "--tag", "gpu", "--tag", "night").out) == ["s3"]
    assert ids(quintain("searches", "--json", "--tag", "gpu", "--state", "finished").out) == []
    assert "fork of s1.3" in " ".join(quintain("searches").out.split())


def test_a_search_is_renamed_tagged_and_noted_on(quintain: Run, controller: FakeController) -> None:
    ran = quintain("edit", "s1", "--title", "[b]", "--notes", "bad\x1b[2J", "--tag", "a", "--tag", "b", "--untag", "c")
    assert ran.code == 0
    expected = pb.UpdateSearchRequest(
        search_id="s1", title="[b]", notes="bad\x1b[2J", add_tags=["a", "b"], remove_tags=["c"]
    )
    assert controller.calls == [expected]
    assert ran.out.splitlines() == ["title: [b]", "tags: a, b", "notes: bad\\x1b[2J"]
    assert "tags: a, b" in quintain("show", "s1").out
    assert quintain("edit", "s1", "--notes", "").code == 0
    assert controller.calls[-1] == pb.UpdateSearchRequest(search_id="s1", notes="")


def test_a_page_has_all_of_them_in_one_plot(quintain: Run, tmp_path: Path) -> None:
    path = tmp_path / "compared.html"
    ran = quintain("compare-searches", "s1", "s2", "--out", str(path))
    assert (ran.code, f"wrote {path}" in ran.err) == (0, True)
    page = path.read_text()
    for text in ("[red]mine", "#2 winner", "Settings that differ", "faas / smoke", "Best so far over dollars"):
        assert text in page
    assert len(page) < 2_000_000
    again = quintain("compare-searches", "s1", "s2", "--out", str(path))
    assert (again.code, "--force overwrites it" in again.err) == (2, True)


def test_searches_of_different_problems_are_drawn_on_one_scale(
    quintain: Run, controller: FakeController, tmp_path: Path
) -> None:
    controller.others[0].spec.suite = "standard"
    path = tmp_path / "compared.html"
    assert quintain("compare-searches", "s1", "s2", "--out", str(path)).code == 0
    assert "each is drawn relative to its own bound" in path.read_text()
