"""``quintain ablate``: strategies or backends at equal budgets over seeds, and which differences are real."""

from __future__ import annotations

import itertools
import statistics
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from quintain.clients.budget import make_budget
from quintain.clients.pages import entries
from quintain.clients.stop_rules import make_stop_rules
from quintain.clients.suite_files import read_suite, suite_message
from quintain.controller.v1 import controller_pb2 as pb
from quintain.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from quintain.plugins.naming import unknown
from quintain.statistics import Interval, paired_bootstrap
from quintain_cli import completion, live, render
from quintain_cli.commands.compare import conclusion
from quintain_cli.commands.compare_searches import read_curve_data
from quintain_cli.commands.lookup import get_search
from quintain_cli.commands.search import (
    INTERRUPTED,
    Candidates,
    Hints,
    Minutes,
    Plateau,
    StopAt,
    Tokens,
    Usd,
    Verifications,
    pause,
    resume_search,
)
from quintain_cli.connect import FOREVER_SECONDS, Connection, Embedded
from quintain_cli.files import refuse_existing, write_file
from quintain_cli.render import errors, out, say
from quintain_cli.report import check_plotly
from quintain_cli.report.data import ReportData
from quintain_cli.target import TargetCommand
from quintain_cli.waiting import WaitingLine


def add_commands(app: typer.Typer) -> None:
    app.command("ablate", cls=TargetCommand)(ablate)


@dataclass(frozen=True, slots=True)
class Arm:
    """One of the things that are compared. Empty strings: the default."""

    name: str
    strategy: str
    backend: str


@dataclass(frozen=True, slots=True)
class ArmOutcome:
    """The best of one search: normalized on train, and its share above the baseline on held-out (None: not scored)."""

    arm: str
    seed: int
    search_id: str
    train: float
    held_out: float | None


@dataclass(frozen=True, slots=True)
class Contrast:
    """Second minus first, paired by seed, with its 95 % interval."""

    measure: str
    first: str
    second: str
    interval: Interval

    @property
    def conclusion(self) -> str:
        return conclusion(self.interval, self.first, self.second)


