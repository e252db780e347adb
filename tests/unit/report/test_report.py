"""The report as text: what it adds up, what it says, and that nothing in it is taken for markup."""

from __future__ import annotations

import base64
import gzip
import re
from dataclasses import replace

import plotly.graph_objects as go
import pytest
from tests.support.report_data import made_up_search

import quintain
from quintain.controller.v1 import controller_pb2 as pb
from quintain.generator.v1 import generator_pb2
from quintain.type.v1 import type_pb2
from quintain.verifier.v1 import verifier_pb2
from quintain_cli.report import figures
from quintain_cli.report.bundle import pack
from quintain_cli.report.data import ReportData, Timeline, ancestors, best_so_far, conversation_of, costs_by_backend
from quintain_cli.report.page import render_picture, render_report, same_scales


@pytest.fixture(scope="module")
def data() -> ReportData:
    return made_up_search()


@pytest.fixture(scope="module")
def page(data: ReportData) -> str:
    return render_report(data)


def test_the_best_so_far_never_gets_worse_and_every_dollar_counts(data: ReportData) -> None:
    best = best_so_far(data)
    assert best.scores == [0.25, 1.2, 1.2, 2.0]
    assert best.numbers == [0, 1, 3, 4]
    assert best.usd == pytest.approx([0.0, 0.01, 0.03, 0.04]), "the refused candidate was paid as well"


def test_the_best_so_far_of_a_latency_goes_down(data: ReportData) -> None:
    search = pb.Search()
    search.CopyFrom(data.search)
    search.direction = type_pb2.DIRECTION_MINIMIZE
    assert best_so_far(replace(data, search=search)).scores == [0.25, 0.25, 0.25, 0.25]


def test_a_scenario_is_better_the_way_its_metric_is_not_the_normalized_score(data: ReportData) -> None:
    search = pb.Search()
    search.CopyFrom(data.search)
    search.aggregation = type_pb2.AGGREGATION_MEAN_NORMALIZED
    search.direction = type_pb2.DIRECTION_MAXIMIZE
    search.objective.direction = type_pb2.DIRECTION_MINIMIZE
    verdict = verifier_pb2.Verdict(direction=type_pb2.DIRECTION_MAXIMIZE)
    verdict.scenarios.add(scenario="slow", ran=True, value=10.0, baseline=40.0, normalized=0.5)
    assert "+75.0 %" in render_report(replace(data, search=search, verdict=verdict))


def test_ancestors_are_the_whole_line_to_the_seed(data: ReportData) -> None:
    assert ancestors(data, "s1.4") == {"s1.4", "s1.1", "s1.0"}


def test_costs_add_up_by_backend_and_the_seed_costs_nobody(data: ReportData) -> None:
    (cost,) = costs_by_backend(data)
    assert (cost.backend, cost.generations, cost.scored, cost.input_tokens) == ("llm", 4, 3, 4000)
    assert cost.usd == pytest.approx(0.04)


def test_the_notebook_shows_claims_as_text_and_what_came_of_them(page: str) -> None:
    assert "<h2>Notebook</h2>" in page
    assert "small jobs first &lt;/script&gt;" in page
    assert 'T2 +0.020, measured -0.020: <b class="bad">false</b>' in page
    assert "<div>mean +0.010</div>" in page
    assert "+0.1250" in page


def test_without_spend_there_is_no_figure_over_dollars() -> None:
    free = made_up_search(usd=0.0)
    assert figures.score_over_usd(free) is None
    assert "Score over dollars" not in render_report(free)


@pytest.mark.parametrize(
    "heading",
    ["Score over candidates", "Score over dollars", "Lineage", "Train and held-out", "Scenarios", "Gates", "Timelines",
     "Cost", "The policy", "Against the seed", "Settings", "Candidates", "Events"],
)  # fmt: skip
def test_every_section_is_there(page: str, heading: str) -> None:
    assert f"<h2>{heading}</h2>" in page


def test_an_earlier_best_that_is_better_on_held_out_than_the_winner_is_named_at_the_top(data: ReportData) -> None:
    search = pb.Search()
    search.CopyFrom(data.search)
    search.winner.CopyFrom(search.best)
    better = pb.BetterOnHeldOut(
        winner_candidate_id=search.winner.candidate_id,
        winner_held_out_normalized=0.5,
        candidate_id="s1.1",
        held_out_normalized=0.6,
    )
    event = pb.Event(sequence=99, better_on_held_out=better)
    said = "Candidate #1 is better on the held-out scenarios than the winner (60.0 % of the bound, 50.0 %)"
    assert said in render_report(replace(data, search=search, events=[*data.events, event]))
    assert said not in render_report(replace(data, search=search))


