"""The table of commands: what each is for, and the module that is imported when it is run or explained."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

SEARCH = "Search for a policy"
RESULTS = "Look at what came of it"
POLICIES = "Try policies"
INSTALLED = "What there is to work with"
MACHINE = "This machine"


@dataclass(frozen=True, slots=True)
class Entry:
    """A command: the module of `quintain_cli.commands` whose `add_commands` registers it, its panel, what it does in
    one line, and an example of its use."""

    module: str
    panel: str
    summary: str
    example: str


COMMANDS = {
    "search": Entry("search", SEARCH, "Search for a better policy.", "quintain search --suite smoke --candidates 20"),
    "watch": Entry("search", SEARCH, "Follow a search that runs.", "quintain watch SEARCH"),
    "pause": Entry("manage", SEARCH, "Pause a running search.", "quintain pause SEARCH"),
    "resume": Entry("manage", SEARCH, "Let a paused search go on.", "quintain resume SEARCH"),
    "extend": Entry("manage", SEARCH, "Raise bounds of a search's budget.", "quintain extend SEARCH --candidates 300"),
    "fork": Entry("manage", SEARCH, "Begin a new search with a candidate of another.", "quintain fork SEARCH 42"),
    "edit": Entry("manage", SEARCH, "Rename, tag or annotate a search.", "quintain edit SEARCH --tag nightly"),
    "cancel": Entry("manage", SEARCH, "Stop a search for good.", "quintain cancel SEARCH"),
    "fit": Entry("fit", SEARCH, "Search for a model of a recorded system.", "quintain fit my-system --candidates 20"),
    "ablate": Entry(
        "ablate",
        SEARCH,
        "Compare strategies or backends at equal budgets.",
        "quintain ablate --strategy evolve --strategy chain --candidates 50",
    ),
    "searches": Entry("manage", RESULTS, "List searches.", "quintain searches --state finished --sort spent"),
    "compare-searches": Entry(
        "compare_searches", RESULTS, "Compare searches in one table.", "quintain compare-searches SEARCH SEARCH"
    ),
    "show": Entry("manage", RESULTS, "Show a search, or one of its candidates.", "quintain show SEARCH --candidates"),
    "prompt": Entry("manage", RESULTS, "Show what was sent for a candidate.", "quintain prompt SEARCH 42"),
    "best": Entry("best", RESULTS, "Write the best policy of a search.", "quintain best SEARCH --out best-policy.py"),
    "report": Entry("report", RESULTS, "Write a search's report as HTML.", "quintain report SEARCH --out report.html"),
    "export": Entry("export", RESULTS, "Write candidates as a table.", "quintain export SEARCH --format csv"),
    "notebook": Entry("notebook", RESULTS, "Show what a search has learnt.", "quintain notebook SEARCH --out n.json"),
    "archive": Entry(
        "archive",
        RESULTS,
        "Write a search as one file for a colleague.",
        "quintain archive SEARCH --out a.quintain",
    ),
    "restore": Entry("archive", RESULTS, "Restore a search from its file.", "quintain restore a.quintain"),
    "replay": Entry("replay", RESULTS, "Run a recorded search again and compare.", "quintain replay SEARCH"),
    "delete": Entry("manage", RESULTS, "Delete a search that has ended.", "quintain delete SEARCH"),
    "verify": Entry("verify", POLICIES, "Verify a policy in the sandbox.", "quintain verify policy.py --suite smoke"),
    "compare": Entry("compare", POLICIES, "Compare two policies.", "quintain compare mine.py naive --suite standard"),
    "simulate": Entry(
        "simulate",
        POLICIES,
        "Run a policy that you trust, without a sandbox.",
        "quintain simulate policy.py --scenario smoke_steady",
    ),
    "simulators": Entry("catalog", INSTALLED, "List the simulators.", "quintain simulators"),
    "suites": Entry("catalog", INSTALLED, "List suites and their scenarios.", "quintain suites faas"),
    "backends": Entry("catalog", INSTALLED, "List backends, and whether they can be used.", "quintain backends"),
    "strategies": Entry("catalog", INSTALLED, "List strategies.", "quintain strategies --json"),
    "check-simulator": Entry(
        "check", INSTALLED, "Check that a simulator keeps its contract.", "quintain check-simulator localhost:7400"
    ),
    "check-backend": Entry(
        "check", INSTALLED, "Check that a backend keeps its contract.", "quintain check-backend offline"
    ),
    "check-strategy": Entry(
        "check", INSTALLED, "Check that a strategy keeps its contract.", "quintain check-strategy evolve"
    ),
    "system": Entry("system", POLICIES, "Make, check and run a system of your own.", "quintain system new my-system"),
    "suite": Entry("suite", POLICIES, "Make, check and split a suite of your own.", "quintain suite new my-suite"),
    "trace": Entry(
        "trace", POLICIES, "Make a trace from a recorded log.", "quintain trace import log.csv --map map.toml"
    ),
    "record": Entry(
        "record", POLICIES, "Record runs as a real system would log them.", "quintain record --suite tenants --out DIR"
    ),
    "fidelity": Entry(
        "fidelity",
        POLICIES,
        "Say how far a fitted model can be trusted.",
        "quintain fidelity my-system --html card.html",
    ),
    "loop": Entry(
        "loop", SEARCH, "Fit, search in the model, run the winner in the truth, again.", "quintain loop my-system"
    ),
    "init": Entry("init", MACHINE, "Make a project folder.", "quintain init my-scheduler"),
    "mcp": Entry("mcp", MACHINE, "Serve tools to a coding agent.", "quintain mcp --config agent.toml"),
    "up": Entry("local", MACHINE, "Start the local stack.", "quintain up --base-port 7070"),
    "down": Entry("local", MACHINE, "Stop the local stack.", "quintain down"),
}


class CommandGroup(TyperGroup):
    """The commands of the table. Listing them imports none, so that help and completion answer at once."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {name: TyperCommand(name, help=entry.summary) for name, entry in COMMANDS.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The whole of a command that is run, or asked for its help."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, name and load_command(name), rest

    def format_commands(self, _ctx: Any, formatter: Any) -> None:
        """By task, with an example each. Without rich, whose import alone would double the time of ``--help``."""
        for panel in dict.fromkeys(entry.panel for entry in COMMANDS.values()):
            with formatter.section(panel):
                for name, entry in COMMANDS.items():
                    if entry.panel == panel:
                        formatter.write(f"  {name:<16} {entry.summary}\n      {entry.example}\n")


def load_command(name: str) -> Any:
    """A command with its parameters, as typer makes it of the function in its module."""
    entry = COMMANDS[name]
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    import_module(f"quintain_cli.commands.{entry.module}").add_commands(app)
    command = typer.main.get_group(app).commands[name]
    command.epilog = f"Example: {entry.example}"
    return command
