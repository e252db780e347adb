"""Window files of the public task, as scenarios of one's own.

    python -m quintain_spot_deadline.importer 0.json 1.json --overhead 72 --deadline 187200 --out FOLDER

A window file is JSON: ``{"metadata": {"gap_seconds": 600}, "data": [0, 1, ...]}``, one number a tick, 1 where spot is
GONE. Each becomes ``FOLDER/NAME/scenario.toml`` and ``trace.csv`` beside it, in which 1 means that spot exists.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from quintain.plugins.simulator import InvalidInput
from quintain_spot_deadline.engine import Window
from quintain_spot_deadline.job import GAP, MAX_SECONDS, checked_window, job
from quintain_spot_deadline.series import MAX_TICKS


def read_window_file(where: str, data: bytes) -> tuple[int, str]:
    """-> (seconds of a tick, availability). Raises InvalidInput with `where` and the place in the file."""
    try:
        document = json.loads(data)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InvalidInput(where, f"is not JSON: {error}") from error
    match document:
        case {"data": [*samples]}:
            pass
        case _:
            raise InvalidInput(where, "must be an object with a list 'data'")
    metadata = document.get("metadata", {})
    if not isinstance(metadata, dict):
        raise InvalidInput(f"{where}:metadata", f"{metadata!r:.100} is no object")
    gap = metadata.get("gap_seconds", GAP)
    if not isinstance(gap, int | float) or isinstance(gap, bool) or gap != gap // 1 or not 1 <= gap <= MAX_SECONDS:
        raise InvalidInput(f"{where}:metadata.gap_seconds", f"{gap!r} is not a whole number of seconds")
    if not 1 <= len(samples) <= MAX_TICKS:
        raise InvalidInput(f"{where}:data", f"has {len(samples)} samples; 1 to {MAX_TICKS} are possible")
    for tick, sample in enumerate(samples):
        if isinstance(sample, bool) or sample not in (0, 1):
            raise InvalidInput(
                f"{where}:data[{tick}]", f"{sample!r:.100} is no state; must be 0 (spot exists) or 1 (gone)"
            )
    return int(gap), "".join("0" if sample else "1" for sample in samples)


def scenario_files(gap: int, available: str, *, overhead: int, deadline: int, duration: int) -> dict[str, str]:
    """A scenario's files by name. Raises InvalidInput if the job cannot be done or the window ends before it."""
    checked_window("data", Window(job(gap=gap, overhead=overhead, deadline=deadline, duration=duration), available))
    rows = "".join(f"{tick * gap},{state}\n" for tick, state in enumerate(available))
    return {
        "scenario.toml": (
            f"gap_seconds = {gap}\noverhead_seconds = {overhead}\ndeadline_seconds = {deadline}\n"
            f"duration_seconds = {duration}\nwindow_ticks = {len(available)}\n"
        ),
        "trace.csv": f"time_seconds,available\n{rows}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="window files")
    parser.add_argument("--overhead", type=int, default=72, help="seconds that a launch loses")
    parser.add_argument("--deadline", type=int, default=187_200, help="seconds from the start")
    parser.add_argument("--duration", type=int, default=172_800, help="seconds of work")
    parser.add_argument("--out", type=Path, required=True, help="folder for the scenarios, one folder each")
    args = parser.parse_args()
    for file in args.files:
        try:
            gap, available = read_window_file(file.name, file.read_bytes())
            files = scenario_files(
                gap, available, overhead=args.overhead, deadline=args.deadline, duration=args.duration
            )
            folder = args.out / file.stem
            folder.mkdir(parents=True, exist_ok=True)
            for name, text in files.items():
                (folder / name).write_text(text, encoding="utf-8")
        except (InvalidInput, OSError) as error:
            sys.exit(f"{file}: {error}")
    print(f"{len(args.files)} scenarios in {args.out}")


if __name__ == "__main__":
    main()
