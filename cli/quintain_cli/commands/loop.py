"""``quintain loop``: fit a model, judge it, search in it, run the winner in the truth, record it and fit again, until
the prediction of the winner holds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from statistics import fmean
from typing import Annotated

import typer
from rich.markup import escape

from quintain.clients.suite_files import COUNTEREXAMPLES, RECORDINGS, suite_message
from quintain.controller.v1 import controller_pb2 as controller
from quintain.errors import InvalidArgument
from quintain.plugins.recorder import RecordedRun
from quintain.plugins.simulator import Part, files_digest
from quintain.verifier.v1 import verifier_pb2 as pb
from quintain_cli import completion, render
from quintain_cli.commands.checkpoint import Checkpoint
from quintain_cli.commands.fidelity import (
    ATTACK,
    CARD_FILE,
    FIT,
    MODELS,
    baselines_of,
    judge,
    model_system,
    truth_of,
)
from quintain_cli.commands.fit import best_model, say_contradictions, write_models
from quintain_cli.commands.lookup import get_candidate
from quintain_cli.commands.record import TRUTH_FILE
from quintain_cli.commands.searching import followed, unfinished
from quintain_cli.commands.system import MODEL_FILE, package_folder, read_package
from quintain_cli.commands.verify import LARGEST_SEED, run_verify
from quintain_cli.connect import Connection, Embedded
from quintain_cli.fidelity.decision import FEWEST, gain_kept
from quintain_cli.fidelity.models import calibrated, calibrated_values
from quintain_cli.fidelity.runs import System, prediction_error, score_of, values_of
from quintain_cli.files import write_file
from quintain_cli.render import errors, out, say
from quintain_cli.target import TargetCommand

WINNER_FILE = "winner.py"
DOES_NOT_HOLD = 1
WRITTEN = (MODEL_FILE, CARD_FILE, MODELS, WINNER_FILE, f"{RECORDINGS}/", COUNTEREXAMPLES)
_RECORDED = re.compile(rf"^{RECORDINGS}/.*-loop_(\d+)\.jsonl(\.gz)?$")  # the winner of a round


@dataclass(frozen=True, slots=True)
class Round:
    """What one round found. `predicted` and `true` are the objective's values of the winner in the model and in the
    truth, `baseline` that of the baseline in the truth, means over the scenarios; `error` is how far the winner's
    values are apart; `fidelity` the card's word and `holes` what the attack found; `kept` the share of the gain, if a
    search in the truth is there to compare with."""

    number: int
    model: str  # the search that found it
    policies: str  # the search in the model
    distance: float
    fidelity: str
    holes: list[str]
    predicted: float
    true: float
    baseline: float
    error: float
    kept: float | None = None


@dataclass(frozen=True, slots=True)
class _Asked:
    """The options that a round's result depends on."""

    models: int
    policies: int
    backends: tuple[str, ...]
    references: int
    attack: int
    truth_simulator: str
    truth_suite: str
    in_truth: bool
    seed: int


def add_commands(app: typer.Typer) -> None:
    app.command("loop", cls=TargetCommand)(loop)


