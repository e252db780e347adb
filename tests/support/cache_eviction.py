"""The cache example, served by `quintain-simulator` as somebody's own simulator would be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.processes import until

EXAMPLE = Path(__file__).parents[2] / "examples/simulators/cache_eviction"


@contextmanager
def served_cache(folder: Path, listen: str = "127.0.0.1:0") -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Its address and its process."""
    installed = folder / "quintain_cache_eviction-0.1.dist-info"  # as pip would, without installing it
    installed.mkdir(exist_ok=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: quintain-cache-eviction\nVersion: 0.1\n")
    (installed / "entry_points.txt").write_text(
        "[quintain.simulators]\ncache_eviction = cache_eviction.plugin:simulator\n"
    )
    file = folder / "cache.json"
    file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "quintain.service.simulator_main", "--name", "cache_eviction", "--listen", listen]
    process = subprocess.Popen(
        [*command, "--address-file", str(file)], env={**os.environ, "PYTHONPATH": f"{folder}:{EXAMPLE}"}
    )
    try:
        until(lambda: file.exists() or process.poll() is not None)
        yield json.loads(file.read_text())["address"], process
    finally:
        process.terminate()
        process.wait(30)