def ablate(
    ctx: typer.Context,
    strategy: Annotated[
        list[str] | None, typer.Option(autocompletion=completion.strategies, help="A strategy to compare; repeat it.")
    ] = None,
    backend: Annotated[
        list[str] | None, typer.Option(autocompletion=completion.backends, help="A backend to compare; repeat it.")
    ] = None,
    simulator: Annotated[str, typer.Option(autocompletion=completion.simulators, help="The simulator.")] = "faas",
    suite: Annotated[
        str, typer.Option(autocompletion=completion.suites, help=f"What scores. {completion.SUITE_HELP}")
    ] = "standard",
    seeds: Annotated[int, typer.Option(min=1, help="Searches for each, with seeds 1 to N.")] = 5,
    candidates: Candidates = None,
    verifications: Verifications = None,
    usd: Usd = None,
    tokens: Tokens = None,
    minutes: Minutes = None,
    stop_at: StopAt = "",
    plateau: Plateau = None,
    resume: Annotated[
        str, typer.Option(metavar="ABLATION", help="Go on with an interrupted one; the other options as they were.")
    ] = "",
    hints: Hints = False,
    out_file: Annotated[
        Path | None, typer.Option("--out", help="Also write a page: all searches in one plot (HTML, needs no network).")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines: each search, then each contrast.")] = False,
) -> None:
    """Run strategies or backends at equal budgets over seeds and say which differences are real. With several of both,
    every combination is run. Ctrl-C pauses; `--resume` goes on, and what was searched is not searched again."""
    budget = make_budget(candidates, verifications, usd, tokens, minutes)
    if not budget.ListFields():
        raise InvalidArgument.of("budget", "give each search the same --verifications, --candidates or --usd")
    stop = make_stop_rules(stop_at, plateau)
    arms = make_arms(strategy or [], backend or [])
    if out_file is not None:
        refuse_existing(out_file, force)
        check_plotly()
    ablation = resume or uuid.uuid4().hex[:12]
    outcomes = []
    suite_name, suite_files = read_suite(suite, simulator=simulator)
    with Connection(ctx.obj, "controller", embedded=Embedded.RUNS) as connection:
        check_strategies(connection, strategy or [])
        if resume:
            check_begun(connection, resume)
        errors.print(f"ablation {ablation}; if it is interrupted, the same command goes on with --resume {ablation}")
        for seed, arm in itertools.product(range(1, seeds + 1), arms):
            spec = pb.SearchSpec(
                simulator=simulator,
                suite=suite_name,
                suite_files=suite_message(suite_files),
                strategy=arm.strategy,
                backends=[arm.backend] if arm.backend else [],
                budget=budget,
                stop=stop,
                seed=seed,
                title=f"{title(ablation)}{arm.name}, seed {seed}",
                hints=hints,
            )
            outcome = run_one(connection, ablation, arm, spec)
            outcomes.append(outcome)
            if as_json:
                render.print_json(asdict(outcome))
        each = [read_curve_data(connection, get_search(connection, o.search_id)) for o in outcomes] if out_file else []
    contrasts = contrast(outcomes, [arm.name for arm in arms])
    if out_file is not None:
        write_page(out_file, force, ablation, outcomes, arms, contrasts, each)
    if as_json:
        for one in contrasts:
            render.print_json({**asdict(one), "conclusion": one.conclusion})
    else:
        _print(outcomes, arms, contrasts)


def make_arms(strategies: Sequence[str], backends: Sequence[str]) -> list[Arm]:
    """All combinations, named by what differs."""
    if len(strategies) < 2 and len(backends) < 2:
        raise InvalidArgument.of("strategy", "name at least two of --strategy, or two of --backend")
    for field, names in (("strategy", strategies), ("backend", backends)):
        if len(set(names)) < len(names):
            raise InvalidArgument.of(field, f"one is named twice: {', '.join(names)}")
    arms = []
    for strategy, backend in itertools.product(strategies or [""], backends or [""]):
        parts = [strategy if len(strategies) > 1 else "", backend if len(backends) > 1 else ""]
        arms.append(Arm(" / ".join(part for part in parts if part), strategy, backend))
    return arms


def check_strategies(connection: Connection, names: Sequence[str]) -> None:
    """Before the first search is paid for, and not when the second begins."""
    listed = list(entries(connection.controller.list_strategies, pb.ListStrategiesRequest()))
    known = [strategy.name for strategy in listed]
    for name in names:
        if name not in known:
            raise InvalidArgument.of("strategy", unknown(name, known))


def title(ablation: str) -> str:
    """How the titles of its searches begin."""
    return f"ablation {ablation}: "


def check_begun(connection: Connection, ablation: str) -> None:
    """A mistyped name would search, and pay, once more."""
    searches = entries(connection.controller.list_searches, pb.ListSearchesRequest())
    if not any(search.spec.title.startswith(title(ablation)) for search in searches):
        raise NotFound(f"no search belongs to an ablation {ablation!r}; `quintain searches` shows their titles")


def run_one(connection: Connection, ablation: str, arm: Arm, spec: pb.SearchSpec) -> ArmOutcome:
    """Run one search to its end, or go on with it. Ctrl-C pauses it."""
    controller = connection.controller
    # The same ablation asks for the same search: what it did, and paid, is there.
    request = pb.CreateSearchRequest(request_id=f"{ablation}/{arm.name}/{spec.seed}", spec=spec)
    try:
        search = controller.create_search(request).search
    except AlreadyExists:
        raise InvalidArgument.of(
            "resume",
            f"{spec.title!r} was searched with other settings or files of the suite: an ablation goes on with the very "
            "command that began it",
        ) from None
    seen = search.last_sequence
    search = resume_search(connection, search.search_id, pb.Budget())
    progress = live.SearchProgress(search)
    try:
        with WaitingLine(f"{arm.name}, seed {spec.seed}") as waiting:
            for event in connection.follow(controller.watch_search(search.search_id, seen, FOREVER_SECONDS)):
                if event is not None:
                    progress.take(event)
                waiting.update(f"{arm.name}, seed {spec.seed}: {progress.headline()}")
                if progress.needs_person:
                    break
    except KeyboardInterrupt:
        pause(connection, search.search_id, f"the same command and --resume {ablation}")
        raise typer.Exit(INTERRUPTED) from None
    search = get_search(connection, search.search_id)
    if search.state != pb.SEARCH_STATE_FINISHED:
        state = render.enum_name(pb.SearchState, search.state)
        raise FailedPrecondition(
            f"search {search.search_id} ({arm.name}) {state}: {search.error or search.pause_reason}"
        )
    best = search.best
    held = best.HasField("held_out_score") and best.HasField("held_out_baseline_score")
    held_out = render.improvement(best.held_out_score, best.held_out_baseline_score, search.direction) if held else None
    return ArmOutcome(arm.name, spec.seed, search.search_id, best.normalized, held_out)


def contrast(outcomes: Sequence[ArmOutcome], arms: Sequence[str]) -> list[Contrast]:
    """Every pair of arms on train and on held-out, over the seeds that both have."""
    found = []
    for measure in ("train", "held_out"):
        values = {(o.arm, o.seed): getattr(o, measure) for o in outcomes if getattr(o, measure) is not None}
        for first, second in itertools.combinations(arms, 2):
            shared = sorted({seed for arm, seed in values if arm == first} & {s for arm, s in values if arm == second})
            pairs = [values[second, seed] - values[first, seed] for seed in shared]
            if pairs:
                found.append(Contrast(measure, first, second, paired_bootstrap(pairs, seed=0)))
    return found


NUMERIC = ("searches", "train: median", "least", "most", "held-out improvement: median")


def _cells(arm: Arm, outcomes: Sequence[ArmOutcome]) -> tuple[str, ...]:
    """The arm's name, and of the columns NUMERIC."""
    own = [o for o in outcomes if o.arm == arm.name]
    train = [o.train for o in own]
    held = [o.held_out for o in own if o.held_out is not None]
    return (
        arm.name,
        str(len(own)),
        render.number(statistics.median(train)),
        render.number(min(train)),
        render.number(max(train)),
        render.percent(statistics.median(held) if held else None, signed=True),
    )


def _said(one: Contrast) -> str:
    seeds = f"{one.interval.count} seeds"
    return f"{one.measure.replace('_', '-')}: {one.second} - {one.first} {one.interval} over {seeds}: {one.conclusion}"


def write_page(
    path: Path,
    force: bool,
    ablation: str,
    outcomes: Sequence[ArmOutcome],
    arms: Sequence[Arm],
    contrasts: Sequence[Contrast],
    each: Sequence[ReportData],
) -> None:
    from quintain_cli.report.comparison import Curve, PageTable, render_comparison  # plotly takes a second to import

    spec = each[0].search.spec
    notes = [
        f"each {len(outcomes) // len(arms)} times, budget {render.budget_text(spec.budget)}",
        *map(_said, contrasts),
    ]
    curves = [Curve(f"{o.arm}, seed {o.seed}", o.arm, data) for o, data in zip(outcomes, each, strict=True)]
    numeric = frozenset(range(1, len(NUMERIC) + 1))
    tables = [PageTable("Compared", ("", *NUMERIC), [_cells(arm, outcomes) for arm in arms], numeric)]
    searches = [
        (o.arm, str(o.seed), o.search_id, render.number(o.train), render.percent(o.held_out, signed=True))
        for o in outcomes
    ]
    head = ("", "seed", "search", "train", "held-out improvement")
    tables.append(PageTable("Searches", head, searches, frozenset({1, 3, 4})))
    title = f"{' and '.join(arm.name for arm in arms)} on {spec.simulator} / {spec.suite}"
    write_file(path, render_comparison(f"ablation {ablation}", title, notes, curves, tables, same=True), force)
    errors.print(f"wrote {path}")


def _print(outcomes: Sequence[ArmOutcome], arms: Sequence[Arm], contrasts: Sequence[Contrast]) -> None:
    rows = render.table("", *NUMERIC, numeric=NUMERIC)
    for arm in arms:
        rows.add_row(*map(escape, _cells(arm, outcomes)))
    out.print(rows)
    for one in contrasts:
        say(escape(_said(one)))
    if len(contrasts) > 1:
        out.print(f"{len(contrasts)} differences were looked at: one in twenty of such intervals excludes 0 by chance")
