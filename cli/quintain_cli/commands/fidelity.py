"""``quintain fidelity``: the card of a model, how far it can be trusted."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from quintain.clients.suite_files import read_suite, suite_message, without_recordings
from quintain.controller.v1 import controller_pb2 as controller
from quintain.errors import Internal, InvalidArgument
from quintain.plugins.simulator import narrowed
from quintain.statistics import Interval
from quintain.type.v1 import type_pb2
from quintain.verifier.v1 import verifier_pb2 as pb
from quintain_cli import render
from quintain_cli.commands.attack import (
    MODEL_FAILED,
    Counterexample,
    attack,
    counterexample_stem,
    write_counterexamples,
)
from quintain_cli.commands.lookup import list_candidates
from quintain_cli.commands.record import TRUTH_FILE, load_recorder
from quintain_cli.commands.searching import run_search
from quintain_cli.commands.simulate import load_simulator
from quintain_cli.commands.system import (
    MODEL_FILE,
    SIMULATOR,
    SYSTEM_FILE,
    package_folder,
    read_package,
    recording_reader,
)
from quintain_cli.commands.verify import LARGEST_SEED, read_policy, run_verify
from quintain_cli.connect import Connection, Embedded
from quintain_cli.fidelity.attack import Attack
from quintain_cli.fidelity.card import Card, Row, card_of
from quintain_cli.fidelity.decision import FEWEST, DecisionFidelity, Reference, decision_fidelity
from quintain_cli.fidelity.runs import System, score_of
from quintain_cli.files import refuse_existing, write_file
from quintain_cli.render import errors, out, say
from quintain_cli.target import TargetCommand

FIT = "fit"  # the simulator whose candidates are models
ATTACK = 30  # policies
TOO_MANY = 6  # candidates for each reference that is wanted: many are alike
NOT_TRUSTED = 1
CARD_FILE = "fidelity.json"  # in the package: whatever is verified in its model says what the card says
MODELS = "models/"  # further models of the package, each with its card beside it
WORDS_SHOWN = 8
COMPONENTS_SHOWN = 12


def add_commands(app: typer.Typer) -> None:
    app.command("fidelity", cls=TargetCommand)(fidelity)


def fidelity(
    ctx: typer.Context,
    folder: Annotated[str, typer.Argument(metavar="DIR", help="A system package with recordings and a model.")],
    model: Annotated[Path | None, typer.Option(help=f"Another model than the package's {MODEL_FILE}.")] = None,
    truth_simulator: Annotated[str, typer.Option(help="Where the truth can be run; default: as recorded.")] = "",
    truth_suite: Annotated[str, typer.Option(help="Its suite with the same scenarios.")] = "",
    policy: Annotated[
        list[Path] | None, typer.Option(help="A policy to rank in model and truth, beside baselines; may be repeated.")
    ] = None,
    references: Annotated[
        int, typer.Option(min=0, max=100, help="Rank at least so many: what lacks is made by the offline backend.")
    ] = FEWEST,
    attack_with: Annotated[
        int,
        typer.Option(
            "--attack",
            min=0,
            max=10_000,
            help="Attack the model with so many policies of the offline backend; 0: do not.",
        ),
    ] = ATTACK,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Of the attack.")] = 0,
    html: Annotated[Path | None, typer.Option(help="Write the card with plots to this file.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file of --html.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """How near a model comes to recordings that it never saw, beside two floors, and whether it ranks policies as the
    truth does. The card of the package's own model is kept in it, and goes with every verdict and search in that model.
    Exit code 1 if it is not to be trusted (fidelity: failed)."""
    if html is not None:
        refuse_existing(html, force)
    name, files = read_package(folder, recordings=True)
    sources = {str(model): read_policy(model)} if model is not None else models_of(files)
    if not sources:
        raise InvalidArgument.of("model", f"{folder} has no {MODEL_FILE} yet: quintain fit {folder} makes one")
    if html is not None and len(sources) > 1:
        raise InvalidArgument.of("html", f"the package has {len(sources)} models; name one of them with --model")
    needs = ("controller", "verifier")
    failed = False
    with Connection(ctx.obj, *needs, embedded=Embedded.RUNS) as connection:
        for source in sources.values():
            model_at = model_system(name, files, source)
            truth = truth_of(files, truth_simulator, truth_suite, model_at)
            chosen = {path.stem: read_policy(path) for path in policy or []}
            card, verdict = judge(
                connection, folder, files, model_at, source, truth,
                policies=chosen, references=references, attack_with=attack_with, seed=seed,
            )  # fmt: skip
            failed |= card.fidelity == "failed"
            if as_json:
                render.print_json(card.document())
            else:
                print_card(card)
            if html is not None:
                from quintain_cli.report.fidelity_page import render_card  # plotly takes a second to import

                write_file(html, render_card(card, verdict))
                errors.print(f"wrote {html}")
    if failed:
        raise typer.Exit(NOT_TRUSTED)


def judge(
    connection: Connection,
    folder: str,
    files: dict[str, bytes],
    model: System,
    source: str,
    truth: System | None,
    *,
    policies: Mapping[str, str],
    references: int,
    attack_with: int,
    seed: int,
) -> tuple[Card, pb.Verdict]:
    """The card of a package's model, with the verdict over its recordings. It is kept in the package, and what an
    attack with so many policies (0: none) got out of the model, for the next fit."""
    # What an earlier attack found in this very model, this one finds again; the card is to show its distances.
    mine = counterexample_stem(hashlib.sha256(source.encode()).hexdigest())
    judged = {file: content for file, content in files.items() if not file.startswith(mine)}
    verdict = over_recordings(connection, model.suite, judged, source)
    attacked: Attack | None = None
    counterexamples: list[Counterexample] = []
    decision = None
    if attack_with:
        attacked, counterexamples = attack(connection, model, truth, files, attack_with, seed)
    if truth is not None:
        broke = verdict.status != pb.VERDICT_STATUS_OK or (attacked is not None and attacked.broke)
        decision = rank(connection, model, truth, policies, 0 if broke else references)
    card = make_card(model.suite, files, source, verdict, decision, attacked)
    write_counterexamples(package_folder(folder), card.model, counterexamples)
    keep_card(folder, files, source, card)
    return card, verdict


def models_of(files: Mapping[str, bytes]) -> dict[str, str]:
    """Sources of the package's models by file, ``model.py`` first."""
    named = [f for f in files if f == MODEL_FILE or (f.startswith(MODELS) and f.endswith(".py"))]
    return {file: files[file].decode() for file in sorted(named, key=lambda f: (f != MODEL_FILE, f))}


