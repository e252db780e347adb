"""Prints the fault table, measured now: ``python -m benchmarks.faults [wire ...]``."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from tests.fault_server.table import EXPECTED, expected, measure
from tests.support.generator import WIRES

from quintain.service.logs import configure_logging


def main(wires: list[str]) -> int:
    configure_logging("generator", level="ERROR")
    wrong = 0
    for wire in wires or list(WIRES):
        with tempfile.TemporaryDirectory() as folder:
            rows = asyncio.run(measure(Path(folder), wire, EXPECTED))
        print(f"\n{wire}\n{'fault':<30} {'outcome':<24} {'last call':<15} {'calls':>5}  charged")
        for fault, row in rows.items():
            note = "" if row == expected(wire)[fault] else f"   EXPECTED {expected(wire)[fault]}"
            wrong += bool(note)
            print(f"{fault:<30} {row.outcome:<24} {row.last:<15} {row.calls:>5}  {row.money}{note}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
