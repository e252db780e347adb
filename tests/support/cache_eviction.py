"""The cache example, served by `quintain-simulator` as somebody's own simulator would be."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.served import served

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
    environment = {**os.environ, "PYTHONPATH": f"{folder}:{EXAMPLE}"}
    with served("cache_eviction", folder, listen=listen, environment=environment) as found:
        yield found
