"""What is said of a name that is none."""

from __future__ import annotations

from collections.abc import Iterable

MOST_SHOWN = 20
_ALIKE = 0.7  # by difflib's ratio


def unknown(name: str, known: Iterable[str]) -> str:
    """``'smok' is unknown (did you mean 'smoke'?); known are: ...``; of many known names the first few."""
    names = list(known)
    more = f" and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else ""
    return f"{name!r} is unknown{near(name, names)}; known are: {', '.join(names[:MOST_SHOWN]) or 'none'}{more}"


def near(name: str, known: Iterable[str]) -> str:
    """`` (did you mean 'smoke'?)``, or nothing if no known name is much like it."""
    from difflib import get_close_matches

    close = get_close_matches(name, list(known), n=1, cutoff=_ALIKE)
    return f" (did you mean {close[0]!r}?)" if close else ""
