"""Several searches in one plot."""

from __future__ import annotations

from dataclasses import replace

from tests.support.report_data import made_up_search

from quintain.controller.v1 import controller_pb2 as pb
from quintain_cli.report.comparison import Curve, PageTable, best_over, render_comparison


def test_each_search_has_a_line_and_each_group_a_colour_and_an_entry() -> None:
    data = made_up_search()
    curves = [Curve("chain, 1", "chain", data), Curve("chain, 2", "chain", data), Curve("tree, 1", "tree", data)]
    figure = best_over(curves, same=True, dollars=False)
    assert [list(line.y) for line in figure.data] == 3 * [[0.25, 1.2, 1.2, 2.0]]
    assert [line.showlegend for line in figure.data] == [True, False, True]
    colours = [line.line.color for line in figure.data]
    assert colours[0] == colours[1] != colours[2]
    said = " ".join(annotation.text for annotation in figure.layout.annotations)
    assert "baseline" in said, "what is the same for all is drawn once"


def test_other_problems_are_drawn_by_the_share_of_their_own_bound() -> None:
    data = made_up_search()
    candidates = [pb.CandidateSummary.FromString(c.SerializeToString()) for c in data.candidates]
    for place, candidate in enumerate(c for c in candidates if c.HasField("score")):
        candidate.normalized = (0.1, 0.5, 0.4, 0.6)[place]
    figure = best_over([Curve("a", "a", replace(data, candidates=candidates))], same=False, dollars=True)
    assert list(figure.data[0].y) == [0.1, 0.5, 0.5, 0.6]
    assert figure.layout.annotations == ()


def test_many_groups_are_told_apart() -> None:
    data = made_up_search()
    figure = best_over([Curve(str(n), str(n), data) for n in range(20)], same=True, dollars=False)
    assert len({(line.line.color, line.line.dash) for line in figure.data}) == 20


def test_nothing_on_the_page_is_taken_for_markup() -> None:
    hostile = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    table = PageTable(hostile, (hostile,), [(hostile,)])
    page = render_comparison(hostile, hostile, [hostile], [Curve(hostile, hostile, made_up_search())], [table], True)
    assert "<script>alert" not in page
    assert "<img" not in page
