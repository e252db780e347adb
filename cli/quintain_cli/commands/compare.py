"""``quintain compare``: two policies on one suite, scenario by scenario, with paired bootstrap intervals."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from quintain.clients.suite_files import read_suite, suite_message
from quintain.errors import InvalidArgument
from quintain.plugins.naming import near
from quintain.statistics import FEWEST_PAIRS, Interval, paired_bootstrap
from quintain.type.v1 import type_pb2
from quintain.verifier.v1 import verifier_pb2 as pb
from quintain_cli import completion, render
from quintain_cli.commands.verify import LARGEST_SEED, POLICY_FAILED, read_policy, run_verify
from quintain_cli.connect import Connection
from quintain_cli.render import out, say
from quintain_cli.target import TargetCommand


def add_commands(app: typer.Typer) -> None:
    app.command("compare", cls=TargetCommand)(compare)


@dataclass(frozen=True, slots=True)
class Difference:
    """B minus A in normalized value over the scenarios of one part, with its 95 % interval."""

    part: str
    interval: Interval


def conclusion(interval: Interval, first: str, second: str) -> str:
    """What an interval of second minus first lets one say."""
    if interval.low == interval.high == 0.0:
        return f"{first} and {second} are equal everywhere"
    if interval.count < FEWEST_PAIRS:
        return f"too few pairs ({interval.count}) to conclude"
    if interval.low > 0:
        return f"{second} is better"
    if interval.high < 0:
        return f"{first} is better"
    return "no real difference"


def compare(
    ctx: typer.Context,
    a: Annotated[str, typer.Argument(help="Policy file, or the name of a baseline.")],
    b: Annotated[str, typer.Argument(help="Policy file, or the name of a baseline.")],
    suite: Annotated[str, typer.Option(autocompletion=completion.suites, help=completion.SUITE_HELP)],
    simulator: Annotated[str, typer.Option(autocompletion=completion.simulators, help="The simulator.")] = "faas",
    objective: Annotated[str, typer.Option(help="Empty: the suite's own.")] = "",
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Of the policies' random and the bootstrap.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Compare two policies on every scenario of a suite. Exit code 1 if one of them failed."""
    suite_name, suite_files = read_suite(suite, simulator=simulator)
    of_suite = pb.GetSuiteRequest(simulator=simulator, suite=suite_name, suite_files=suite_message(suite_files))
    with Connection(ctx.obj, "verifier") as connection:
        verdicts = []
        for name in (a, b):
            source = policy_or_baseline(connection, of_suite, name)
            request = pb.VerifyRequest(
                simulator=simulator,
                policy=type_pb2.Policy(source=source),
                suite=suite_name,
                suite_files=of_suite.suite_files if suite_files is not None else None,
                objective=objective,
                seed=seed,
            )
            verdicts.append(run_verify(connection, request, f"verifying {name}").verdict)
    found = differences(verdicts[0], verdicts[1], seed)
    names = short_names(a, b)
    if as_json:
        render.print_json(
            {
                "a": verdicts[0].digest,
                "b": verdicts[1].digest,
                "names": {"a": a, "b": b},
                "differences": [
                    {"part": d.part, **asdict(d.interval), "conclusion": conclusion(d.interval, "A", "B")}
                    for d in found
                ],
            }
        )
    else:
        _print(verdicts[0], verdicts[1], found, names)
    if any(verdict.status != pb.VERDICT_STATUS_OK for verdict in verdicts):
        raise typer.Exit(POLICY_FAILED)


def policy_or_baseline(connection: Connection, suite: pb.GetSuiteRequest, name: str) -> str:
    """The source of a policy file, or of the baseline of that name."""
    if Path(name).exists():
        return read_policy(Path(name))
    described = connection.verifier.get_suite(suite).simulator
    sources = {baseline.name: baseline.source for baseline in described.baselines}
    if name not in sources:
        raise InvalidArgument.of(
            "policy",
            f"{name!r} is neither a file nor a baseline{near(name, sources)}; baselines are: {', '.join(sources)}",
        )
    return sources[name]


def differences(a: pb.Verdict, b: pb.Verdict, seed: int) -> list[Difference]:
    """B minus A for each part that has scenarios, and over all."""
    pairs = list(zip(a.scenarios, b.scenarios, strict=True))
    found = []
    for name, part in (("train", type_pb2.PART_TRAIN), ("held-out", type_pb2.PART_HELD_OUT), ("all", None)):
        values = [y.normalized - x.normalized for x, y in pairs if part is None or x.part == part]
        if values:
            found.append(Difference(name, paired_bootstrap(values, seed)))
    return found


def short_names(a: str, b: str) -> tuple[str, str]:
    """What the two are called in the table: the file's name where that tells them apart, else all of it."""
    first, second = Path(a).name, Path(b).name
    return (first, second) if first != second else (a, b) if a != b else (f"{a} (A)", f"{b} (B)")


def _print(a: pb.Verdict, b: pb.Verdict, found: list[Difference], names: tuple[str, str]) -> None:
    first, second = (escape(name) for name in names)
    numeric = (first, second, "difference\n(normalized)")
    rows = render.table("scenario", "part", *numeric, "", numeric=numeric)
    for x, y in zip(a.scenarios, b.scenarios, strict=True):
        failed = [
            f"{name} {render.failure_text(s.failure)}"
            for name, s in zip(names, (x, y), strict=True)
            if s.HasField("failure")
        ]
        rows.add_row(
            escape(x.scenario),
            render.enum_name(type_pb2.Part, x.part).replace(" ", "-"),
            render.number(x.value),
            render.number(y.value),
            f"{y.normalized - x.normalized:+.4f}",
            f"[red]{escape('; '.join(failed))}[/]" if failed else "",
        )
    out.print(rows)
    render.say_fidelity(a)
    for difference in found:
        say(
            escape(
                f"{difference.part}: {names[1]} - {names[0]} {difference.interval} over "
                f"{difference.interval.count} scenarios: {conclusion(difference.interval, *names)}"
            )
        )
