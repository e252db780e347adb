"""``quintain search`` and ``quintain watch``: start, resume and follow a search, and say what came of it."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Annotated, Any

import typer
from google.protobuf import struct_pb2
from rich.markup import escape

from quintain.clients.agent import make_agent
from quintain.clients.budget import make_budget
from quintain.clients.notebooks import carried_lessons
from quintain.clients.pages import entries
from quintain.clients.search_words import ROLES, WINNER_RULES, make_roles, make_winner_rule
from quintain.clients.stop_rules import make_stop_rules
from quintain.clients.suite_files import read_suite, suite_message
from quintain.controller.v1 import controller_pb2 as pb
from quintain.errors import FailedPrecondition, InvalidArgument, QuintainError
from quintain.generator.v1 import generator_pb2
from quintain.type.v1 import type_pb2
from quintain_cli import completion, live, render
from quintain_cli.commands.lookup import SearchId, get_search
from quintain_cli.commands.outcome import print_outcome
from quintain_cli.commands.verify import LARGEST_SEED, read_policy
from quintain_cli.connect import Connection, Embedded
from quintain_cli.render import errors, out, say
from quintain_cli.target import TargetCommand

SEARCH_FAILED = 1
INTERRUPTED = 130
MOST = 10**9
PANEL = "Budget"
AGENT_PANEL = "Conversations"

Hints = Annotated[bool, typer.Option("--hints", help="Tell backends what is known of the simulator's built-in suites.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON lines: each event, then the search.")]
Candidates = Annotated[int | None, typer.Option(min=1, max=MOST, help="Budget: candidates.", rich_help_panel=PANEL)]
Verifications = Annotated[
    int | None, typer.Option(min=1, max=MOST, help="Budget: verifications.", rich_help_panel=PANEL)
]
Usd = Annotated[float | None, typer.Option(min=1e-9, help="Budget: dollars.", rich_help_panel=PANEL)]
Tokens = Annotated[int | None, typer.Option(min=1, max=10**15, help="Budget: tokens.", rich_help_panel=PANEL)]
Minutes = Annotated[float | None, typer.Option(min=0.001, help="Budget: minutes.", rich_help_panel=PANEL)]
StopAt = Annotated[
    str,
    typer.Option(
        metavar="SHARE%|SCORE", help="End at this share of the provable bound, or this score.", rich_help_panel=PANEL
    ),
]
Plateau = Annotated[
    int | None,
    typer.Option(min=1, max=MOST, help="End after so many in a row that are no better.", rich_help_panel=PANEL),
]
Agent = Annotated[
    bool,
    typer.Option(
        "--agent",
        help="The model tries policies on train scenarios with tools before it submits one.",
        rich_help_panel=AGENT_PANEL,
    ),
]
AgentTurns = Annotated[
    int, typer.Option(min=0, max=100, help="Answers of the model; 0: 12.", rich_help_panel=AGENT_PANEL)
]
AgentRuns = Annotated[
    int, typer.Option(min=0, max=1000, help="Runs of policies by its tools; 0: 16.", rich_help_panel=AGENT_PANEL)
]
AgentSeconds = Annotated[
    float, typer.Option(min=0, help="Seconds of the verifier for these; 0: 120.", rich_help_panel=AGENT_PANEL)
]


def add_commands(app: typer.Typer) -> None:
    app.command("search", cls=TargetCommand)(search)
    app.command("watch", cls=TargetCommand)(watch)


def search(
    ctx: typer.Context,
    simulator: Annotated[str, typer.Option(autocompletion=completion.simulators, help="The simulator.")] = "faas",
    suite: Annotated[
        str, typer.Option(autocompletion=completion.suites, help=f"What scores. {completion.SUITE_HELP}")
    ] = "paper-reference",
    objective: Annotated[
        list[str] | None,
        typer.Option(
            help="Default: the suite's own. Repeatable: the first scores, and of further ones (names, or METRIC:min, "
            "METRIC:max) a front is kept."
        ),
    ] = None,
    strategy: Annotated[
        str, typer.Option(autocompletion=completion.strategies, help="Empty: evolve. See `quintain strategies`.")
    ] = "",
    option: Annotated[list[str] | None, typer.Option(help="Option of the strategy, key=value; repeatable.")] = None,
    backend: Annotated[
        list[str] | None,
        typer.Option(autocompletion=completion.backends, help="Backend; repeatable. See `quintain backends`."),
    ] = None,
    role: Annotated[
        list[str] | None,
        typer.Option(
            metavar="BACKEND=ROLE",
            help=f"What a backend is for ({', '.join(ROLES)}), of several; repeatable. Default: by its price.",
        ),
    ] = None,
    candidates: Candidates = None,
    verifications: Verifications = None,
    usd: Usd = None,
    tokens: Tokens = None,
    minutes: Minutes = None,
    stop_at: StopAt = "",
    plateau: Plateau = None,
    usd_per_candidate: Annotated[
        float | None,
        typer.Option(min=1e-9, help="The most that making one candidate may cost.", rich_help_panel=PANEL),
    ] = None,
    agent: Agent = False,
    agent_turns: AgentTurns = 0,
    agent_runs: AgentRuns = 0,
    agent_seconds: AgentSeconds = 0.0,
    assume_usd_per_generation: Annotated[
        float | None,
        typer.Option(min=0, help="Count a call of an unpriced model as so much.", rich_help_panel="Budget"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="All randomness derives from it.")] = 0,
    winner_rule: Annotated[
        str,
        typer.Option(
            metavar="RULE",
            help=f"Which candidate comes before the gates first: {', '.join(WINNER_RULES)}; see the docs.",
        ),
    ] = WINNER_RULES[0],
    start: Annotated[list[Path] | None, typer.Option(help="Policy to begin with; default: the baseline.")] = None,
    parallel_generations: Annotated[int, typer.Option(min=0, max=256, help="At once; 0: the default.")] = 0,
    parallel_verifications: Annotated[int, typer.Option(min=0, max=256, help="At once; 0: the default.")] = 0,
    title: Annotated[str, typer.Option(help="Your own name for the search.")] = "",
    hints: Hints = False,
    notebook: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE|SEARCH", help="Carry the lessons of an earlier search; repeatable."),
    ] = None,
    resume: Annotated[
        str,
        typer.Option(
            metavar="SEARCH", autocompletion=completion.searches, help="Go on with a search; budget options raise it."
        ),
    ] = "",
    detach: Annotated[bool, typer.Option("--detach", help="Start it in the running stack and return.")] = False,
    as_json: AsJson = False,
) -> None:
    """Search for a better policy. Ctrl-C pauses; `--resume` goes on."""
    budget = make_budget(candidates, verifications, usd, tokens, minutes)
    if not resume and not budget.ListFields():
        raise InvalidArgument.of(
            "budget", "give at least one of --candidates, --verifications, --usd, --tokens, --minutes"
        )
    stop = make_stop_rules(stop_at, plateau)
    if resume and stop is not None:
        raise InvalidArgument.of("stop_at", "a search keeps the stop rules that it began with; fork it with others")
    conversations = make_agent(agent, agent_turns, agent_runs, agent_seconds)
    suite_name, suite_files = read_suite(suite, simulator=simulator)
    seen = 0  # a new search is shown from its first event
    with Connection(ctx.obj, "controller", embedded=Embedded.RUNS) as connection:
        if detach and connection.embedded:
            raise FailedPrecondition("--detach needs a running stack: `quintain up` starts one, --address names one")
        if resume:
            seen = get_search(connection, resume).last_sequence
            found = resume_search(connection, resume, budget)
        else:
            spec = pb.SearchSpec(
                simulator=simulator,
                suite=suite_name,
                suite_files=suite_message(suite_files),
                objective=objective[0] if objective else "",
                further_objectives=(objective or [])[1:],
                strategy=strategy,
                strategy_options=parse_options(option or []),
                backends=backend or [],
                winner_rule=make_winner_rule(winner_rule),
                backend_roles=make_roles(dict(pair("role", text) for text in role or [])),
                budget=budget,
                stop=stop,
                seed=seed,
                seed_policies=[type_pb2.Policy(source=read_policy(path)) for path in start or []],
                parallel_generations=parallel_generations,
                parallel_verifications=parallel_verifications,
                assume_usd_per_generation=assume_usd_per_generation,
                title=title,
                hints=hints,
                carried_lessons=[
                    lesson for one in notebook or [] for lesson in carried_lessons(connection.controller, one)
                ],
                agent=conversations,
                allowance=generator_pb2.Allowance(max_cost_usd=usd_per_candidate) if usd_per_candidate else None,
            )
            request = pb.CreateSearchRequest(request_id=uuid.uuid4().hex, spec=spec)
            created = connection.controller.create_search(request)
            say_estimate(created.estimate)
            found = created.search
        if detach:
            tell_detached(found, as_json)
            return
        if connection.alone:
            tell_others(connection, found.search_id)
        if not as_json:
            say(f"search {found.search_id}: {describe_spec(found.spec)}")
        follow_to_end(connection, found, as_json, after_sequence=seen)


def say_estimate(estimate: pb.SearchEstimate) -> None:
    """What the budget is good for, as far as the controller knows, on standard error."""
    parts = []
    if estimate.HasField("candidates"):
        parts.append(f"about {estimate.candidates:,} candidates")
    if estimate.HasField("usd"):
        parts.append(render.usd(estimate.usd))
    if estimate.HasField("seconds"):
        parts.append(live.duration(estimate.seconds))
    if parts:
        errors.print(f"estimate: {', '.join(parts)}")
    for warning in estimate.warnings:
        errors.print(f"[yellow]{escape(warning)}[/]")


def pair(option: str, text: str) -> tuple[str, str]:
    """``key=value`` in two. Raises InvalidArgument that names the option."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InvalidArgument.of(option, f"{text!r} is not key=value")
    return key, value


