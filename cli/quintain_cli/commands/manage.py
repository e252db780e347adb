"""Commands on recorded searches: list, show, pause, resume, cancel, extend, fork, delete, and what was sent."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from enum import StrEnum
from itertools import islice
from typing import Annotated

import typer
from rich.markup import escape

from quintain.clients.budget import make_budget
from quintain.clients.pages import entries
from quintain.clients.stop_rules import make_stop_rules
from quintain.controller.v1 import controller_pb2 as pb
from quintain.errors import InvalidArgument
from quintain_cli import completion, live, render
from quintain_cli.commands.conversation import print_conversation, print_tool_uses, print_turns
from quintain_cli.commands.lookup import (
    PAGE,
    AsJson,
    CandidateId,
    SearchId,
    get_candidate,
    get_notebook,
    get_search,
    list_candidates,
)
from quintain_cli.commands.notebook import summary
from quintain_cli.commands.outcome import print_outcome
from quintain_cli.commands.search import (
    Candidates,
    Minutes,
    Plateau,
    StopAt,
    Tokens,
    Usd,
    Verifications,
    describe_spec,
    follow_to_end,
    tell_detached,
)
from quintain_cli.commands.verify import LARGEST_SEED, print_verdict
from quintain_cli.connect import Connection, Embedded
from quintain_cli.render import errors, out, say
from quintain_cli.report.data import conversation_of
from quintain_cli.target import TargetCommand
from quintain_cli.waiting import WaitingLine


class State(StrEnum):
    RUNNING = "running"
    PAUSED = "paused"
    FINISHED = "finished"
    CANCELLED = "cancelled"
    FAILED = "failed"


class Sort(StrEnum):
    """By columns whose values compare between all searches; scores do not."""

    CREATED = "created"
    TRIED = "tried"
    SPENT = "spent"


def add_commands(app: typer.Typer) -> None:
    for name, function in (
        ("searches", searches),
        ("show", show),
        ("prompt", prompt),
        ("pause", pause),
        ("resume", resume),
        ("cancel", cancel),
        ("extend", extend),
        ("edit", edit),
        ("fork", fork),
        ("delete", delete),
    ):
        app.command(name, cls=TargetCommand)(function)


def _what(search: pb.Search) -> str:
    if search.state == pb.SEARCH_STATE_UNSPECIFIED:  # its record is damaged
        return search.error
    spec = search.spec
    what = spec.title or f"{spec.simulator} / {spec.suite}, {spec.strategy or 'evolve'}"
    what += f"; fork of {search.forked_from_candidate_id}" if search.forked_from_candidate_id else ""
    return what + ("; restored from an archive" if search.HasField("restored_at") else "")


def _chosen(listed: Iterable[pb.Search], states: list[State] | None, tags: list[str] | None) -> Iterator[pb.Search]:
    """Those in one of the states and with all of the tags; None: any."""
    for one in listed:
        in_state = not states or render.enum_name(pb.SearchState, one.state) in states
        if in_state and set(tags or ()) <= set(one.tags):
            yield one


def _sorted(listed: Iterator[pb.Search], sort: Sort) -> Iterator[pb.Search]:
    """`listed` is the newest first, and is read as far as needed."""
    if sort is Sort.CREATED:
        return listed

    def spent(one: pb.Search) -> float:
        return one.spend.usd if sort is Sort.SPENT else one.spend.candidates

    return iter(sorted(listed, key=spent, reverse=True))


def searches(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=PAGE, help="How many at most.")] = 20,
    state: Annotated[list[State] | None, typer.Option(help="Only those in this state; repeatable.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Only those with this tag; repeated: with all.")] = None,
    sort: Annotated[Sort, typer.Option(help="Greatest first; newest where equal.")] = Sort.CREATED,
    as_json: AsJson = False,
) -> None:
    """List searches, newest first or by what they spent."""
    page_size = PAGE if state or tag or sort is not Sort.CREATED else limit
    with Connection(ctx.obj, "controller") as connection:
        listed = entries(connection.controller.list_searches, pb.ListSearchesRequest(page_size=page_size))
        found = list(islice(_sorted(_chosen(listed, state, tag), sort), limit))
    if as_json:
        for one in found:
            render.print_json(one)
        return
    if not found:
        out.print("no such searches" if state or tag else "no searches yet")
        return
    numeric = ("best", "better by", "tried", "spent")
    rows = render.table("search", "state", "what", "tags", *numeric, "created", numeric=numeric)
    for one in found:
        best = one.best if one.HasField("best") else None
        rows.add_row(
            one.search_id,
            render.enum_name(pb.SearchState, one.state),
            escape(_what(one)),
            escape(" ".join(one.tags)),
            render.number(best.score if best else None),
            render.percent(
                render.improvement(best.score, best.baseline_score, one.direction) if best else None, signed=True
            ),
            str(one.spend.candidates),
            render.usd(one.spend.usd),
            one.created_at.ToDatetime().strftime("%Y-%m-%d %H:%M"),
        )
    out.print(rows)


def show(
    ctx: typer.Context,
    search_id: SearchId,
    candidate: Annotated[str, typer.Argument(metavar="[CANDIDATE]", help="Id or number: this candidate alone.")] = "",
    candidates: Annotated[bool, typer.Option("--candidates", help="List every candidate as well.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show a search with its settings and outcome, or one of its candidates with its verdict and source."""
    with Connection(ctx.obj, "controller") as connection:
        found = get_search(connection, search_id)
        if candidate:
            one = get_candidate(connection, search_id, candidate)
            if as_json:
                render.print_json(one)
            else:
                _print_candidate(found, one, numbers_of(connection, search_id))
            return
        listed = list(list_candidates(connection, search_id)) if candidates else []
        if as_json:
            for message in (found, *listed):
                render.print_json(message)
            return
        say(describe_spec(found.spec))
        _print_labels(found)
        print_outcome(connection, found)
        notebook = get_notebook(connection, search_id)
        if notebook.entries:
            say(f"{summary(notebook)}: quintain notebook {search_id}")
    if candidates:
        numeric = ("#", "score", "held-out", "cost")
        rows = render.table("#", "how", "parents", "score", "held-out", "cost", "outcome", numeric=numeric)
        numbers = {c.candidate_id: str(c.number) for c in listed}
        for c in listed:
            rows.add_row(*_candidate_row(c, numbers))
        out.print(rows)