def loop(
    ctx: typer.Context,
    folder: Annotated[str, typer.Argument(metavar="DIR", help="A system package with recordings.")],
    rounds: Annotated[int, typer.Option(min=1, max=100, help="At most so many.")] = 3,
    models: Annotated[int, typer.Option(min=1, help="Candidates of a search for a model.")] = 12,
    policies: Annotated[int, typer.Option(min=1, help="Candidates of a search for a policy in the model.")] = 100,
    tolerance: Annotated[
        float, typer.Option(min=0.0, help="The prediction holds if the winner's values are off by this share at most.")
    ] = 0.1,
    backend: Annotated[
        list[str] | None,
        typer.Option(autocompletion=completion.backends, help="Of both searches; may be repeated. Default: offline."),
    ] = None,
    references: Annotated[
        int, typer.Option(min=0, max=100, help="Policies that each model's card ranks at least; see quintain fidelity.")
    ] = FEWEST,
    attack: Annotated[
        int, typer.Option(min=0, max=10_000, help="Policies that each model is attacked with; 0: do not.")
    ] = ATTACK,
    truth_simulator: Annotated[str, typer.Option(help="Where the truth can be run; default: as recorded.")] = "",
    truth_suite: Annotated[str, typer.Option(help="Its suite with the same scenarios.")] = "",
    in_truth: Annotated[
        bool, typer.Option("--in-truth", help="Also search in the truth with the same budget: what share was kept.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Of all searches and of the attack.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines: one for each round.")] = False,
) -> None:
    """Fit a model to a package's recordings, make its fidelity card and attack it, search policies in it, run the
    winner in the truth, add its recordings, and fit again, until what the model predicted of the winner holds.

    Writes model.py, fidelity.json, counterexamples, winner.py and recordings into the package. Interrupted, or killed,
    the same command goes on where it was. Exit code 1 if the prediction does not hold in the last round."""
    chosen = tuple(backend or ["offline"])
    asked = _Asked(models, policies, chosen, references, attack, truth_simulator, truth_suite, in_truth, seed)
    _, files = read_package(folder, recordings=True)
    given = {name: content for name, content in files.items() if not name.startswith(WRITTEN)}
    checkpoint = Checkpoint(package_folder(folder), "loop", {**asdict(asked), "files": files_digest(given)})
    if checkpoint.resumed:
        errors.print("going on with a loop that was interrupted here")
    say_contradictions(files)
    first = checkpoint.once("first", lambda: _first(files))
    found: list[Round] = []
    with Connection(ctx.obj, "controller", "verifier", embedded=Embedded.RUNS) as connection:
        loop_ = _Loop(connection, checkpoint, folder, asked)
        for number in range(first, first + rounds):
            found.append(Round(**checkpoint.once(f"round {number}", partial(loop_.round, number))))
            if as_json:
                render.print_json(asdict(found[-1]))
            if found[-1].error <= tolerance:
                break
    checkpoint.remove()
    if not as_json:
        _print(found, tolerance)
    if found[-1].error > tolerance:
        raise typer.Exit(DOES_NOT_HOLD)


def _first(files: Mapping[str, bytes]) -> int:
    """The number after that of the last round whose winner was recorded in the package."""
    numbers = [int(found[1]) for file in files if (found := _RECORDED.search(file))]
    return max(numbers, default=0) + 1