def parse_options(options: list[str]) -> struct_pb2.Struct:
    """``key=value`` pairs; a value that is JSON is taken as such, anything else as text."""
    values: dict[str, Any] = {}
    for text in options:
        key, value = pair("option", text)
        try:
            values[key] = json.loads(value)
        except json.JSONDecodeError:
            values[key] = value
    made = struct_pb2.Struct()
    made.update(values)
    return made


def resume_search(connection: Connection, search_id: str, budget: pb.Budget) -> pb.Search:
    """Go on with a paused, interrupted or used-up search; a given budget replaces the bounds it names."""
    controller = connection.controller
    found = get_search(connection, search_id)
    if budget.ListFields():
        found = controller.extend_budget(pb.ExtendBudgetRequest(search_id=search_id, budget=budget)).search
    if found.state == pb.SEARCH_STATE_PAUSED:
        found = controller.resume_search(pb.ResumeSearchRequest(search_id=search_id)).search
    return found


def describe_spec(spec: pb.SearchSpec) -> str:
    backends = ", ".join(spec.backends) or "the default backend"
    stop = render.stop_text(spec.stop)
    return escape(
        f"{spec.simulator} / {spec.suite}, {spec.strategy or 'evolve'} with {backends}, seed {spec.seed}, "
        f"budget {render.budget_text(spec.budget)}{f', until {stop}' if stop else ''}"
    )


