"""Texts of others within a prompt: in fences that they cannot close, on one line, or shortened."""

from __future__ import annotations

import re
import textwrap

from quintain_generator.domain.prices import BYTES_PER_TOKEN, estimate_tokens


def fenced(text: str, info: str) -> str:
    """In a fence that is longer than any in `text`."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    mark = "`" * max(3, longest + 1)
    return f"{mark}{info}\n{text}\n{mark}\n"


def one_line(text: str, most_characters: int) -> str:
    """A longer one ends after a whole word, if it has any that is short enough."""
    line = " ".join(text.split())
    if len(line) <= most_characters:
        return line
    return (
        textwrap.shorten(line, most_characters, placeholder=" ...")
        if " " in line[:most_characters]
        else line[:most_characters]
    )


def plain_name(name: str) -> str:
    """`name` if it can stand outside of a fence, else empty."""
    return name if re.fullmatch(r"[A-Za-z0-9][\w./-]{0,79}", name, re.ASCII) else ""


def shorten(text: str, budget_tokens: int) -> str:
    """Keep the beginning and the end: the summary stands first, the traceback's last line says what happened."""
    if estimate_tokens(text) <= budget_tokens:
        return text
    gap = f"\n[... of {len(text)} characters, the middle is left out ...]\n"
    room = max(0, int((budget_tokens - estimate_tokens(gap) - 2) * BYTES_PER_TOKEN))
    if room == 0:
        return ""
    data = text.encode("utf-8", "surrogatepass")
    head, tail = data[: room * 2 // 3], data[len(data) - room // 3 :]
    return head.decode("utf-8", "ignore") + gap + tail.decode("utf-8", "ignore")