def test_a_search_of_several_objectives_shows_its_front(data: ReportData, page: str) -> None:
    assert "<h2>Several objectives</h2>" not in page
    search = pb.Search()
    search.CopyFrom(data.search)
    search.further_objectives.add(name="<b>cost</b>", metric="cost", direction=type_pb2.DIRECTION_MINIMIZE)
    candidates = []
    for c in data.candidates:
        candidates.append(pb.CandidateSummary())
        candidates[-1].CopyFrom(c)
        if c.HasField("score"):
            candidates[-1].further_values.append(10.0 - c.number)  # the later the cheaper
    shown = render_report(replace(data, search=search, candidates=candidates))
    assert "<h2>Several objectives</h2>" in shown
    figure = figures.objectives_front(replace(data, search=search, candidates=candidates))
    assert figure is not None
    every, front = figure.data
    assert len(every.x) == len(data.scored)
    assert len(front.x) == 1  # the last is the best in both
    assert "&lt;b&gt;cost" in front.text[0]


def test_what_others_wrote_is_never_markup(page: str) -> None:
    ours = page[page.index("<body>") :]
    assert "<script>document" not in ours
    assert "<img src=x" not in ours


def test_nothing_is_fetched(page: str) -> None:
    """Tags that would fetch; the plotly source mentions addresses in strings, which the browser test covers."""
    assert re.findall(r"<(?:link|img|iframe|script)[^>]+(?:src|href)=", page) == []
    assert "default-src 'none'" in page


def test_an_unpromoted_best_is_not_called_a_winner(page: str) -> None:
    assert "Candidate #4 is the best; no candidate passed every gate." in page


def test_a_search_without_any_score_still_has_a_report(data: ReportData) -> None:
    search = pb.Search()
    search.CopyFrom(data.search)
    search.ClearField("best")
    empty = ReportData(search, [data.candidates[2]], data.events)
    assert "No candidate has a score." in render_report(empty)


def test_it_is_small_enough_for_a_mail_and_says_what_made_it(page: str) -> None:
    assert len(page.encode()) < 2_000_000
    top = page[: page.index("<h2>Score over candidates</h2>")]
    assert f"<dt>quintain</dt><dd>{quintain.__version__}</dd>" in top


def test_what_is_packed_is_the_text_and_nothing_that_html_reads() -> None:
    text = "".join(map(chr, range(1, 0x500))) * 9
    packed = pack(text)
    assert not set("<>&\"'") & set(packed)
    assert gzip.decompress(base64.b85decode(packed.translate(str.maketrans(",.:", "<>&")))).decode() == text


def test_timelines_are_drawn_on_the_same_scales() -> None:
    short, long = ({"xaxis": {"range": [0, end]}, "yaxis2": {"range": [low, 3]}} for end, low in ((10, 1), (60, 0)))
    timelines = [Timeline("seed", go.Figure(layout=short)), Timeline("best", go.Figure(layout=long))]
    first, second = same_scales(timelines)
    assert first.figure.layout.xaxis.range == second.figure.layout.xaxis.range == (0, 60)
    assert first.figure.layout.yaxis2.range == second.figure.layout.yaxis2.range == (0, 3)


def test_a_picture_has_the_runs_title_and_its_metrics() -> None:
    rows = [("metric", "all", "query"), ("completed", "12", "3")]
    page = render_picture("mine.py on <steady>", "value 2.05", rows, go.Figure(go.Bar(x=[1], y=[2])))
    assert "<h1>mine.py on &lt;steady&gt;</h1>" in page
    assert '<td>completed</td><td class="n">12</td>' in page


def test_conversations_are_shown_with_what_their_tools_took(data: ReportData) -> None:
    candidate = pb.Candidate(summary=pb.CandidateSummary(number=4, cost=generator_pb2.Cost(usd=0.125)))
    assert conversation_of(candidate) is None
    candidate.generation.turns.add()
    for name, runs in (("run", 1), ("<note>", 0), ("run", 2)):
        use = candidate.tool_uses.add(runs=runs, seconds=1.5 * runs)
        use.call.name = name
    conversation = conversation_of(candidate)
    assert conversation is not None
    assert [(t.name, t.calls, t.runs, t.seconds) for t in conversation.tools] == [
        ("run", 2, 3, 4.5),
        ("<note>", 1, 0, 0.0),
    ]
    page = render_report(replace(data, conversations=[conversation]))
    assert "<h2>Conversations</h2>" in page
    assert "&lt;note&gt;" in page
    assert '<td class="n">4.5</td>' in page
    assert "<h2>Conversations</h2>" not in render_report(data)
