"""Where the user's recordings are: the one thing that this simulator takes from the environment, once, at the start."""

from __future__ import annotations

import functools
import os
from pathlib import Path

VARIABLE = "SPOT_DEADLINE_DATA"


@functools.cache
def data_folder() -> Path | None:
    """The folder named in the environment, None if it names none. Read once: a later change is not seen."""
    named = os.environ.get(VARIABLE, "").strip()
    return Path(named) if named else None