def keep_card(folder: str, files: Mapping[str, bytes], source: str, card: Card) -> None:
    """In the package, if the model is one of its own."""
    for file in [f for f, own in models_of(files).items() if own == source]:
        path = package_folder(folder) / (CARD_FILE if file == MODEL_FILE else file.removesuffix(".py") + ".json")
        write_file(path, json.dumps(card.document(), indent=1, sort_keys=True) + "\n")
        errors.print(f"wrote {escape(str(path))}")


def truth_of(files: Mapping[str, bytes], simulator: str, suite: str, model: System) -> System | None:
    """Where policies can be run in truth, in the model's scenarios: as asked for, or as `quintain record` noted. None
    if nobody said. Raises InvalidArgument for a truth that has none of the scenarios."""
    if not suite and TRUTH_FILE in files:
        noted = tomllib.loads(files[TRUTH_FILE].decode())
        simulator, suite = simulator or str(noted.get("simulator", SIMULATOR)), str(noted["suite"])
    if not suite:
        return None
    simulator = simulator or SIMULATOR
    name, own = read_suite(suite)
    wanted = {scenario.rpartition("/")[2] for scenario in model.scenarios}
    entries = narrowed(load_simulator(simulator), name, files=own).suite(name).entries
    scenarios = tuple(e.scenario for e in entries if e.scenario.rpartition("/")[2] in wanted)
    if not scenarios:
        message = f"{name} has none of the package's scenarios, {', '.join(sorted(wanted))}"
        raise InvalidArgument.of("truth_suite", message)
    return System("truth", simulator, name, suite_message(own), scenarios, load_recorder(simulator))


def model_system(name: str, files: Mapping[str, bytes], source: str) -> System:
    """The package with `source` as its model."""
    kept = {file: content for file, content in without_recordings(files).items() if not file.startswith(MODELS)}
    kept[MODEL_FILE] = source.encode()
    entries = narrowed(load_simulator(SIMULATOR), name, files=kept).suite(name).entries
    scenarios = tuple(entry.scenario for entry in entries)
    return System("model", SIMULATOR, name, suite_message(kept), scenarios, load_recorder(SIMULATOR))


def over_recordings(connection: Connection, name: str, files: dict[str, bytes], source: str) -> pb.Verdict:
    """The verdict on a model: how far it is from each recording."""
    request = pb.VerifyRequest(
        simulator=FIT,
        suite=name,
        suite_files=suite_message(files),
        policy=type_pb2.Policy(source=source),
        include_detail=True,
    )
    return run_verify(connection, request, "running the model over the recordings").verdict


def make_card(
    name: str,
    files: dict[str, bytes],
    source: str,
    verdict: pb.Verdict,
    decision: DecisionFidelity | None,
    attacked: Attack | None,
) -> Card:
    report = recording_reader().check(files)
    unverified = list(report.unverified)
    if report.contradictions:
        unverified.append(f"the recordings contradict themselves: {report.contradictions[0]}")
    model, system = (hashlib.sha256(of).hexdigest() for of in (source.encode(), files[SYSTEM_FILE]))
    return card_of(name, model, system, verdict, unverified, decision, attacked)


def rank(
    connection: Connection, model: System, truth: System, policies: Mapping[str, str], references: int
) -> DecisionFidelity:
    """Baselines, `policies`, and as many made ones as lack, run in both."""
    chosen = baselines_of(model) | dict(policies)
    if len(chosen) < references:
        chosen |= made_policies(connection, model, references - len(chosen))
    found = []
    for name, source in chosen.items():
        scores = [_score(connection, where, name, source) for where in (model, truth)]
        found.append(Reference(name, *scores))
    return decision_fidelity(f"{truth.simulator} / {truth.suite}", found)


