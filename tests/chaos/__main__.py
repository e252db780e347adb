"""``python -m tests.chaos``: searches on real services that are killed, stopped, starved and cut off at random moments.

    python -m tests.chaos --disturbances 300 --store postgresql --seed 7

Ends with what the independent checker found; exit code 1 if anything is wrong. The folder is kept then.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

from tests.chaos.run import Report, chaos
from tests.support.postgres import new_database, start_server


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.chaos", description=__doc__)
    parser.add_argument("--disturbances", type=int, default=40, help="how many, in all")
    parser.add_argument("--seed", type=int, default=1, help="what is done, and when, follows from it")
    parser.add_argument(
        "--store", choices=["sqlite", "postgresql"], default="sqlite", help="postgresql: two controllers"
    )
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="quintain-chaos-"))
    server = None
    url = ""
    try:
        if arguments.store == "postgresql":
            server = start_server(folder / "postgres")
            url = new_database(server)
        report = asyncio.run(chaos(folder / "stack", url, arguments.disturbances, arguments.seed))
    finally:
        if server is not None:
            server.cleanup()
    _print(report, arguments.store)
    if report.complaints:
        sys.exit(f"{len(report.complaints)} complaints; stores and logs are in {folder}")
    shutil.rmtree(folder)


def _print(report: Report, store: str) -> None:
    print(f"{store}: {sum(report.disturbances.values())} disturbances in {report.seconds:.0f} s")
    for name, count in sorted(report.disturbances.items()):
        print(f"  {name.replace('_', ' '):28} {count}")
    for name, count in report.counts.items():
        print(f"{name}: {count}")
    for complaint in report.complaints:
        print(f"WRONG: {complaint}")
    print("nothing is wrong" if not report.complaints else "")


if __name__ == "__main__":
    main()
