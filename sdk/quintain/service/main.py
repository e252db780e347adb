"""The way into every service: signals first, then the imports; one help style, one set of exit codes.

This module imports only what takes no time, and so must the module with a service's `main`: until the handlers of `run`
are in place, a SIGTERM is lost for a process 1 (the kernel ignores what a process 1 does not handle). The interpreter's
own start comes before that: images start it with SIGTERM blocked (`env --block-signal`), so that the signal waits.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse

    from quintain.service.server import Service
    from quintain.service.settings import ServerSettings

STOPPED = 0  # by SIGTERM or SIGINT, at any moment of its life
FAILED = 1  # it could not start (a port, a store), or it crashed
WRONG_CONFIGURATION = 2  # or a wrong command line

_STOPPING = (signal.SIGTERM, signal.SIGINT)


def config_option(parser: argparse.ArgumentParser, name: str) -> None:
    """What services with a configuration file take."""
    variables = f"QUINTAIN_{name.upper()}__..."
    parser.add_argument("--config", metavar="FILE", help=f"TOML file; the environment ({variables}) overrides it")


def run(
    name: str,
    description: str,
    wire: Callable[[Any], tuple[Service, ServerSettings]],
    arguments: Sequence[str] | None = None,
    add_options: Callable[[argparse.ArgumentParser, str], None] = config_option,
) -> int:
    """Serve until SIGTERM or SIGINT, drain, and return the exit code; an ended service does not return, so that no
    thread (an engine, a dead connection) can keep the process.

    `wire` takes the parsed options, imports what is heavy, and makes the service. It raises ConfigError for what a
    person must correct in the configuration, StartError and OSError for what the machine lacks.
    """
    for number in _STOPPING:
        signal.signal(number, lambda number, _frame: _end_at_once(name, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)

    import argparse
    import gc
    import traceback

    gc.disable()  # a tenth of the time of imports would go into looking for cycles

    program = f"quintain-{name}"
    parser = argparse.ArgumentParser(prog=program, description=description)
    add_options(parser, name)
    options = parser.parse_args(arguments)

    from quintain.extras import install_hint
    from quintain.service.settings import ConfigError, StartError

    try:
        service, settings = wire(options)

        from quintain.service.server import run_service

        gc.enable()
        run_service(service, settings)
    except ConfigError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return WRONG_CONFIGURATION
    except (StartError, OSError) as error:
        print(f"{program}: {error}", file=sys.stderr)
        _exit(FAILED)  # a thread may still be waiting for what could not be reached
    except Exception as error:  # noqa: BLE001 - the end of the process
        hint = install_hint(error.name) if isinstance(error, ModuleNotFoundError) else ""
        if hint:
            print(f"{program}: {hint}", file=sys.stderr)
            _exit(WRONG_CONFIGURATION)  # it asks for what is not installed
        traceback.print_exc()
        _exit(FAILED)
    _exit(STOPPED)
    return STOPPED


def _end_at_once(name: str, number: int) -> None:
    """Before it serves, a service has nothing to drain."""
    os.write(2, f"quintain-{name}: stopped by {signal.Signals(number).name} before it served\n".encode())
    os._exit(STOPPED)


def _exit(code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
