"""How large the installs are: ``python -m benchmarks.install`` makes a new environment for each (from a package index).

Megabytes (10^6 bytes on disk) of site-packages; the environments have no pip of their own.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
EXTRAS = ["", "[viz]", "[llm]", "[mcp]", "[postgres]", "[tracing]", "[all]", "[dev]"]


def main() -> None:
    uv = str(Path(sys.executable).with_name("uv"))
    for extra in EXTRAS:
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder], check=True)
            install = [uv, "pip", "install", "--quiet", "--python", f"{folder}/bin/python", "--link-mode", "copy"]
            subprocess.run([*install, f"{CHECKOUT}{extra}"], check=True)
            (packages,) = Path(folder).glob("lib/python3*/site-packages")
            size = sum(path.stat().st_blocks * 512 for path in packages.rglob("*") if path.is_file())
            print(
                f"quintain{extra:<11} {size / 1e6:>6.0f} MB   {len(list(packages.glob('*.dist-info')))} distributions"
            )


if __name__ == "__main__":
    main()