class _Loop:
    """The package on disk, and the steps of each round: each is done once, however often the loop is killed."""

    def __init__(self, connection: Connection, checkpoint: Checkpoint, folder: str, asked: _Asked) -> None:
        self._connection, self._checkpoint, self._asked = connection, checkpoint, asked
        self._folder = folder

    def round(self, number: int) -> dict[str, object]:
        """A `Round`, as the checkpoint keeps it."""
        name, files = read_package(self._folder, recordings=True)
        if not self._asked.truth_suite and TRUTH_FILE not in files:
            message = "nobody said where the truth can be run; --truth-suite names a simulator's suite"
            raise InvalidArgument.of("truth_suite", message)
        model_search, source, distance = self._fit(name, files, number)
        card = self._checkpoint.once(f"card {number}", lambda: self._card(name, source))
        _, files = read_package(self._folder, recordings=True)
        model, truth = self._systems(name, files, source)
        search, winner = self._search(model, number, f"round {number}: searching policies in the model")
        write_file(package_folder(self._folder) / WINNER_FILE, winner)
        predicted = self._verify(model, winner, "the winner in the model")
        true = self._verify(truth, winner, "the winner in the truth")
        self._record(truth, winner, f"loop_{number}")
        baseline = self._verify(truth, _baseline(model), "the baseline in the truth")
        kept = None
        if self._asked.in_truth:
            best = self._checkpoint.once("best in truth", lambda: self._best_in_truth(truth))
            kept = gain_kept(score_of(baseline) or 0.0, score_of(true) or 0.0, best)
        error = prediction_error(values_of(predicted), values_of(true)) if true.status == pb.VERDICT_STATUS_OK else 1.0
        found = Round(
            number, model_search, search, distance, **card, predicted=_mean(predicted), true=_mean(true),
            baseline=_mean(baseline), error=error, kept=kept,
        )  # fmt: skip
        return asdict(found)

    def _systems(self, name: str, files: dict[str, bytes], source: str) -> tuple[System, System]:
        """The package with the model, and the truth."""
        model = model_system(name, files, source)
        truth = truth_of(files, self._asked.truth_simulator, self._asked.truth_suite, model)
        assert truth is not None
        return model, truth

    def _fit(self, name: str, files: dict[str, bytes], number: int) -> tuple[str, str, float]:
        """The search, the best model's source with its calibrated values, and its distance on train."""
        spec = controller.SearchSpec(
            simulator=FIT,
            suite=name,
            suite_files=suite_message(files),
            backends=self._asked.backends,
            budget=controller.Budget(candidates=self._asked.models),
            seed=self._asked.seed,
            title=f"loop, round {number}: a model of {name}",
        )
        step = f"model {number}"
        search = self._searched(step, spec, f"round {number}: fitting a model")
        candidate = best_model(self._connection, self._checkpoint, step, search)
        source = calibrated(candidate.source, calibrated_values(candidate.verdict))
        return search.search_id, source, 1.0 - candidate.summary.normalized

    def _card(self, name: str, source: str) -> dict[str, object]:
        """The model as the package's only one, with its card and what an attack got out of it."""
        write_models(package_folder(self._folder), [source])
        _, files = read_package(self._folder, recordings=True)
        model, truth = self._systems(name, files, source)
        self._verify(model, _baseline(model), "the baseline in the model")  # a model that fails says so here
        card, _ = judge(
            self._connection, self._folder, files, model, source, truth,
            policies={}, references=self._asked.references, attack_with=self._asked.attack, seed=self._asked.seed,
        )  # fmt: skip
        holes = card.attack.holes if card.attack is not None else ()
        return {"fidelity": card.fidelity, "holes": [hole.words for hole in holes]}

    def _search(self, where: System, number: int, label: str) -> tuple[str, str]:
        """The search's id and its winner's source; the best if none passed the gates. Number 0 is the truth's."""
        spec = controller.SearchSpec(
            simulator=where.simulator,
            suite=where.suite,
            suite_files=where.files,
            backends=self._asked.backends,
            budget=controller.Budget(candidates=self._asked.policies),
            seed=self._asked.seed,
            title=label,
        )
        search_id = self._searched(f"policies {number}", spec, label).search_id
        return search_id, get_candidate(self._connection, search_id, "best").source

    def _best_in_truth(self, truth: System) -> float:
        label = "searching policies in the truth"
        return score_of(self._verify(truth, self._search(truth, 0, label)[1], label)) or 0.0

    def _searched(self, step: str, spec: controller.SearchSpec, label: str) -> controller.Search:
        """The step's search, which is over. Raises FailedPrecondition if it did not finish; a paused one goes on when
        the loop does."""
        begun = self._checkpoint.search(self._connection, step, spec).search
        search = followed(self._connection, begun.search_id, label)
        if search.state != controller.SEARCH_STATE_FINISHED:
            raise unfinished(search, label)
        return search

    def _verify(self, where: System, source: str, label: str) -> pb.Verdict:
        return run_verify(self._connection, where.request(source), f"running {label}").verdict

    def _record(self, truth: System, source: str, policy: str) -> None:
        """The winner's recordings, scenario by scenario, beside the others."""
        files = {file.name: file.content for file in truth.files.files} if truth.files is not None else None
        _, package = read_package(self._folder)
        folder = package_folder(self._folder)
        for scenario in truth.scenarios:
            request = truth.request(source)
            del request.scenarios[:]
            request.scenarios.append(scenario)
            request.include_detail = True
            verdict = run_verify(self._connection, request, f"recording {policy} on {scenario}").verdict
            if verdict.status != pb.VERDICT_STATUS_OK:
                failure = render.failure_text(verdict.failure)
                errors.print(f"[yellow]{policy} failed in the truth on {escape(scenario)}:[/] {escape(failure)}")
                continue
            run = RecordedRun(truth.suite, files, scenario, Part.TRAIN, policy, verdict.scenarios[0].detail)
            file, content = truth.recorder.recording(package, run)
            (folder / file).parent.mkdir(exist_ok=True)
            write_file(folder / file, content)


def _mean(verdict: pb.Verdict) -> float:
    return fmean(scenario.value for scenario in verdict.scenarios)


def _baseline(model: System) -> str:
    return next(iter(baselines_of(model).values()))


def _print(found: Sequence[Round], tolerance: float) -> None:
    table = render.table(
        "round", "distance", "fidelity", "holes", "predicted", "true", "off by", "gain kept",
        numeric=("distance", "holes", "predicted", "true", "off by", "gain kept"),
    )  # fmt: skip
    for row in found:
        kept = "-" if row.kept is None else f"{row.kept:.0%}"
        numbers = (render.number(row.predicted), render.number(row.true), f"{row.error:.1%}", kept)
        table.add_row(str(row.number), f"{row.distance:.3f}", row.fidelity, str(len(row.holes)), *numbers)
    out.print(table)
    for row in found:
        for words in row.holes:
            say(escape(f"round {row.number}, attack: {words}"))
    said = "[green]holds[/]" if found[-1].error <= tolerance else "[red]does not hold[/]"
    say(f"the prediction of the winner {said}: off by {found[-1].error:.1%}, at most {tolerance:.1%}")
