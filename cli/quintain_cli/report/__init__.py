"""The report of a search: one self-contained HTML file. Input is the contracts' messages, output is text."""

from __future__ import annotations

from importlib.util import find_spec

from quintain.errors import FailedPrecondition
from quintain.extras import install_hint


def check_plotly() -> None:
    """Raise FailedPrecondition where figures cannot be drawn: before the work is done, not after."""
    if find_spec("plotly") is None:
        raise FailedPrecondition(f"figures cannot be drawn: {install_hint('plotly')}")
