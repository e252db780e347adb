"""``quintain init``: a folder for a project of one's own, with something in it that runs."""

from __future__ import annotations

import shlex
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from quintain.errors import FailedPrecondition, InvalidArgument
from quintain.plugins.doors import SIMULATORS
from quintain.plugins.loading import PluginError
from quintain_cli import completion
from quintain_cli.files import write_file
from quintain_cli.render import out
from quintain_cli.stack.paths import PROJECT_FOLDER

CONFIGURATIONS = ("generator.toml", "verifier.toml", "controller.toml")


def add_commands(app: typer.Typer) -> None:
    app.command("init")(init)


def init(
    folder: Annotated[Path, typer.Argument(help="The project's folder; it may exist.")] = Path("."),
    simulator: Annotated[
        str,
        typer.Option(
            autocompletion=completion.simulators, help="An installed simulator; its baseline is the first policy."
        ),
    ] = "faas",
) -> None:
    """Make a project folder: a policy to begin with, configuration files that explain every backend, and a data folder
    of its own. Nothing that exists is overwritten."""
    try:
        description = SIMULATORS.load(simulator).describe()
    except PluginError as error:
        raise InvalidArgument.of("simulator", str(error)) from error
    project = {
        "policy.py": description.baselines[0].source,
        **{f"config/{name}": template(name) for name in CONFIGURATIONS},
        f"{PROJECT_FOLDER}/.gitignore": template("gitignore"),
    }
    existing = [name for name in project if (folder / name).exists()]
    if existing:
        raise FailedPrecondition(f"{folder / existing[0]} exists already; choose another folder, or move it away")
    for name, text in project.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, text, force=False)
        out.print(f"wrote {escape(str(path))}")
    suite = "smoke" if "smoke" in description.suites else next(iter(description.suites), "SUITE")
    out.print("next:")
    if folder != Path("."):
        out.print(f"  cd {escape(shlex.quote(str(folder)))}")
    out.print(f"  quintain verify policy.py --simulator {simulator} --suite {suite}")
    out.print("  export QUINTAIN_CONFIG=$PWD/config    # after you have chosen a backend in config/generator.toml")
    out.print(f"  quintain search --simulator {simulator} --suite {suite} --start policy.py --candidates 50")


def template(name: str) -> str:
    return (files("quintain_cli") / "templates/project" / name).read_text(encoding="utf-8")
