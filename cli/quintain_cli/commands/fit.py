"""``quintain fit``: a search for a model of a recorded system, and the best one as the package's model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from google.protobuf.json_format import MessageToDict
from rich.markup import escape

from quintain.clients.budget import make_budget
from quintain.clients.suite_files import FIT, suite_message
from quintain.controller.v1 import controller_pb2 as pb
from quintain.errors import FailedPrecondition, InvalidArgument
from quintain.plugins.simulator import files_digest
from quintain.type.v1 import type_pb2
from quintain.verifier.v1 import verifier_pb2
from quintain_cli import completion, render
from quintain_cli.commands.best import provenance, with_header
from quintain_cli.commands.checkpoint import Checkpoint
from quintain_cli.commands.fidelity import CARD_FILE, MODELS
from quintain_cli.commands.lookup import get_candidate, get_search, list_candidates
from quintain_cli.commands.search import describe_spec, follow_to_end, parse_options, say_estimate
from quintain_cli.commands.system import MODEL_FILE, read_package, recording_reader
from quintain_cli.commands.verify import LARGEST_SEED, read_policy, run_verify, say_words
from quintain_cli.connect import Connection, Embedded
from quintain_cli.fidelity.models import calibrated, calibrated_values, structure
from quintain_cli.files import refuse_existing, write_file
from quintain_cli.render import errors, out, say
from quintain_cli.target import TargetCommand

MOST = 10**9
OK = verifier_pb2.VERDICT_STATUS_OK
MOST_MODELS = 16
FLOORS = ("queueing", "replay")


def add_commands(app: typer.Typer) -> None:
    app.command("fit", cls=TargetCommand)(fit)


def fit(
    ctx: typer.Context,
    folder: Annotated[str, typer.Argument(metavar="DIR", help="A system package with recordings.")],
    backend: Annotated[
        list[str] | None,
        typer.Option(autocompletion=completion.backends, help="Who writes models; repeatable. Default: offline."),
    ] = None,
    candidates: Annotated[int, typer.Option(min=1, max=MOST, help="Budget: models.")] = 20,
    usd: Annotated[float | None, typer.Option(min=1e-9, help="Budget: dollars.")] = None,
    minutes: Annotated[float | None, typer.Option(min=0.001, help="Budget: minutes.")] = None,
    strategy: Annotated[
        str, typer.Option(autocompletion=completion.strategies, help="Empty: evolve. See `quintain strategies`.")
    ] = "",
    option: Annotated[list[str] | None, typer.Option(help="Option of the strategy, key=value; repeatable.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="All randomness derives from it.")] = 0,
    start: Annotated[list[Path] | None, typer.Option(help="Model to begin with; default: the queueing floor.")] = None,
    out_file: Annotated[
        Path | None, typer.Option("--out", help=f"File for the best model; default: {MODEL_FILE} in the package.")
    ] = None,
    keep: Annotated[
        int, typer.Option(min=1, max=MOST_MODELS, help="Keep so many models of different structure: see the docs.")
    ] = 1,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a model that is there.")] = False,
) -> None:
    """Search for a model of the system that was recorded, and write the best one with its calibrated parameters.

    With --keep the next best ones of another structure are written beside it, and policies are then searched in all of
    them: the worst counts.

    Models are calibrated on the train recordings and judged on those held out, beside two floors: a plain queueing
    model of the same capacity, and the recorded distributions replayed. One that does not beat both is not promoted: it
    is written, and that is said.

    Interrupted, or killed, the same command goes on with the search that it had begun."""
    target = out_file or _folder(folder) / MODEL_FILE
    name, files = read_package(folder, recordings=True)
    if keep > 1 and out_file is not None:
        raise InvalidArgument.of("keep", "several models are written into the package: leave --out out")
    spec = pb.SearchSpec(
        simulator=FIT,
        suite=name,
        suite_files=suite_message(files),
        strategy=strategy,
        strategy_options=parse_options(option or []),
        backends=backend or ["offline"],
        budget=make_budget(candidates, None, usd, None, minutes),
        seed=seed,
        seed_policies=[type_pb2.Policy(source=read_policy(path)) for path in start or []],
        title=f"a model of {name}",
    )
    checkpoint = Checkpoint(_folder(folder), "fit", _asked(spec, files, target, keep))
    further_paths = [_folder(folder) / model_name(number) for number in range(2, MOST_MODELS + 1)]
    for path in (target, *(further_paths if out_file is None else ())):
        refuse_existing(path, force or checkpoint.resumed)  # what is there may be half of what this command wrote
    say_contradictions(files)
    with Connection(ctx.obj, "controller", "verifier", embedded=Embedded.RUNS) as connection:
        created = checkpoint.search(connection, "model", spec)
        if not checkpoint.resumed:
            say_estimate(created.estimate)
        say(f"search {created.search.search_id}: {describe_spec(spec)}")
        seen = created.search.last_sequence if checkpoint.resumed else 0
        follow_to_end(connection, created.search, False, seen, f"quintain fit {folder}, with the same options")
        search = get_search(connection, created.search.search_id)
        found = best_model(connection, checkpoint, "model", search)
        request = verifier_pb2.VerifyRequest(
            simulator=FIT,
            suite=name,
            suite_files=suite_message(files),
            policy=type_pb2.Policy(source=found.source),
        )
        verdict = run_verify(connection, request, "running the best model over all recordings").verdict
        further = _others(connection, search, found, keep - 1)
    model = with_header(calibrated(found.source, calibrated_values(verdict)), provenance(search, found))
    if out_file is None:
        write_models(_folder(folder), [model, *(_written(search, candidate) for candidate in further)])
    else:
        write_file(target, model)
    checkpoint.remove()
    if len(further) < keep - 1:
        say(f"[yellow]{1 + len(further)} of {keep} models[/]: no more structures than these were found")
    _print(verdict)
    for number, candidate in enumerate(further, 2):
        what = f"candidate #{candidate.summary.number}, distance {1.0 - candidate.summary.normalized:.3f} on train"
        say(f"wrote the model of {what}, to {escape(str(_folder(folder) / model_name(number)))}")
    say(f"wrote the model of candidate #{found.summary.number} to {escape(str(target))}")
    if not search.HasField("winner"):
        say("[yellow]it was not promoted[/]: it does not beat both floors on what it never saw, or failed another gate")
    say(f"next: quintain fidelity {escape(folder)}")


def say_contradictions(files: dict[str, bytes]) -> None:
    """A model is fitted to what was recorded, also to what cannot have happened: that is said on standard error."""
    if found := recording_reader().check(files).contradictions:
        errors.print(
            f"[yellow]the recordings contradict themselves[/], and nothing of it is mended: {escape(found[0])} "
            "(quintain system check lists all)",
            soft_wrap=True,
        )


def _asked(spec: pb.SearchSpec, files: dict[str, bytes], target: Path, keep: int) -> dict[str, object]:
    """What the checkpoint's search must have been asked for: the options, and the files but those that a fit writes."""
    written = (MODEL_FILE, CARD_FILE, MODELS)
    given = {name: content for name, content in files.items() if not name.startswith(written)}
    options = pb.SearchSpec()
    options.CopyFrom(spec)
    options.ClearField("suite_files")
    return {"spec": MessageToDict(options), "files": files_digest(given), "out": str(target), "keep": keep}


