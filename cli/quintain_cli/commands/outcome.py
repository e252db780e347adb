"""What came of a search: the table at its end, and what a person should know beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.markup import escape

from quintain.clients.front import FrontRow, front_rows, objective_names
from quintain.controller.v1 import controller_pb2 as pb
from quintain.generator.v1 import generator_pb2
from quintain.type.v1 import type_pb2
from quintain.verifier.v1 import verifier_pb2
from quintain_cli import live, render
from quintain_cli.commands.lookup import get_candidate, list_candidates, suite_files
from quintain_cli.commands.verify import models_text
from quintain_cli.connect import Connection
from quintain_cli.render import out, say


def baseline_name(connection: Connection, found: pb.Search) -> str:
    """Name of the default baseline in the search's suite where the verifier can be asked, else just that."""
    if "verifier" not in connection.addresses:
        return "baseline"
    request = verifier_pb2.GetSuiteRequest(
        simulator=found.spec.simulator, suite=found.spec.suite, suite_files=suite_files(connection, found)
    )
    described = connection.verifier.get_suite(request).simulator
    return described.baselines[0].name if described.baselines else "baseline"


def print_outcome(connection: Connection, found: pb.Search) -> None:
    """The table at the end: baseline, best, winner; improvement, share of the bound, held-out, cost, gates."""
    reason = found.error or found.stop_reason or found.pause_reason
    state = render.enum_name(pb.SearchState, found.state)
    say(f"search {found.search_id} {state}{': ' + escape(reason) if reason else ''}")
    if found.HasField("best"):
        out.print(outcome_table(found, baseline_name(connection, found)))
    render.say_fidelity(found)
    if found.fidelity and found.HasField("best"):
        chosen = found.winner if found.HasField("winner") else found.best
        _say_models(get_candidate(connection, found.search_id, chosen.candidate_id))
    for gate in found.gates:
        say(live.gate_line(gate))
    candidates = list(list_candidates(connection, found.search_id))
    if len(found.spec.backends) > 1:
        out.print(backends_table(candidates, found.direction))
    if found.further_objectives:
        out.print(front_table(found, front_rows(found, candidates)))
    if found.HasField("winner"):
        say(f"[green]winner: #{found.winner.number}[/], passed every gate")
        better = better_held_out(found, candidates)
        if better is not None:
            say(
                f"[yellow]#{better.number} is better on held-out ({render.number(better.held_out_score)}) than the "
                f"winner ({render.number(found.winner.held_out_score)})[/]; the winner is chosen by train alone, "
                "because held-out scores that choose are worth nothing"
            )
    elif found.state == pb.SEARCH_STATE_FINISHED:
        say(f"[yellow]no winner: {escape(why_no_winner(candidates))}[/]")
    say(spend_text(found.spend))
    if found.state == pb.SEARCH_STATE_PAUSED:
        out.print(f"go on with: quintain search --resume {found.search_id}")
    elif found.HasField("best"):
        if found.further_objectives:
            out.print(f"next: quintain best {found.search_id} --prefer {found.further_objectives[0].name}")
        out.print(f"next: quintain best {found.search_id} --out best-{found.search_id}.py")
        out.print(f"      quintain report {found.search_id}")


def _say_models(candidate: pb.Candidate) -> None:
    """What the candidate is worth in each model, if it was searched for in several."""
    if models := models_text(candidate.verdict.train):
        say(f"#{candidate.summary.number} on train: {escape(models)}")


def better_held_out(found: pb.Search, candidates: Sequence[pb.CandidateSummary]) -> pb.CandidateSummary | None:
    """The candidate with the best held-out score, if it is better than the winner's."""
    if not found.winner.HasField("held_out_score"):
        return None
    sign = -1 if found.direction == type_pb2.DIRECTION_MINIMIZE else 1
    scored = [c for c in candidates if c.HasField("held_out_score")]
    best = max(scored, key=lambda c: sign * c.held_out_score, default=found.winner)
    return best if sign * best.held_out_score > sign * found.winner.held_out_score else None


def front_table(found: pb.Search, rows: Sequence[FrontRow]) -> Any:
    """The candidates of a search of several objectives among which one may choose."""
    names = objective_names(found)
    shown = render.table("front", *names, "", numeric=names)
    for row in rows:
        winner = "winner" if found.HasField("winner") and found.winner.number == row.number else ""
        shown.add_row(f"#{row.number}", *(render.number(row.values[name]) for name in names), winner)
    if not rows:
        shown.add_row("no candidate has all of them", *[""] * len(names), "")
    return shown


