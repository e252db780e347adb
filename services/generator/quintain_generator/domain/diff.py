"""Search/replace blocks: how a model changes a parent without writing it anew."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

_BLOCK = re.compile(
    r"^<{5,9} ?SEARCH[^\n]*\n(?P<search>.*?)^={5,9}[ \t]*\n(?P<replace>.*?)^>{5,9} ?REPLACE[^\n]*$",
    re.DOTALL | re.MULTILINE,
)


class DiffError(ValueError):
    """A block does not apply; the message says which and why, for the model to read."""


@dataclass(frozen=True, slots=True)
class Block:
    search: str
    replace: str


def find_blocks(text: str) -> list[Block]:
    """The blocks of an answer in order; empty if there are none."""
    text = text.replace("\r\n", "\n")
    return [Block(match["search"], match["replace"]) for match in _BLOCK.finditer(text)]


def apply_blocks(source: str, blocks: list[Block]) -> str:
    """Apply each block to the result of the one before. Each search text must occur exactly once, white space at line
    ends aside. Raises DiffError."""
    lines = source.split("\n")
    for number, block in enumerate(blocks, start=1):
        wanted = [line.rstrip() for line in block.search.rstrip("\n").split("\n")]
        if not any(wanted):
            raise DiffError(f"block {number}: the SEARCH part is empty; copy at least one line of the parent into it")
        places = [
            at
            for at in range(len(lines) - len(wanted) + 1)
            if [line.rstrip() for line in lines[at : at + len(wanted)]] == wanted
        ]
        if not places:
            raise DiffError(f"block {number}: the SEARCH part is not in the source{_closest(wanted, lines)}")
        if len(places) > 1:
            raise DiffError(
                f"block {number}: the SEARCH part occurs {len(places)} times "
                f"(lines {', '.join(str(at + 1) for at in places[:5])}); add lines around it until it is unique"
            )
        replacement = block.replace.rstrip("\n").split("\n") if block.replace.strip("\n") else []
        lines[places[0] : places[0] + len(wanted)] = replacement
    return "\n".join(lines)


def _closest(wanted: list[str], lines: list[str]) -> str:
    first = next(line for line in wanted if line)
    near = difflib.get_close_matches(first, lines, n=1, cutoff=0.6)
    return f"; the closest line to {first.strip()!r} is {near[0].strip()!r}" if near else ""