def _folder(folder: str) -> Path:
    path = Path(folder)
    if not path.is_dir():
        raise InvalidArgument.of("folder", f"{folder} is no folder; a model is fitted to a system package")
    return path


def model_name(number: int) -> str:
    """Of the second, third and so on best model: a file within the package."""
    return f"{MODELS}model_{number}.py"


def best_model(connection: Connection, checkpoint: Checkpoint, step: str, search: pb.Search) -> pb.Candidate:
    """Of the step's search. Raises FailedPrecondition with what was wrong with the first one, if none stood the
    recordings."""
    if not search.HasField("best"):
        checkpoint.forget(step)
        first = next(list_candidates(connection, search.search_id), pb.CandidateSummary(summary="there was none"))
        message = f"no model of search {search.search_id} stands the recordings; the first one: {first.summary}"
        raise FailedPrecondition(f"{message} (quintain show {search.search_id} --candidates lists all)")
    return get_candidate(connection, search.search_id, "best")


def _others(connection: Connection, search: pb.Search, best: pb.Candidate, count: int) -> list[pb.Candidate]:
    """The next best candidates by train score, each of a structure that none before has."""
    scored = [c for c in list_candidates(connection, search.search_id) if c.verdict_status == OK]
    found: list[pb.Candidate] = []
    seen = {structure(best.source)}
    for summary in sorted(scored, key=lambda c: (-c.normalized, c.number)):
        if len(found) == count:
            break
        candidate = get_candidate(connection, search.search_id, summary.candidate_id)
        if structure(candidate.source) not in seen:
            seen.add(structure(candidate.source))
            found.append(candidate)
    return found


def _written(search: pb.Search, candidate: pb.Candidate) -> str:
    return with_header(
        calibrated(candidate.source, calibrated_values(candidate.verdict)), provenance(search, candidate)
    )


def write_models(folder: Path, models: Sequence[str]) -> None:
    """As the package's models, the first as model.py. What an earlier fit kept beside it, with its cards, goes first:
    wherever this is killed, models of two fits are never taken together."""
    for number in range(2, MOST_MODELS + 1):
        path = folder / model_name(number)
        path.unlink(missing_ok=True)
        path.with_suffix(".json").unlink(missing_ok=True)
    write_file(folder / MODEL_FILE, models[0])
    for number, model in enumerate(models[1:], 2):
        path = folder / model_name(number)
        path.parent.mkdir(exist_ok=True)
        write_file(path, model)


def _print(verdict: verifier_pb2.Verdict) -> None:
    """Distances beside the floors, the calibrated values and what each is worth, and what is wrong on train."""
    table = render.table("recordings", "distance", *FLOORS, numeric=("distance", *FLOORS))
    for scenario in verdict.scenarios:
        metrics = {metric.name: metric.value for metric in scenario.metrics}
        numbers = [metrics.get("distance"), *(metrics.get(f"floor_{floor}") for floor in FLOORS)]
        shown = ["-" if value is None else f"{value:.3f}" for value in numbers]
        if numbers[0] is not None and all(value is not None and numbers[0] < value for value in numbers[1:]):
            shown[0] = f"[green]{shown[0]}[/]"
        table.add_row(escape(scenario.scenario.partition("/")[2]), *shown)
    out.print(table)
    values = calibrated_values(verdict)
    metrics = {metric.name: metric.value for scenario in verdict.scenarios for metric in scenario.metrics}
    for name, value in values.items():
        worth = metrics.get(f"worth_{name}", 0.0)
        say(f"  {escape(name)} = {value:.5g} (a tenth of its range off is worth {worth:.4f})")
    say_words(verdict.scenarios[0])
