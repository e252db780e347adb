"""A simulator in a process of its own, as ``quintain-simulator`` serves it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.support.processes import until


@contextmanager
def served(
    name: str,
    folder: Path,
    *options: str,
    listen: str = "127.0.0.1:0",
    environment: Mapping[str, str] | None = None,
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Its address, which is said in `folder`, and its process."""
    file = folder / "simulator.json"
    file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "quintain.service.simulator_main", "--name", name, "--listen", listen]
    process = subprocess.Popen([*command, "--address-file", str(file), *options], env=environment)
    try:
        until(lambda: file.exists() or process.poll() is not None)
        yield json.loads(file.read_text())["address"], process
    finally:
        process.terminate()
        process.wait(30)