def numbers_of(connection: Connection, search_id: str) -> dict[str, str]:
    """Numbers of a search's candidates by id."""
    return {c.candidate_id: str(c.number) for c in list_candidates(connection, search_id)}


def describe_candidate(summary: pb.CandidateSummary, numbers: dict[str, str]) -> str:
    """How it was made and what that cost, in one line."""
    how = render.operator_name(summary)
    parts = [f"#{summary.number} {how}"]
    if summary.parent_ids:
        parts.append("from " + ", ".join(f"#{numbers.get(parent, parent)}" for parent in summary.parent_ids))
    if summary.backend:
        parts.append(f"by {summary.backend}")
        parts.append("unpriced" if summary.cost.unpriced else render.usd(summary.cost.usd))
        usage = summary.usage
        if usage.input_tokens or usage.output_tokens:
            parts.append(f"{usage.input_tokens:,} tokens in ({usage.cached_input_tokens:,} cached)")
            parts.append(f"{usage.output_tokens:,} out")
    return escape(", ".join(parts))


def _print_candidate(search: pb.Search, found: pb.Candidate, numbers: dict[str, str]) -> None:
    say(describe_candidate(found.summary, numbers))
    say(escape(f"outcome: {outcome_of(found.summary)}"))
    if found.summary.hypothesis:
        say(escape(f"hypothesis: {found.summary.hypothesis}"))
    for p in found.summary.predictions:
        measured = f"measured {p.measured:+.4f}: {p.outcome}" if p.HasField("measured") else "not measured"
        say(escape(f"predicted {p.scenario or 'mean'} {p.predicted:+.4f}, {measured}"))
    if (conversation := conversation_of(found)) is not None:
        print_conversation(conversation)
    if found.HasField("verdict"):
        print_verdict(found.verdict)
    if found.source:
        out.rule("source", align="left")
        render.print_text(found.source.rstrip())
    out.print(f"next: quintain prompt {search.search_id} {found.summary.number}")