def backends_table(candidates: Sequence[pb.CandidateSummary], direction: type_pb2.Direction.ValueType) -> Any:
    """What each backend was asked for, cost and returned, where a search has several."""
    columns = ("asked", "cost", "new bests", "came nearer to the bound by")
    rows = render.table("backend", *columns, numeric=columns)
    sign = -1 if direction == type_pb2.DIRECTION_MINIMIZE else 1
    asked, bests, gained = Counter[str](), Counter[str](), dict[str, float]()
    cost = dict[str, float]()
    best: pb.CandidateSummary | None = None
    for c in candidates:
        asked[c.backend] += bool(c.backend)
        cost[c.backend] = cost.get(c.backend, 0.0) + c.cost.usd
        if c.verdict_status != verifier_pb2.VERDICT_STATUS_OK:
            continue
        if best is None or sign * c.score > sign * best.score:
            bests[c.backend] += 1
            if best is not None:
                gained[c.backend] = gained.get(c.backend, 0.0) + c.normalized - best.normalized
            best = c
    for name, count in asked.most_common():
        if name:
            share = render.percent(gained.get(name, 0.0), signed=True)
            rows.add_row(escape(name), str(count), render.usd(cost[name]), str(bests[name]), share)
    return rows


def why_no_winner(candidates: Sequence[pb.CandidateSummary]) -> str:
    """What became of the candidates that were generated: no code, failures, or none that is good enough."""
    generated = [c for c in candidates if c.operator]
    if not generated:
        return "no candidate was generated"
    rejected = [c for c in generated if c.state == pb.CANDIDATE_STATE_REJECTED]
    if len(rejected) == len(generated):
        outcomes = Counter(render.enum_name(generator_pb2.Outcome, c.generation_outcome) for c in rejected)
        counted = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
        return f"no candidate held a policy that could be verified ({counted})"
    if not any(c.verdict_status == verifier_pb2.VERDICT_STATUS_OK for c in generated):
        failures = Counter(c.summary for c in generated if c.state == pb.CANDIDATE_STATE_VERIFIED and c.summary)
        often = f"; most often: {failures.most_common(1)[0][0]}" if failures else ""
        return f"all {len(generated)} candidates failed{often}"
    return "no candidate that is better than the baseline passed every gate"


def outcome_table(found: pb.Search, baseline: str) -> Any:
    unit = f"\n({found.objective.unit})" if found.objective.unit else ""  # broken here, so that 80 columns are enough
    if found.aggregation == type_pb2.AGGREGATION_MEAN_NORMALIZED:
        unit = "\n(mean\nnormalized)"
    score = f"{found.objective.name or 'score'}{unit}"
    columns = (score, "better by", "of the bound", "held-out", "better by")
    rows = render.table("", *columns, numeric=columns)
    best, direction = found.best, found.direction
    base = best.baseline_score if best.HasField("baseline_score") else None
    bound = best.bound_score if best.HasField("bound_score") else None
    held_base = best.held_out_baseline_score if best.HasField("held_out_baseline_score") else None
    rows.add_row(
        f"baseline {baseline}".removeprefix("baseline " if baseline == "baseline" else ""),
        render.number(base),
        "",
        render.percent(render.share_of_bound(base, bound, direction)),
        render.number(held_base),
        "",
    )
    shown = [(f"best found, #{best.number}", best)]
    if found.HasField("winner") and found.winner.candidate_id != best.candidate_id:
        shown.append((f"winner, #{found.winner.number}", found.winner))
    for name, c in shown:
        held = c.held_out_score if c.HasField("held_out_score") else None
        rows.add_row(
            name,
            render.number(c.score),
            render.percent(render.improvement(c.score, base, direction), signed=True),
            render.percent(render.share_of_bound(c.score, bound, direction)),
            render.number(held),
            render.percent(render.improvement(held, held_base, direction), signed=True),
        )
    if bound is not None:
        rows.add_row("provable bound", render.number(bound), "", "100 %", "", "")
    return rows


def spend_text(spend: pb.Spend) -> str:
    parts = [f"{spend.candidates} candidates", f"{spend.verifications} verifications", render.usd(spend.usd)]
    if spend.tool_runs:
        parts[1] += f" ({spend.tool_runs} by tools, {live.duration(spend.tool_seconds)})"
    if spend.tokens:
        parts.append(f"{spend.tokens:,} tokens")
    if spend.at_risk_usd:
        parts.append(f"{render.usd(spend.at_risk_usd)} at risk (calls with unknown outcome)")
    if spend.unpriced_generations:
        parts.append(f"{spend.unpriced_generations} generations without a known price")
    return f"spent: {', '.join(parts)}, {live.duration(spend.wall_seconds)}"
