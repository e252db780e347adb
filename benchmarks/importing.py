"""A long log as a recording: ``quintain system import`` of millions of lines, its time and its memory.

    .venv/bin/python -m benchmarks.importing [--lines 10000000]

Writes a packed CSV log of a load balancer (a line when a request comes, is started and is finished; some of a kind that
the map does not name; one gap; ids that are there twice) into a temporary folder, imports it in a process of its own as
the command does, and prints what is said of it, the processor time and the peak memory.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import multiprocessing
import random
import resource
import tempfile
import time
from importlib import resources
from pathlib import Path
from typing import IO, cast

from quintain.plugins.package_files import package_files
from quintain_cli.traces.files import read_table
from quintain_system.recorder import recorder

MAP = b"""
policy = "round_robin"
config = { servers = 4 }
[[rows]]
input = "request"
time = "at"
when = { column = "what", is = ["arrive"] }
fields = { id = "id", size = { value = "small" } }
[[rows]]
event = "started"
time = "at"
when = { column = "what", is = ["start"] }
fields = { request = "id", server = "server" }
[[rows]]
event = "finished"
time = "at"
when = { column = "what", is = ["finish"] }
fields = { request = "id", server = "server" }
"""
GAP_SECONDS = 100_000.0
EVERY = 100_000  # requests: one whose id was there before, and a line of no kind


def write_log(path: Path, lines: int) -> None:
    chance, now = random.Random(1), 0.0
    with gzip.open(path, "wt", encoding="utf-8", newline="", compresslevel=1) as file:
        rows = csv.writer(file)
        rows.writerow(["at", "what", "id", "server"])
        for number in range(lines // 3):
            now += chance.expovariate(100.0) + (GAP_SECONDS if number == lines // 6 else 0.0)
            request = number - 1 if number % EVERY == EVERY - 1 else number
            server = number % 4
            for what, at in (("arrive", now), ("start", now), ("finish", now + 0.001)):
                rows.writerow([f"{at:.6f}", what, request, server])
            if number % EVERY == 0:
                rows.writerow([f"{now:.6f}", "heartbeat", "", server])


def imported(log: Path, out: Path) -> None:
    package = package_files(resources.files("quintain_system") / "recorded" / "load_balancer")
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    with gzip.open(out, "wb", compresslevel=6) as packed:
        file = cast(IO[bytes], packed)
        report = recorder.import_log(package, "long", MAP, read_table(log), file, 0.0, float("inf"))
    used, seconds = resource.getrusage(resource.RUSAGE_SELF), time.monotonic() - began
    cpu = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    for words in (*report.said, *report.contradictions, *report.notes):
        print(f"  {words}")
    print(f"{seconds:.0f} s by the clock, {cpu:.0f} s of processor time, peak memory {used.ru_maxrss >> 10} MiB")
    print(f"of a log of {log.stat().st_size >> 20} MiB, a recording of {out.stat().st_size >> 20} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=10_000_000)
    lines = parser.parse_args().lines
    with tempfile.TemporaryDirectory(prefix="quintain-importing-") as folder:
        log, out = Path(folder) / "log.csv.gz", Path(folder) / "recording.jsonl.gz"
        write_log(log, lines)
        print(f"{lines} lines:")
        process = multiprocessing.get_context("spawn").Process(target=imported, args=(log, out))
        process.start()
        process.join()
        if process.exitcode:
            raise SystemExit(process.exitcode)


if __name__ == "__main__":
    main()
