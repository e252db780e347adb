"""``quintain loop``: fit a model, search in it, run the winner in the truth, record it and fit again, until the
prediction of the winner holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from quintain.clients.suite_files import suite_message
from quintain.controller.v1 import controller_pb2 as controller
from quintain.errors import InvalidArgument
from quintain.plugins.recorder import RecordedRun
from quintain.plugins.simulator import Part
from quintain.verifier.v1 import verifier_pb2 as pb
from quintain_cli import completion, render
from quintain_cli.commands.fidelity import FIT, baselines_of, model_system, truth_of
from quintain_cli.commands.lookup import get_candidate
from quintain_cli.commands.record import TRUTH_FILE
from quintain_cli.commands.searching import run_search
from quintain_cli.commands.system import MODEL_FILE, read_package
from quintain_cli.commands.verify import run_verify
from quintain_cli.connect import Connection, Embedded
from quintain_cli.fidelity.decision import gain_kept
from quintain_cli.fidelity.models import calibrated, calibrated_values
from quintain_cli.fidelity.runs import System, prediction_error, score_of, values_of
from quintain_cli.files import write_file
from quintain_cli.render import errors, out, say
from quintain_cli.target import TargetCommand

WINNER_FILE = "winner.py"
DOES_NOT_HOLD = 1


@dataclass(frozen=True, slots=True)
class Round:
    """What one round found. Scores are means of normalised values over the scenarios; `error` is how far the winner's
    values in the truth were from those that the model predicted; `kept` the share of the true gain, if a search in the
    truth is there to compare with."""

    number: int
    model: str  # the search that found it
    policies: str  # the search in the model
    distance: float
    predicted: float
    true: float
    baseline: float
    error: float
    kept: float | None = None


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
    truth_simulator: Annotated[str, typer.Option(help="Where the truth can be run; default: as recorded.")] = "",
    truth_suite: Annotated[str, typer.Option(help="Its suite with the same scenarios.")] = "",
    in_truth: Annotated[
        bool, typer.Option("--in-truth", help="Also search in the truth with the same budget: what share was kept.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of all searches.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines: one for each round.")] = False,
) -> None:
    """Fit a model to a package's recordings, search policies in it, run the winner in the truth, add its recordings,
    and fit again, until what the model predicted of the winner holds. Writes model.py, winner.py and the recordings
    into the package. Exit code 1 if the prediction does not hold in the last round."""
    found: list[Round] = []
    with Connection(ctx.obj, "controller", "verifier", embedded=Embedded.RUNS) as connection:
        loop_ = _Loop(connection, folder, backend or ["offline"], seed, truth_simulator, truth_suite)
        for number in range(1, rounds + 1):
            found.append(loop_.round(number, models, policies, in_truth=in_truth))
            if as_json:
                render.print_json(asdict(found[-1]))
            if found[-1].error <= tolerance:
                break
    if not as_json:
        _print(found, tolerance)
    if found[-1].error > tolerance:
        raise typer.Exit(DOES_NOT_HOLD)


class _Loop:
    """The package on disk, and the searches of each round."""

    def __init__(
        self, connection: Connection, folder: str, backends: Sequence[str], seed: int, truth_simulator: str, suite: str
    ) -> None:
        self._connection, self._folder, self._backends, self._seed = connection, folder, backends, seed
        self._truth_simulator, self._truth_suite = truth_simulator, suite
        self._best_in_truth: float | None = None

    def round(self, number: int, models: int, policies: int, *, in_truth: bool) -> Round:
        name, files = read_package(self._folder, recordings=True)
        if not self._truth_suite and TRUTH_FILE not in files:
            message = "nobody said where the truth can be run; --truth-suite names a simulator's suite"
            raise InvalidArgument.of("truth_suite", message)
        model_search, source, distance = self._fit(name, files, models, number)
        model = model_system(name, files, source)
        truth = truth_of(files, self._truth_simulator, self._truth_suite, model)
        assert truth is not None
        baseline_policy = next(iter(baselines_of(model).values()))
        self._verify(model, baseline_policy, "the baseline in the model")  # a model that fails says so here
        search, winner = self._search(model, policies, f"round {number}: searching policies in the model")
        write_file(Path(self._folder) / WINNER_FILE, winner)
        predicted = self._verify(model, winner, "the winner in the model")
        true = self._verify(truth, winner, "the winner in the truth")
        self._record(truth, winner, f"loop_{number}")
        scores = [score_of(verdict) or 0.0 for verdict in (predicted, true)]
        baseline = score_of(self._verify(truth, baseline_policy, "the baseline in the truth")) or 0.0
        kept = None
        if in_truth:
            if self._best_in_truth is None:
                label = "searching policies in the truth"
                self._best_in_truth = (
                    score_of(self._verify(truth, self._search(truth, policies, label)[1], label)) or 0.0
                )
            kept = gain_kept(baseline, scores[1], self._best_in_truth)
        error = prediction_error(values_of(predicted), values_of(true)) if true.status == pb.VERDICT_STATUS_OK else 1.0
        return Round(number, model_search, search, distance, scores[0], scores[1], baseline, error, kept)

    def _fit(self, name: str, files: dict[str, bytes], models: int, number: int) -> tuple[str, str, float]:
        """The search, the best model's source with its calibrated values, and its distance on train."""
        spec = controller.SearchSpec(
            simulator=FIT,
            suite=name,
            suite_files=suite_message(files),
            backends=self._backends,
            budget=controller.Budget(candidates=models),
            seed=self._seed,
            title=f"loop, round {number}: a model of {name}",
        )
        search_id = run_search(self._connection, spec, f"round {number}: fitting a model")
        candidate = get_candidate(self._connection, search_id, "best")
        source = calibrated(candidate.source, calibrated_values(candidate.verdict))
        write_file(Path(self._folder) / MODEL_FILE, source)
        return search_id, source, 1.0 - candidate.summary.normalized

    def _search(self, where: System, policies: int, label: str) -> tuple[str, str]:
        """The search's id and its winner's source; the best if none passed the gates."""
        spec = controller.SearchSpec(
            simulator=where.simulator,
            suite=where.suite,
            suite_files=where.files,
            backends=self._backends,
            budget=controller.Budget(candidates=policies),
            seed=self._seed,
            title=label,
        )
        search_id = run_search(self._connection, spec, label)
        return search_id, get_candidate(self._connection, search_id, "best").source

    def _verify(self, where: System, source: str, label: str) -> pb.Verdict:
        return run_verify(self._connection, where.request(source), f"running {label}").verdict

    def _record(self, truth: System, source: str, policy: str) -> None:
        """The winner's recordings, scenario by scenario, beside the others."""
        files = {file.name: file.content for file in truth.files.files} if truth.files is not None else None
        _, package = read_package(self._folder)
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
            path = Path(self._folder) / file
            path.parent.mkdir(exist_ok=True)
            write_file(path, content)


def _print(found: Sequence[Round], tolerance: float) -> None:
    table = render.table(
        "round", "distance", "predicted", "true", "off by", "gain kept",
        numeric=("distance", "predicted", "true", "off by", "gain kept"),
    )  # fmt: skip
    for row in found:
        kept = "-" if row.kept is None else f"{row.kept:.0%}"
        numbers = (f"{row.distance:.3f}", f"{row.predicted:.4f}", f"{row.true:.4f}", f"{row.error:.1%}", kept)
        table.add_row(str(row.number), *numbers)
    out.print(table)
    said = "[green]holds[/]" if found[-1].error <= tolerance else "[red]does not hold[/]"
    say(f"the prediction of the winner {said}: off by {found[-1].error:.1%}, at most {tolerance:.1%}")
