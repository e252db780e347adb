"""A made-up search for tests of the report: a few candidates of every fate, hostile texts, two timelines."""

from __future__ import annotations

import plotly.graph_objects as go

from quintain.controller.v1 import controller_pb2 as pb
from quintain.generator.v1 import generator_pb2
from quintain.type.v1 import type_pb2
from quintain.verifier.v1 import verifier_pb2
from quintain_cli.report.data import ReportData, Timeline

HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=document.title='owned'>"


def candidate(
    number: int, score: float | None, parents: list[int], usd: float = 0.0, summary: str = ""
) -> pb.Candidate:
    """`score` None: refused by the model."""
    made = pb.CandidateSummary(
        candidate_id=f"s1.{number}",
        number=number,
        parent_ids=[f"s1.{parent}" for parent in parents],
        backend="llm" if number else "",
        operator=generator_pb2.OPERATOR_DIFF if number else generator_pb2.OPERATOR_UNSPECIFIED,
        cost=generator_pb2.Cost(usd=usd),
        usage=generator_pb2.Usage(input_tokens=1000, output_tokens=100),
        summary=summary,
    )
    if score is None:
        made.state, made.generation_outcome = pb.CANDIDATE_STATE_REJECTED, generator_pb2.OUTCOME_REFUSED
    else:
        made.state, made.verdict_status = pb.CANDIDATE_STATE_VERIFIED, verifier_pb2.VERDICT_STATUS_OK
        made.score, made.baseline_score, made.bound_score = score, 0.25, 2.4
    return pb.Candidate(summary=made, source=f"# policy {number}\n{HOSTILE!r}\n" + "x = 1  # " + "long " * 60 + "\n")


def verdict() -> verifier_pb2.Verdict:
    failure = verifier_pb2.Failure(kind=verifier_pb2.FAILURE_KIND_RAISED, message=HOSTILE, step=5, line=2)
    scenarios = [
        verifier_pb2.ScenarioVerdict(
            scenario=f"a_scenario_with_a_long_name_{n}",
            part=part,
            ran=True,
            value=2.0,
            baseline=0.25,
            bound=2.4,
            normalized=0.83,
        )
        for n, part in enumerate([type_pb2.PART_TRAIN] * 4 + [type_pb2.PART_HELD_OUT] * 2)
    ]
    scenarios[3].failure.CopyFrom(failure)
    return verifier_pb2.Verdict(direction=type_pb2.DIRECTION_MAXIMIZE, scenarios=scenarios)


def made_up_search(usd: float = 0.01) -> ReportData:
    """Scores 0.25, 1.2, none, 0.8, 2.0; candidate 4 descends from 1 and 0."""
    candidates = [
        candidate(0, 0.25, []),
        candidate(1, 1.2, [0], usd, HOSTILE),
        candidate(2, None, [1], usd),
        candidate(3, 0.8, [0], usd),
        candidate(4, 2.0, [1], usd),
    ]
    search = pb.Search(
        search_id="s1",
        spec=pb.SearchSpec(simulator="faas", suite="smoke", title=f"A search {HOSTILE}"),
        state=pb.SEARCH_STATE_FINISHED,
        spend=pb.Spend(usd=4 * usd, candidates=5, verifications=4, wall_seconds=100),
        best=candidates[4].summary,
        direction=type_pb2.DIRECTION_MAXIMIZE,
        objective=type_pb2.Objective(name="throughput", unit="containers/s"),
        gates=[pb.Gate(name="held_out", passed=True, detail=HOSTILE), pb.Gate(name="bootstrap", detail="too close")],
    )
    events = [
        pb.Event(sequence=1, state_changed=pb.StateChanged(state=pb.SEARCH_STATE_RUNNING)),
        *(
            pb.Event(sequence=n, held_out_scored=pb.HeldOutScored(
                candidate_id=f"s1.{n}", train_normalized=n / 5, held_out_normalized=n / 6, gap=0.1))
            for n in (1, 4)
        ),
        pb.Event(sequence=5, backend_trouble=pb.BackendTrouble(backend="llm", reason=HOSTILE)),
    ]  # fmt: skip
    figure = go.Figure(go.Bar(x=[1, 2], y=[3, 4]))
    timelines = (Timeline("baseline", figure), Timeline("best found", figure))
    return ReportData(
        search,
        [c.summary for c in candidates],
        events,
        candidates[4],
        verdict(),
        candidates[0],
        timelines,
        "one scenario",
        {c.summary.candidate_id: c.source for c in candidates},
        pb.GetNotebookResponse(
            entries=[
                pb.NotebookEntry(
                    number=4,
                    parent_number=1,
                    hypothesis=f"small jobs first {HOSTILE}",
                    predictions=[
                        pb.PredictionOutcome(scenario="T2", predicted=0.02, measured=-0.02, outcome="false"),
                        pb.PredictionOutcome(predicted=0.01),
                    ],
                    change=0.125,
                )
            ]
        ),
    )
