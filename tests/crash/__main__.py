"""``python -m tests.crash``: the crash test at full size, some minutes on an idle machine."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import pytest


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.crash", description=__doc__)
    parser.add_argument("--candidates", type=int, default=60)
    parser.add_argument("--kills", type=int, default=40)
    args, rest = parser.parse_known_args()
    os.environ["QUINTAIN_CRASH_CANDIDATES"] = str(args.candidates)
    os.environ["QUINTAIN_CRASH_KILLS"] = str(args.kills)
    sys.exit(pytest.main([str(Path(__file__).parent), "-s", *rest]))


if __name__ == "__main__":
    main()
