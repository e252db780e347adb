"""Comments that the offline backend writes on top of its policies: their genes, or what it changed.

They say how a policy was made, and are no longer true when somebody else has changed it: models are not shown them, and
what a model answers carries none.
"""

from __future__ import annotations

import re

from quintain.plugins.backend import Example

GENES = "# genes: "
GENES_CONTINUED = "#   "
CHANGED = "# changed: "
_ON_TOP = re.compile(rf"\A(?:{CHANGED}.*\n|{GENES}.*\n(?:{GENES_CONTINUED}.*\n)*)+")


def without_marks(source: str) -> str:
    return _ON_TOP.sub("", source)


def shown_source(example: Example) -> str:
    """As a model sees it. A failed one stays as it is: its traceback counts lines."""
    return example.source if example.score is None else without_marks(example.source)
