"""The command line, killed with SIGKILL at a moment that is counted, not timed.

    python -m tests.support.killed_command N quintain's arguments

The moments are those after which something else is left behind: before and after each file that appears in its place,
and after each search that was created. N of them go by; at the next one the process is killed. Without a next one it
ends as the command does.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from quintain.clients.controller import Controller
from quintain_cli.app import main

left = int(sys.argv.pop(1))


def moment() -> None:
    global left  # one process, one count
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1


replace, create_search = os.replace, Controller.create_search


def counted_replace(*arguments: Any, **options: Any) -> None:
    moment()
    replace(*arguments, **options)
    moment()


def counted_create(self: Controller, *arguments: Any, **options: Any) -> Any:
    created = create_search(self, *arguments, **options)
    moment()
    return created


if __name__ == "__main__":
    os.replace = counted_replace  # type: ignore[assignment]
    Controller.create_search = counted_create  # type: ignore[method-assign]
    main()
