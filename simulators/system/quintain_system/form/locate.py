"""Where in a TOML text a key stands: tomllib does not say."""

from __future__ import annotations

import re
from collections.abc import Sequence

_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\]]+?)\s*\]\]?")
_KEY = re.compile(r"""^\s*((?:"[^"]*"|'[^']*'|[A-Za-z0-9_-]+)(?:\s*\.\s*(?:"[^"]*"|'[^']*'|[A-Za-z0-9_-]+))*)\s*=""")
_PART = re.compile(r""""([^"]*)"|'([^']*)'|([A-Za-z0-9_-]+)""")


def line_of(text: str, path: Sequence[str | int]) -> int:
    """The line (from 1) of the longest prefix of `path` that is written down; 1 if none is."""
    best, best_length = 1, 0
    table: list[str | int] = []
    counts: dict[tuple[str | int, ...], int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        header = _HEADER.match(line)
        if header:
            table = _parts(header[2])
            if header[1] == "[[":
                counts[tuple(table)] = counts.get(tuple(table), -1) + 1
            table = _numbered(table, counts)
            written = table
        elif key := _KEY.match(line):
            written = [*table, *_parts(key[1])]
        else:
            continue
        length = _common(written, path)
        if length > best_length:
            best, best_length = number, length
    return best


def _parts(text: str) -> list[str | int]:
    return [a or b or c for a, b, c in _PART.findall(text)]


def _numbered(table: Sequence[str | int], counts: dict[tuple[str | int, ...], int]) -> list[str | int]:
    """With the index after each name that is an array of tables."""
    numbered: list[str | int] = []
    for length in range(1, len(table) + 1):
        numbered.append(table[length - 1])
        prefix = tuple(table[:length])
        if prefix in counts:
            numbered.append(counts[prefix])
    return numbered


def _common(written: Sequence[str | int], path: Sequence[str | int]) -> int:
    """How long `written` is if `path` begins with it, else 0."""
    return len(written) if list(path[: len(written)]) == list(written) else 0
