"""From a model's answer to Python source. Total: any string gives a result, never an exception."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

_FENCE = re.compile(r"^[ \t]*(?P<mark>`{3,}|~{3,})[ \t]*(?P<info>[^`\n]*)$")
_THINKING = re.compile(r"<(think|thinking|reasoning)>.*?</\1>", re.DOTALL | re.IGNORECASE)
_THINKING_END = re.compile(r"^.*</(?:think|thinking|reasoning)>", re.DOTALL | re.IGNORECASE)
_THINKING_OPEN = re.compile(r"<(?:think|thinking|reasoning)>.*$", re.DOTALL | re.IGNORECASE)
_CODE_START = re.compile(r"^(?:import |from \w|def |async def |class |@\w|[\"']{3}|#)")

MAX_FENCES = 40
_MAX_WIDER_BLOCKS = 40  # each is parsed: an answer full of fences must not keep us busy
MAX_RATIONALE_CHARACTERS = 4000


@dataclass(frozen=True, slots=True)
class Extracted:
    """`source` is empty if nothing in the answer looks like code. `rationale` is the prose before the code."""

    source: str
    rationale: str


def extract(text: str, is_policy: Callable[[str], bool]) -> Extracted:
    """Find the policy in `text`.

    `is_policy` says whether a source parses and defines the entry points; the last fenced block for which it is true
    wins (a model that corrects itself does so at the end). Without one, the largest block is returned, so that the gate
    can say what is wrong with it.
    """
    answer = _normalise(text)
    spoken = _without_thinking(answer)
    for candidate_text in dict.fromkeys((spoken, answer)):
        found = _choose(candidate_text, is_policy)
        if found is not None:
            return found
    blocks = list(_blocks(spoken)) or list(_blocks(answer))
    if blocks:
        return Extracted(max((b.code for b in blocks), key=len), _rationale(spoken))
    if _looks_like_code(spoken):
        return Extracted(_strip_prose(spoken), "")
    return Extracted("", spoken.strip()[:MAX_RATIONALE_CHARACTERS])


@dataclass(frozen=True, slots=True)
class _Block:
    code: str
    start: int


def _choose(text: str, is_policy: Callable[[str], bool]) -> Extracted | None:
    for block in reversed(list(_blocks(text))):
        if is_policy(block.code):
            return Extracted(block.code, _rationale(text))
    for block in islice(_wider_blocks(text), _MAX_WIDER_BLOCKS):
        if is_policy(block.code):
            return Extracted(block.code, _rationale(text))
    bare = _strip_prose(text)
    if bare and is_policy(bare):
        return Extracted(bare, "")
    return None


def _normalise(text: str) -> str:
    """One kind of line end, no byte order mark, no lone surrogates (they cannot be stored)."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").lstrip("\ufeff")
    return text.encode("utf-8", "replace").decode("utf-8")


def _without_thinking(text: str) -> str:
    text = _THINKING.sub("", text)
    text = _THINKING_END.sub("", text)  # a template may have put the opening tag into the prompt
    return _THINKING_OPEN.sub("", text)


def _fences(lines: list[str]) -> list[tuple[int, str, str]]:
    """(line, mark, info) of each fence."""
    found = []
    for number, line in enumerate(lines):
        match = _FENCE.match(line)
        if match:
            found.append((number, match["mark"], match["info"].strip()))
        if len(found) == MAX_FENCES:
            break
    return found


def _blocks(text: str) -> Iterator[_Block]:
    """Fenced blocks in order; one that is never closed ends with the text."""
    lines = text.split("\n")
    opening: tuple[int, str] | None = None
    for number, mark, info in _fences(lines):
        if opening is None:
            opening = (number, mark)
        elif not info and mark[0] == opening[1][0] and len(mark) >= len(opening[1]):
            yield _block(lines, opening[0], number)
            opening = None
        elif info:  # a new block before the last was closed
            yield _block(lines, opening[0], number)
            opening = (number, mark)
    if opening is not None:
        yield _block(lines, opening[0], len(lines))


def _wider_blocks(text: str) -> Iterator[_Block]:
    """From each fence to each later one: a policy whose docstring holds a fence of its own."""
    lines = text.split("\n")
    fences = [number for number, _, _ in _fences(lines)]
    for first, start in enumerate(fences):
        for end in reversed(fences[first + 2 :]):
            yield _block(lines, start, end)


def _block(lines: list[str], start: int, end: int) -> _Block:
    body = lines[start + 1 : end]
    indent = min((len(line) - len(line.lstrip(" ")) for line in body if line.strip()), default=0)
    return _Block("\n".join(line[indent:] for line in body).strip("\n") + "\n", start)


def _looks_like_code(text: str) -> bool:
    return any(re.match(r"(?:def \w+|async def \w+|class \w+|import \w+|from \w[\w.]* import )", line)
               for line in text.split("\n"))  # fmt: skip


def _strip_prose(text: str) -> str:
    """Code without a fence: from the first line that starts like code."""
    lines = text.split("\n")
    for number, line in enumerate(lines):
        if _CODE_START.match(line):
            return "\n".join(lines[number:]).strip("\n") + "\n"
    return ""


def _rationale(text: str) -> str:
    lines = text.split("\n")
    fences = _fences(lines)
    prose = "\n".join(lines[: fences[0][0]]) if fences else ""
    return prose.strip()[:MAX_RATIONALE_CHARACTERS]