def _candidate_row(c: pb.CandidateSummary, numbers: dict[str, str]) -> tuple[str, ...]:
    how = render.operator_name(c)
    return (
        str(c.number),
        escape(f"{how} {c.backend}".strip()),
        ", ".join(numbers.get(parent, parent) for parent in c.parent_ids),
        render.number(c.score if c.HasField("score") else None),
        render.number(c.held_out_score if c.HasField("held_out_score") else None),
        "unpriced" if c.cost.unpriced else render.usd(c.cost.usd) if c.cost.usd else render.NOTHING,
        escape(_beside_its_score(c)),
    )


def _beside_its_score(c: pb.CandidateSummary) -> str:
    """The outcome without the sentence that says the score again, where the table has a column for it."""
    whole = outcome_of(c)
    name, score, rest = whole.partition(" score ")
    _, bound, told = rest.partition(" of the bound. ")
    return f"{name}: {told}" if score and bound and name == render.outcome_name(c) else whole


def outcome_of(c: pb.CandidateSummary) -> str:
    return f"{render.outcome_name(c)} {c.summary}".strip()


def prompt(ctx: typer.Context, search_id: SearchId, candidate: CandidateId, as_json: AsJson = False) -> None:
    """Show exactly what was sent for a candidate, what came back, and what the calls were."""
    with Connection(ctx.obj, "controller") as connection:
        found = get_candidate(connection, search_id, candidate)
        numbers = numbers_of(connection, search_id)
    if not found.HasField("generation") and found.tool_uses and not as_json:
        say(f"{describe_candidate(found.summary, numbers)}; its conversation goes on")
        print_tool_uses(found.tool_uses)
        return
    if not found.HasField("generation"):
        raise InvalidArgument.of("candidate", f"{candidate} was not generated (a seed policy, or still under way)")
    generation = found.generation
    if as_json:
        render.print_json(generation)
        return
    say(describe_candidate(found.summary, numbers))
    if not generation.prompt:
        out.print(f"[dim]the backend {escape(generation.backend)} works without a prompt[/]")
    for message in generation.prompt:
        mark = " (cache breakpoint)" if message.cache_breakpoint else ""
        out.rule(f"{escape(message.role)}{mark}", align="left")
        render.print_text(message.content)
    print_turns(generation.turns)
    out.rule(f"answer of {escape(generation.backend)} {escape(generation.model)}", align="left")
    render.print_text(generation.response_text or generation.source)
    for call in generation.calls:
        request = f" {call.provider_request_id}" if call.provider_request_id else ""
        said = escape(render.for_terminal(f"{request}, {call.seconds:.1f} s {call.error}"))
        errors.print(f"call {call.attempt}: {call.outcome}{said}")


def pause(ctx: typer.Context, search_id: SearchId) -> None:
    """Pause a running search; work in flight is settled."""
    with Connection(ctx.obj, "controller") as connection:
        _tell_state(connection.controller.pause_search(pb.PauseSearchRequest(search_id=search_id)).search)


def resume(ctx: typer.Context, search_id: SearchId) -> None:
    """Let a paused search go on in the running stack (`quintain search --resume` also follows it)."""
    with Connection(ctx.obj, "controller", embedded=Embedded.RUNS) as connection:
        found = connection.controller.resume_search(pb.ResumeSearchRequest(search_id=search_id)).search
        _go_on(connection, found)


def cancel(ctx: typer.Context, search_id: SearchId) -> None:
    """Stop a search for good; work in flight is settled."""
    with Connection(ctx.obj, "controller", embedded=Embedded.SETTLES) as connection:
        found = connection.controller.cancel_search(pb.CancelSearchRequest(search_id=search_id)).search
        if connection.alone:  # nobody else is there to settle it
            with WaitingLine("settling what was sent"):
                for _ in connection.follow(connection.controller.watch_search(search_id, found.last_sequence)):
                    pass
        _tell_state(found)


