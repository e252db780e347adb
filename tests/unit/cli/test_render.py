"""Numbers as people read them, and what an event says."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from quintain.controller.v1 import controller_pb2 as pb
from quintain.type.v1 import type_pb2
from quintain_cli import live, render

MAXIMIZE, MINIMIZE = type_pb2.DIRECTION_MAXIMIZE, type_pb2.DIRECTION_MINIMIZE


@pytest.mark.parametrize(
    ("score", "baseline", "direction", "expected"),
    [(2.0, 1.0, MAXIMIZE, 1.0), (0.5, 1.0, MINIMIZE, 0.5), (2.0, 1.0, MINIMIZE, -1.0), (2.0, 0.0, MAXIMIZE, None)],
)
def test_improvement_is_positive_where_the_score_is_better(
    score: float, baseline: float, direction: int, expected: float | None
) -> None:
    assert render.improvement(score, baseline, direction) == expected


def test_the_share_of_a_lower_bound_is_the_bound_over_the_score() -> None:
    assert render.share_of_bound(20.0, 10.0, MINIMIZE) == 0.5
    assert render.share_of_bound(5.0, 10.0, MAXIMIZE) == 0.5


@given(st.floats(0, 1e6), st.integers(0, 10**6), st.one_of(st.none(), st.integers(1, 10**6)))
def test_the_used_share_of_a_budget_stays_between_0_and_1(usd: float, candidates: int, bound: int | None) -> None:
    search = pb.Search(
        state=pb.SEARCH_STATE_FINISHED,
        spec=pb.SearchSpec(budget=pb.Budget(candidates=bound, usd=10)),
        spend=pb.Spend(usd=usd, candidates=candidates),
    )
    share = live.SearchProgress(search).share_used
    assert 0.0 <= share <= 1.0
    assert share == min(1.0, max(usd / 10, candidates / bound if bound else 0))


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({"state_changed": {"state": pb.SEARCH_STATE_PAUSED, "reason": "no [key]"}}, "search paused: no [key]"),
        ({"new_best": {"candidate": {"number": 3, "score": 2.0, "baseline_score": 1.0}}}, "#3 new best 2 (+100.0 %)"),
        ({"held_out_scored": {"held_out_score": 2.0, "held_out_baseline_score": 1.0, "gap": 0.25}},
         "held-out 2 (+100.0 %), gap +0.250"),
        ({"overfitting": {"gap": 0.5, "detail": "fits [train]"}}, "overfitting: gap +0.500 fits [train]"),
        ({"stagnation": {"candidates_without_improvement": 9, "action": "restart"}},
         "no improvement for 9 candidates: restart"),
        ({"gate_decided": {"gate": {"name": "held_out", "detail": "worse"}}}, "gate held-out not passed: worse"),
        (
            {"gate_decided": {"gate": {"name": "held_out", "detail": "d", "candidate_id": "s1.12", "passed": True}}},
            "gate held-out of #12 passed: d",
        ),
        ({"promoted": {"candidate": {"number": 4}}}, "promoted #4"),
        ({"backend_trouble": {"backend": "llm", "reason": "down", "search_paused": True}},
         "llm: down; the search waits"),
        ({"budget_extended": {"budget": {"candidates": 5}}}, "budget is now 5 candidates"),
        ({"candidate_changed": {"candidate": {"number": 1, "state": pb.CANDIDATE_STATE_REQUESTED}}}, None),
        ({"candidate_changed": {"candidate": {"number": 1, "state": pb.CANDIDATE_STATE_REJECTED,
                                              "generation_outcome": 3, "summary": "[no]"}}},
         "#1 not verified: refused [no]"),
    ],
)  # fmt: skip
def test_every_event_is_one_line_and_no_text_is_taken_for_markup(event: dict[str, Any], expected: str | None) -> None:
    line = live.event_line(pb.Event(**event), MAXIMIZE)
    assert (Text.from_markup(line).plain if line else None) == expected


def test_json_has_sorted_keys() -> None:
    assert render.to_json({"b": 1, "a": {"d": 1, "c": 2}}) == '{"a": {"c": 2, "d": 1}, "b": 1}'


def test_an_enum_value_is_said_without_its_prefix() -> None:
    assert render.enum_name(pb.SearchState, pb.SEARCH_STATE_RUNNING) == "running"
    assert render.enum_name(type_pb2.Part, type_pb2.PART_HELD_OUT) == "held out"


def test_control_characters_of_a_model_are_shown_on_a_terminal_and_left_alone_elsewhere(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = "a\tb\n\x1b]0;mine\x07 \x9b2J\r"
    render.print_text(hostile)
    assert capsys.readouterr().out == hostile + "\n"
    monkeypatch.setattr(render, "out", Console(force_terminal=True))
    render.print_text(hostile)
    assert capsys.readouterr().out == "a\tb\n\\x1b]0;mine\\x07 \\x9b2J\\x0d\n"


def test_a_table_becomes_records_where_its_columns_do_not_fit() -> None:
    rows = render.table("search", "state", "best", "", title="all", numeric=("best",))
    rows.add_row("s16fc0d9f81b5", "finished", "0.74", "")
    bordered, plain, record = (
        "│ s16fc0d9f81b5 │",
        "s16fc0d9f81b5  finished  0.74",
        "all\nsearch s16fc0d9f81b5\nstate finished\n",
    )
    for width, expected in ((35, bordered), (34, plain), (29, plain), (28, record)):
        written = io.StringIO()
        Console(width=width, file=written).print(rows)
        assert expected in written.getvalue()