def _score(connection: Connection, where: System, name: str, source: str) -> float | None:
    """None if the policy failed there, or the model did."""
    try:
        return score_of(run_verify(connection, where.request(source), f"{name} in the {where.name}").verdict)
    except Internal as error:
        if error.reason != MODEL_FAILED:
            raise
        return None


def baselines_of(model: System) -> dict[str, str]:
    """The package's own, the default one first."""
    files = {file.name: file.content for file in model.files.files} if model.files is not None else None
    plugin = narrowed(load_simulator(SIMULATOR), model.suite, files=files)
    return {baseline.name: baseline.source for baseline in plugin.describe().baselines}


def made_policies(connection: Connection, model: System, count: int) -> dict[str, str]:
    """Policies of the offline backend, spread from the worst to the best in the model."""
    spec = controller.SearchSpec(
        simulator=model.simulator,
        suite=model.suite,
        suite_files=model.files,
        strategy="evolve",
        backends=["offline"],
        budget=controller.Budget(candidates=TOO_MANY * count),
        title="references of a fidelity card",
    )
    search_id = run_search(connection, spec, f"making {count} policies to rank")
    scored = [
        c for c in list_candidates(connection, search_id) if c.verdict_status == pb.VERDICT_STATUS_OK and c.number
    ]
    distinct = sorted({c.normalized: c for c in scored}.values(), key=lambda c: c.normalized)
    spread = [distinct[round(i * (len(distinct) - 1) / max(1, count - 1))] for i in range(count)] if distinct else []
    chosen = {c.candidate_id: c for c in spread}
    return {
        f"made-{c.number}": connection.controller.get_candidate(
            controller.GetCandidateRequest(candidate_id=c.candidate_id)
        ).candidate.source
        for c in chosen.values()
    }


# ------------------------------------------------------------------------------------------------------------- terminal


def print_card(card: Card) -> None:
    color = {"verified": "green", "unverified": "yellow", "failed": "red"}[card.fidelity]
    say(f"{card.package}, model {card.model[:12]}: fidelity [{color}]{card.fidelity}[/]")
    out.print(_rows([*card.parts, *card.loads]))
    worst = sorted(card.components, key=lambda c: -c.distance.mean)[:COMPONENTS_SHOWN]
    table = render.table(
        "component (held out)", "distance", "recorded", "said", numeric=("distance", "recorded", "said")
    )
    for component in worst:
        said = (render.number(component.recorded), render.number(component.said))
        table.add_row(escape(component.name), _interval(component.distance), *said)
    out.print(table)
    if card.parameters:
        table = render.table("parameter", "value", "worth", "determined", numeric=("value", "worth"))
        for row in card.parameters:
            table.add_row(escape(row.name), render.number(row.value), render.number(row.worth), row.determined)
        out.print(table)
    else:
        say("[yellow]no PARAMETERS[/] are declared: nothing was calibrated, the model's numbers are its author's")
    if card.decision is not None:
        print_decision(card.decision)
    if card.attack is not None:
        checked = "checked in the truth" if card.attack.checked else "not checked in the truth"
        say(f"attack: {card.attack.tried} policies tried, holes: {len(card.attack.holes)} ({checked})")
    for words in card.words[:WORDS_SHOWN]:
        say(f"  {escape(words)}")
    for words in card.refused:
        say(f"[red]refused[/] {escape(words)}")
    for words in card.untested:
        say(f"[yellow]unverified[/] {escape(words)}")


def _rows(rows: list[Row]) -> object:
    floors = list(dict.fromkeys(floor for row in rows for floor in row.floors))
    head = ("distance to recordings", "windows", "model", *(f"floor: {floor}" for floor in floors), "nearer by")
    table = render.table(*head, numeric=head[1:])
    for row in rows:
        beaten = [_interval(row.floors[floor]) for floor in floors]
        color = "green" if row.beats_floors else "red"
        model = f"[{color}]{_interval(row.distance)}[/]"
        table.add_row(row.name.replace("_", " "), str(row.windows), model, *beaten, _interval(row.nearer))
    return table


def _interval(found: Interval) -> str:
    return f"{found.mean:.3f} \\[{found.low:.3f}, {found.high:.3f}]"


def print_decision(found: DecisionFidelity) -> None:
    table = render.table("policy", "in the model", f"in {found.truth}", numeric=("in the model", f"in {found.truth}"))
    for reference in sorted(found.references, key=lambda r: -(r.truth or 0.0)):
        table.add_row(escape(reference.name), *(render.number(v) if v is not None else "failed"
                                                for v in (reference.model, reference.truth)))  # fmt: skip
    out.print(table)
    tau = "none" if found.tau is None else f"{found.tau:.2f}"
    if found.interval is not None:
        tau += f" [{found.interval[0]:.2f}, {found.interval[1]:.2f}]"
    regret = "none" if found.regret is None else f"{found.regret:.1%}"
    say(escape(f"decision fidelity over {len(found.references)} policies: Kendall's tau {tau}, regret {regret}"))
