"""The entry point ``quintain``: puts the commands together and turns every error into one clear line."""

from __future__ import annotations

import signal
import sys
from types import FrameType

import typer

from quintain.errors import QuintainError
from quintain.plugins.simulator import InvalidInput, SimulatorFault
from quintain.service.settings import ConfigError
from quintain_cli import render
from quintain_cli.commands import (
    ablate,
    best,
    catalog,
    check,
    compare,
    local,
    manage,
    replay,
    report,
    search,
    simulate,
    verify,
)

WRONG = 2
INTERRUPTED = 130

app = typer.Typer(
    name="quintain",
    help="Designs policies for distributed systems: generate, verify in a sandbox, learn from the verdict.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (search, verify, simulate, manage, best, report, compare, ablate, replay, catalog, check, local):
    module.add_commands(app)


def main() -> None:
    """Run the command line. Exit codes: 0 fine, 1 the policy or search failed, 2 wrong use or an rpc error, 130
    interrupted."""
    signal.signal(signal.SIGTERM, _terminated)
    render.show_retries()
    try:
        app()
    except QuintainError as error:
        _fail(error)
    except (InvalidInput, ConfigError) as error:
        _fail(QuintainError(str(error)))
    except SimulatorFault as error:
        _fail(QuintainError(f"the simulator failed: {error}"))
    except KeyboardInterrupt:
        render.errors.print("interrupted")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # the reader of our output went away (`quintain ... | head`)
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:  # a file that cannot be read or written
        _fail(QuintainError(f"{error.filename}: {error.strerror}" if error.filename else str(error)))


def _terminated(_signum: int, _frame: FrameType | None) -> None:
    """SIGTERM ends a command the way Ctrl-C does: searches are paused, services stopped."""
    raise KeyboardInterrupt


def _fail(error: QuintainError) -> None:
    render.print_error(error)
    if "--verbose" in sys.argv:
        render.errors.print_exception()
    sys.exit(WRONG)


if __name__ == "__main__":
    main()