def extend(
    ctx: typer.Context,
    search_id: SearchId,
    candidates: Candidates = None,
    verifications: Verifications = None,
    usd: Usd = None,
    tokens: Tokens = None,
    minutes: Minutes = None,
) -> None:
    """Raise bounds of a search's budget: give the new bounds, not increments."""
    budget = make_budget(candidates, verifications, usd, tokens, minutes)
    with Connection(ctx.obj, "controller", embedded=Embedded.RUNS) as connection:
        request = pb.ExtendBudgetRequest(search_id=search_id, budget=budget)
        found = connection.controller.extend_budget(request).search
        out.print(f"the budget is now {render.budget_text(found.spec.budget)}")
        _go_on(connection, found)


def edit(
    ctx: typer.Context,
    search_id: SearchId,
    title: Annotated[str | None, typer.Option(help="Its new name.")] = None,
    notes: Annotated[str | None, typer.Option(help='Notes in place of those that it has; "" for none.')] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Add a tag, one word; repeatable.")] = None,
    untag: Annotated[list[str] | None, typer.Option(help="Remove a tag; repeatable.")] = None,
) -> None:
    """Rename a search, tag it, or write notes on it; it goes on as it is."""
    request = pb.UpdateSearchRequest(
        search_id=search_id, title=title, notes=notes, add_tags=tag or [], remove_tags=untag or []
    )
    with Connection(ctx.obj, "controller") as connection:
        _print_labels(connection.controller.update_search(request).search)


def _print_labels(search: pb.Search) -> None:
    """Title, tags and notes, as far as there are any."""
    for name, text in (("title", search.spec.title), ("tags", ", ".join(search.tags)), ("notes", search.notes)):
        if text:
            say(f"{name}: {escape(render.for_terminal(text))}")


def fork(
    ctx: typer.Context,
    search_id: SearchId,
    candidate: CandidateId,
    strategy: Annotated[str, typer.Option(autocompletion=completion.strategies, help="Empty: the search's own.")] = "",
    backend: Annotated[
        list[str] | None, typer.Option(autocompletion=completion.backends, help="None: the search's own; repeatable.")
    ] = None,
    candidates: Candidates = None,
    verifications: Verifications = None,
    usd: Usd = None,
    tokens: Tokens = None,
    minutes: Minutes = None,
    stop_at: StopAt = "",
    plateau: Plateau = None,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="All randomness derives from it.")] = 0,
) -> None:
    """Begin a new search with a candidate of another one. What is not given is the other search's."""
    stop = make_stop_rules(stop_at, plateau)
    spec = pb.SearchSpec(strategy=strategy, backends=backend or [], seed=seed, stop=stop)
    budget = make_budget(candidates, verifications, usd, tokens, minutes)
    if budget.ListFields():
        spec.budget.CopyFrom(budget)
    with Connection(ctx.obj, "controller", embedded=Embedded.RUNS) as connection:
        origin = get_candidate(connection, search_id, candidate).summary.candidate_id
        request = pb.ForkSearchRequest(request_id=uuid.uuid4().hex, candidate_id=origin, spec=spec)
        _go_on(connection, connection.controller.fork_search(request).search)


def delete(
    ctx: typer.Context,
    search_id: SearchId,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a search that has ended, with all its candidates."""
    if not yes:
        typer.confirm(f"delete search {search_id} and all its candidates?", abort=True)
    with Connection(ctx.obj, "controller") as connection:
        connection.controller.delete_search(pb.DeleteSearchRequest(search_id=search_id))
    out.print(f"search {search_id} is deleted")


def _go_on(connection: Connection, found: pb.Search) -> None:
    """A search that was set going: in an embedded stack it must be followed, or it would stop with the command."""
    if found.state in live.ENDED or found.state == pb.SEARCH_STATE_PAUSED:
        _tell_state(found)
    elif connection.embedded:
        follow_to_end(connection, found, as_json=False, after_sequence=found.last_sequence)
    else:
        tell_detached(found, as_json=False)


def _tell_state(found: pb.Search) -> None:
    out.print(f"search {found.search_id} is {render.enum_name(pb.SearchState, found.state)}")
