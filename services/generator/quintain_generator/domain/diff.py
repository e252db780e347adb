"""Search/replace blocks: how a model changes a parent without writing it anew."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

_SEARCH = re.compile(r"[ \t]*(?:<{5,9}|-{5,9}) ?(?:SEARCH|ORIGINAL)\b", re.IGNORECASE)
_DIVIDER = re.compile(r"[ \t]*={5,9}[ \t]*")
_REPLACE = re.compile(r"[ \t]*(?:>{5,9}|\+{5,9}) ?(?:REPLACE|UPDATED)\b", re.IGNORECASE)
_OTHER_FORM = re.compile(r"^[ \t>]*(?:<{3,9} ?\w|@@ |@@$|diff --git |\*\*\* (?:Begin Patch|Update File))", re.MULTILINE)

MAX_BLOCKS = 100
_MAX_SHOWN = 5  # places of an ambiguous SEARCH part
_MAX_COMPARED = 200  # characters of a line, and the like, in search of the closest one


class DiffError(ValueError):
    """A block does not apply; the message says which and why, for the model to read."""


@dataclass(frozen=True, slots=True)
class Block:
    search: str
    replace: str


def find_blocks(text: str) -> list[Block]:
    """The blocks of an answer in order; empty if there are none. Raises DiffError for one that is not complete."""
    blocks: list[Block] = []
    body: list[str] | None = None
    width = 0
    for line in text.replace("\r\n", "\n").split("\n"):
        if body is None:
            if _SEARCH.match(line):
                body, width = [], max(line.count("<"), line.count("-"))
        elif _REPLACE.match(line):
            blocks.append(_divided(body, width, len(blocks) + 1))
            body = None
        elif _SEARCH.match(line):
            break
        else:
            body.append(line + "\n")
    if body is not None:
        raise DiffError(f"block {len(blocks) + 1}: it has no end, a line of >>>>>>> REPLACE")
    if len(blocks) > MAX_BLOCKS:
        raise DiffError(f"{len(blocks)} blocks are more than {MAX_BLOCKS}; write the complete policy instead")
    return blocks


def _divided(body: list[str], width: int, number: int) -> Block:
    """The divider is as long as the marks of SEARCH, if there is such a line: others may underline a heading."""
    found = [n for n, line in enumerate(body) if _DIVIDER.fullmatch(line.rstrip("\n"))]
    dividers = [n for n in found if len(body[n].strip()) == width] or found
    if not dividers:
        raise DiffError(f"block {number}: there is no line of ======= between SEARCH and REPLACE")
    if len(dividers) > 1:
        raise DiffError(
            f"block {number}: there are {len(dividers)} lines of =======, so nobody can say which one divides"
        )
    return Block("".join(body[: dividers[0]]), "".join(body[dividers[0] + 1 :]))


def looks_like_a_change(text: str) -> bool:
    """Whether there are signs of a change, in this form or another (a unified diff, a patch, a merge conflict)."""
    return _OTHER_FORM.search(text) is not None


def apply_blocks(source: str, blocks: list[Block]) -> str:
    """Apply each block to the result of the one before. Each search text must occur exactly once, white space at line
    ends aside; or, if it occurs nowhere, once without the blank lines around it; or once with all its lines indented by
    the same amount more or less, and then the replacement moves along. Raises DiffError."""
    lines = source.replace("\r\n", "\n").split("\n")
    for number, block in enumerate(blocks, start=1):
        wanted = [line.rstrip() for line in block.search.rstrip("\n").split("\n")]
        if not any(wanted):
            raise DiffError(f"block {number}: the SEARCH part is empty; copy at least one line of the parent into it")
        replacement = block.replace.rstrip("\n").split("\n") if block.replace.strip("\n") else []
        places = _places(wanted, [line.rstrip() for line in lines])
        if not places:
            before, wanted = _trimmed(wanted)
            while before and replacement and not replacement[0].strip():
                before, replacement = before - 1, replacement[1:]
            places = _places(wanted, [line.rstrip() for line in lines])
        if not places:
            places = _places([line.strip() for line in wanted], [line.strip() for line in lines])
            places, replacement = _shifted(places, wanted, lines, replacement)
        if not places:
            raise DiffError(f"block {number}: the SEARCH part is not in the source{_closest(wanted, lines)}")
        if len(places) > 1:
            times = f"{len(places)} times" if len(places) <= _MAX_SHOWN else f"more than {_MAX_SHOWN} times"
            where = ", ".join(str(at + 1) for at in places[:_MAX_SHOWN])
            raise DiffError(
                f"block {number}: the SEARCH part occurs {times} (lines {where}); "
                "add lines around it until it is unique"
            )
        lines[places[0] : places[0] + len(wanted)] = replacement
    changed = "\n".join(lines)
    if not changed.strip():
        raise DiffError("the change leaves nothing of the parent")
    return changed


def _trimmed(lines: list[str]) -> tuple[int, list[str]]:
    """How many blank lines stand first, and the lines without those at both ends."""
    first = next(n for n, line in enumerate(lines) if line)
    last = max(n for n, line in enumerate(lines) if line)
    return first, lines[first : last + 1]


def _places(wanted: list[str], lines: list[str]) -> list[int]:
    """The first few lines where `wanted` begins."""
    text, part = "\n".join(["", *lines, ""]), "\n".join(["", *wanted, ""])
    found: list[int] = []
    at = text.find(part)
    while at >= 0 and len(found) <= _MAX_SHOWN:
        found.append(text.count("\n", 0, at))
        at = text.find(part, at + 1)
    return found


def _shifted(
    places: list[int], wanted: list[str], lines: list[str], replacement: list[str]
) -> tuple[list[int], list[str]]:
    """The places where `wanted` fits with another indentation, and the replacement moved by as much."""
    first = next(n for n, line in enumerate(wanted) if line)
    old = _indent(wanted[first])
    fitting = []
    for at in places:
        new = _indent(lines[at + first])
        if [_moved(line, old, new) for line in wanted] == [line.rstrip() for line in lines[at : at + len(wanted)]]:
            fitting.append(at)
    if fitting:
        new = _indent(lines[fitting[0] + first])
        replacement = [_moved(line, old, new) for line in replacement]
    return fitting, replacement


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _moved(line: str, old: str, new: str) -> str:
    return new + line[len(old) :] if line.strip() and line.startswith(old) else line


def _closest(wanted: list[str], lines: list[str]) -> str:
    """Where the source is most like `wanted`: the first line that differs, or the line closest to the first one."""
    shown = [line.rstrip()[:_MAX_COMPARED] for line in lines[: 10 * _MAX_COMPARED]]
    wanted = [line[:_MAX_COMPARED] for line in wanted]
    starts = [n for n, line in enumerate(shown) if line == wanted[0]]
    if starts:
        at, equal = max(((at, _equal_lines(wanted, shown, at)) for at in starts[:_MAX_COMPARED]), key=lambda s: s[1])
        there = repr(shown[at + equal]) if at + equal < len(shown) else "not there"
        return f"; line {at + equal + 1} of the source is {there}, the SEARCH part has {wanted[equal]!r}"
    near = difflib.get_close_matches(wanted[0], shown, n=1, cutoff=0.6)
    return f"; the closest line to {wanted[0].strip()!r} is {near[0].strip()!r}" if near else ""


def _equal_lines(wanted: list[str], lines: list[str], at: int) -> int:
    """How many of the first lines of `wanted` stand at `at`; less than all."""
    most = min(len(wanted) - 1, len(lines) - at)
    return next((n for n in range(most) if wanted[n] != lines[at + n]), most)
