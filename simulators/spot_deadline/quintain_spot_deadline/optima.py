"""The optimum of known windows, computed once and shipped; of others when they are asked for.

    python -m quintain_spot_deadline.optima [--check]

computes the table anew from the built-in scenarios (the recorded ones too where the data folder is named), or compares.
"""

from __future__ import annotations

import argparse
import csv
import functools
import gzip
import io
import sys
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path

from quintain_spot_deadline.engine import Window
from quintain_spot_deadline.optimum import optimum
from quintain_spot_deadline.scenario import spec_of, window_digest

TABLE = "optima.csv.gz"
_DIGITS = 24  # of a window's digest that name it in the table


def optimal_cost(window: Window, *, in_time: bool) -> float:
    """Dollars: the cheapest run, or the cheapest that is in time."""
    known = _table().get(window_digest(window)[:_DIGITS])
    return known[in_time] if known is not None else _computed(window, in_time)


@functools.lru_cache(maxsize=8192)
def _computed(window: Window, in_time: bool) -> float:
    return optimum(window, in_time=in_time).cost


@functools.cache
def _table() -> Mapping[str, tuple[float, float]]:
    file = resources.files("quintain_spot_deadline").joinpath(TABLE)
    rows = csv.DictReader(io.StringIO(gzip.decompress(file.read_bytes()).decode()))
    return {row["window"]: (float(row["optimum"]), float(row["in_time"])) for row in rows}


def _compute() -> Iterator[tuple[str, float, float]]:
    from quintain_spot_deadline.suites import scenarios

    windows = {window_digest(one.window): one.window for s in scenarios().values() for one in spec_of(s).windows}
    for digest, window in windows.items():
        yield digest[:_DIGITS], _computed(window, False), _computed(window, True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the table that is shipped")
    args = parser.parse_args()
    rows = list(_compute())
    if args.check:
        wrong = [name for name, free, in_time in rows if _table().get(name) != (free, in_time)]
        print(f"{len(rows)} windows, {len(wrong)} not as in the table")
        sys.exit(bool(wrong))
    text = "window,optimum,in_time\n" + "".join(f"{name},{free!r},{in_time!r}\n" for name, free, in_time in rows)
    Path(__file__).with_name(TABLE).write_bytes(gzip.compress(text.encode(), mtime=0))
    print(f"{len(rows)} windows")


if __name__ == "__main__":
    main()