def tell_others(connection: Connection, search_id: str) -> None:
    """Searches that were interrupted go on in an embedded stack as well: say so, because they spend."""
    for other in entries(connection.controller.list_searches, pb.ListSearchesRequest()):
        if other.state == pb.SEARCH_STATE_RUNNING and other.search_id != search_id:
            errors.print(
                f"[yellow]search {other.search_id}, which was interrupted, goes on as well[/]; "
                f"to stop it: quintain pause {other.search_id}"
            )


def tell_detached(found: pb.Search, as_json: bool) -> None:
    if as_json:
        render.print_json(found)
        return
    out.print(f"search {found.search_id} runs. `quintain watch {found.search_id}` follows it.")


def follow_to_end(
    connection: Connection, found: pb.Search, as_json: bool, after_sequence: int, go_on: str = ""
) -> None:
    """Show the search from its event `after_sequence` on; Ctrl-C pauses it, and the command `go_on` (default: search
    --resume) goes on. The exit code fits the outcome."""
    search_id = found.search_id
    try:
        live.watch(connection, found, as_json, after_sequence)
    except KeyboardInterrupt:
        pause(connection, search_id, go_on or f"quintain search --resume {search_id}")
        raise typer.Exit(INTERRUPTED) from None
    found = get_search(connection, search_id)
    if as_json:
        render.print_json(found)
    else:
        print_outcome(connection, found)
    if found.state != pb.SEARCH_STATE_FINISHED:
        raise typer.Exit(SEARCH_FAILED)


def pause(connection: Connection, search_id: str, go_on: str) -> None:
    """Pause and say that the command `go_on` goes on. A search that ended in the meantime is simply over."""
    errors.print("\npausing: work in flight is settled (Ctrl-C again leaves at once)")
    try:
        paused = connection.controller.pause_search(pb.PauseSearchRequest(search_id=search_id)).search
    except FailedPrecondition:
        errors.print(f"the search has already ended: quintain show {search_id}")
    except QuintainError as error:
        render.print_error(error)
        errors.print(f"nothing is lost; go on with: {go_on}")
    else:
        errors.print(f"so far: {live.SearchProgress(paused).headline()}")
        errors.print(f"paused, nothing is lost. Go on with: [bold]{go_on}[/]")


def watch(
    ctx: typer.Context,
    search_id: SearchId,
    after: Annotated[int, typer.Option(min=0, max=MOST, help="Show events after this sequence number.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Follow a search that runs in a stack. Ctrl-C only stops watching."""
    with Connection(ctx.obj, "controller") as connection:
        found = get_search(connection, search_id)
        if connection.alone and found.state == pb.SEARCH_STATE_RUNNING:
            raise FailedPrecondition(
                f"search {search_id} was interrupted and runs nowhere; go on with: quintain search --resume {search_id}"
            )
        live.watch(connection, found, as_json, after_sequence=after)
        found = get_search(connection, search_id)
        if as_json:
            render.print_json(found)
        else:
            print_outcome(connection, found)
