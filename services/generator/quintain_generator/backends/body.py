"""The body of a provider's answer, read by what it is: the events of a stream, one JSON document, or something else.

Which of them was asked for, and what the content type says, do not matter: servers and what stands before them send the
one for the other.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

_LINE_END = re.compile(rb"\r\n|\n|\r")
_FIELD = re.compile(rb"(data|event|id|retry|error|):|(data|event|id|retry)$")  # `error:` is llama.cpp's own
_DONE = "[DONE]"
_MAX_PAGE_BYTES = 64 * 1024


class NotTheProtocol(ValueError):
    """What arrived is no answer; the message says what it is, for people."""


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """A JSON value within a stream. `name`: the stream's name for it, empty if it has none."""

    name: str
    value: Any


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """The stream's own word that it is complete (``[DONE]``)."""


@dataclass(frozen=True, slots=True)
class Document:
    """A body that is one JSON value."""

    value: Any


@dataclass(frozen=True, slots=True)
class Text:
    """What is neither: words within a stream, or a body that is a page or plain text."""

    text: str


Item = StreamEvent | StreamEnd | Document | Text


async def read_body(chunks: AsyncIterator[bytes]) -> AsyncIterator[Item]:
    """What the body holds, as it arrives. Raises NotTheProtocol for JSON or text that cannot be read."""
    lines = _lines(chunks)
    first = b""
    async for line in lines:
        first = line.removeprefix(b"\xef\xbb\xbf")
        if first.strip():
            break
    if _FIELD.match(first):
        stream = _Stream()
        for item in stream.take(first):
            yield item
        async for line in lines:
            for item in stream.take(line):
                yield item
        for item in stream.take(b""):
            yield item
        return
    if first.strip()[:1] in (b"{", b"["):
        collected = [first]
        async for line in lines:
            collected.append(line)
        for item in _documents(collected):
            yield item
        return
    page, size = [first], len(first)
    async for line in lines:
        page.append(line)
        size += len(line) + 1
        if size > _MAX_PAGE_BYTES:
            break
    if any(page):
        yield Text(b"\n".join(page).decode("utf-8", "replace"))


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Split at CR, LF and CRLF only; the last line may have no end."""
    pending = bytearray()
    after_return = False
    async for chunk in chunks:
        if after_return and chunk[:1] == b"\n":
            chunk = chunk[1:]
        if not chunk:
            continue
        after_return = chunk[-1:] == b"\r"
        at = 0
        for end in _LINE_END.finditer(chunk):
            pending += chunk[at : end.start()]
            yield bytes(pending)
            pending.clear()
            at = end.end()
        pending += chunk[at:]
    if pending:
        yield bytes(pending)


@dataclass(slots=True)
class _Stream:
    """Server-sent events, line by line. An event without data is none; a line that is no field (a bare JSON object, a
    sentence) is kept, as it may be the only word about what went wrong."""

    _name: str = ""
    _data: list[str] = field(default_factory=list)
    _stray: list[str] = field(default_factory=list)

    def take(self, line: bytes) -> Iterator[Item]:
        """Take the next line and give what it completes."""
        if not line:
            yield from self._dispatch()
            return
        if not _FIELD.match(line):
            self._stray.append(line.decode("utf-8", "replace"))
            return
        name, _, value = line.partition(b":")
        if name not in (b"data", b"event", b"error"):
            return
        try:
            text = value.removeprefix(b" ").decode()
        except UnicodeDecodeError:
            raise NotTheProtocol("an event of the stream is not UTF-8") from None
        if name == b"error":
            said = _loads(text)
            yield StreamEvent("error", {"error": text if said is None else said})
        elif name == b"data":
            self._data.append(text)
        else:
            self._name = text.strip()

    def _dispatch(self) -> Iterator[Item]:
        name, data, stray = self._name, self._data, self._stray
        self._name, self._data, self._stray = "", [], []
        if "".join(data).strip():
            for text in _separate(data):
                yield _event(name, text)
        if stray:
            text = "\n".join(stray)
            value = _loads(text)
            yield Text(text) if value is None else StreamEvent("", value)


def _separate(data: list[str]) -> list[str]:
    """One event for all lines, as the standard has it; or one for each, where the blank line between is missing."""
    whole = "\n".join(data)
    lines = [line.strip() for line in data if line.strip()]
    if len(lines) > 1 and _loads(whole) is None and all(line == _DONE or _loads(line) is not None for line in lines):
        return lines
    return [whole]


def _event(name: str, text: str) -> Item:
    stripped = text.strip()
    if stripped == _DONE:
        return StreamEnd()
    value = _loads(stripped)
    if value is not None:
        return StreamEvent(name, value)
    if stripped[:1] in ("{", "["):
        raise NotTheProtocol(f"an event of the stream is not valid JSON: {stripped[:200]}")
    return Text(stripped)


def _documents(lines: list[bytes]) -> Iterator[Item]:
    """A body of JSON: one value, or one on each line."""
    body = b"\n".join(lines)
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise NotTheProtocol("the body is not UTF-8") from None
    value = _loads(text)
    if value is not None:
        yield Document(value)
        return
    several = [(line, _loads(line)) for line in text.split("\n") if line.strip()]
    if len(several) > 1 and several[0][1] is not None:
        for line, value in several:
            yield Text(line) if value is None else StreamEvent("", value)
        return
    raise NotTheProtocol(f"the body is not valid JSON: {text[:200]}")


def _loads(text: str) -> Any:
    """None for what is no JSON, or nested beyond any parser."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
