"""The entry point ``quintain``: finds the command and turns every error into one clear line."""

from __future__ import annotations

import gc
import signal
import sys
from types import FrameType
from typing import Annotated

import typer

import quintain
from quintain.errors import QuintainError
from quintain_cli.command_table import CommandGroup

WRONG = 2
INTERRUPTED = 130

app = typer.Typer(
    name="quintain",
    cls=CommandGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        print(f"quintain {quintain.__version__}")
        raise typer.Exit


@app.callback()
def quintain_command(
    _version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which.")] = False,
) -> None:
    """Designs policies for distributed systems: generate, verify in a sandbox, learn from the verdict."""


def main() -> None:
    """Run the command line. Exit codes: 0 fine, 1 the policy or search failed, 2 wrong use or an rpc error, 130
    interrupted."""
    signal.signal(signal.SIGTERM, _terminated)
    gc.set_threshold(100_000, 20, 20)  # by default a tenth of the time of imports goes into looking for cycles
    try:
        app()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # the reader of our output went away (`quintain ... | head`)
        sys.stderr.close()
        sys.exit(1)
    except Exception as error:
        told = _in_one_line(error)
        if told is None:
            raise
        _fail(told)


def _in_one_line(error: Exception) -> QuintainError | None:
    """What a person is told of an error that they or the machine made; None for a mistake of ours."""
    # Only once there is an error: `quintain --help` pays for no import that it does not need.
    from quintain.plugins.simulator import InvalidInput, SimulatorFault

    match error:
        case QuintainError():
            return error
        case InvalidInput():
            return QuintainError(str(error))
        case SimulatorFault():
            return QuintainError(f"the simulator failed: {error}")
        case OSError():  # a file that cannot be read or written
            return QuintainError(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    return None


def _terminated(_signum: int, _frame: FrameType | None) -> None:
    """SIGTERM ends a command the way Ctrl-C does: searches are paused, services stopped."""
    raise KeyboardInterrupt


def _fail(error: QuintainError) -> None:
    from quintain_cli import render

    render.print_error(error)
    if "--verbose" in sys.argv:
        render.errors.print_exception()
    sys.exit(WRONG)


if __name__ == "__main__":
    main()
