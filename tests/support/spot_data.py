"""Where the recorded spot availability is: it is not part of the project."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "SPOT_DEADLINE_DATA"
BESIDE = "shared/data/adrs-spot"  # beside the checkout, or further up


def find_data() -> Path | None:
    named = os.environ.get(VARIABLE)
    places = [Path(named)] if named else [parent / BESIDE for parent in Path(__file__).resolve().parents]
    return next((place for place in places if (place / "series.tsv").is_file()), None)


WHY_SKIPPED = f"needs the recorded series: name their folder in {VARIABLE}"
