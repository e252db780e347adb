"""What comes over the wire is not trusted: how much there may be, where it may lead, and what its values may be."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator
from typing import Any

import httpx2

from quintain.plugins.backend import Usage

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""Of one answer. A stream of 128k tokens has about 40 MB; more than this is no answer."""

MAX_LINE_BYTES = 8 * 1024 * 1024
"""Of one line (an event, or a whole answer that is not streamed): an SDK copies what it has at each piece of it."""

_MOST_TOKENS = 10**9  # a count above this is no count


_PIECE_BYTES = 16 * 1024  # handed on at once; what an SDK makes of a piece holds up every other call


class AnswerTooLarge(httpx2.RequestError):
    """The provider sent more than any answer can have."""


class _Bounded(httpx2.AsyncByteStream):
    """A body within bounds, also when it is packed: the HTTP library would unpack a small one into gigabytes."""

    def __init__(self, inner: httpx2.AsyncByteStream, encoding: str) -> None:
        self._inner = inner
        self._chunks = aiter(inner)
        self._unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS) if encoding == "gzip" else None
        self._refused = encoding if encoding not in ("", "identity", "gzip") else ""
        self._rest = b""
        self._received = self._line = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._refused:
            raise httpx2.DecodingError(f"content-encoding {self._refused!r} was not asked for")
        chunk = b""
        while not chunk:
            chunk = self._piece(self._rest or await anext(self._chunks))
        await asyncio.sleep(0)  # a piece that has arrived already is no pause for the others
        self._received += len(chunk)
        end = chunk.rfind(b"\n") + 1
        self._line = len(chunk) - end if end else self._line + len(chunk)
        if self._received > MAX_ANSWER_BYTES or self._line > MAX_LINE_BYTES:
            raise AnswerTooLarge(f"more than {MAX_ANSWER_BYTES} bytes, or {MAX_LINE_BYTES} in one line")
        return chunk

    def _piece(self, data: bytes) -> bytes:
        """The first of `data`, unpacked; what is left of it is kept."""
        if self._unpacker is None:
            self._rest = data[_PIECE_BYTES:]
            return data[:_PIECE_BYTES]
        try:
            piece = self._unpacker.decompress(data, _PIECE_BYTES)
        except zlib.error as error:
            raise httpx2.DecodingError(str(error)) from None
        self._rest = self._unpacker.unconsumed_tail
        return piece

    async def aclose(self) -> None:
        await self._inner.aclose()


async def _bound(response: httpx2.Response) -> None:
    assert isinstance(response.stream, httpx2.AsyncByteStream)
    response.stream = _Bounded(response.stream, response.headers.pop("content-encoding", "").strip().lower())


CLIENT_OPTIONS: dict[str, Any] = {
    "headers": {"accept-encoding": "gzip"},
    "follow_redirects": False,  # a header with the key would go along, to wherever it leads
    "event_hooks": {"response": [_bound]},
}
"""For an SDK's ``DefaultAsyncHttpxClient``."""


END_SECONDS = 0.5
"""How long a stream whose answer is complete may take to end, so that its connection can be used again."""
METER_SECONDS = 5.0
"""The same for a stream whose meter reading may be still to come."""


def let_it_end(rest: asyncio.Timeout, seconds: float = END_SECONDS) -> None:
    """The answer is complete: `rest` bounds what may come after it. Further events do not move the bound back."""
    at, bound = asyncio.get_running_loop().time() + seconds, rest.when()
    if bound is None or at < bound:
        rest.reschedule(at)


CONNECT_SECONDS = 15.0
"""For a connection, TLS included, and at most half of a call: one that never gets a connection has certainly not been
charged, and must find that out before its own time is over."""


def timeouts(seconds: float) -> httpx2.Timeout:
    return httpx2.Timeout(seconds, connect=min(seconds / 2, CONNECT_SECONDS))


def words(value: object) -> str:
    """Text of a field that should hold some; the SDKs do not check types."""
    return value if isinstance(value, str) else ""


def usage_of(
    *, prompt: object, output: object, cached: object, written: object, reasoning: object, prompt_has_all: bool
) -> Usage | None:
    """A meter reading; None for one that makes no sense, which is like none.

    `prompt_has_all`: whether `prompt` includes cached and cache-written tokens.
    """
    counts = [
        _count(value) for value in (prompt, output, 0 if cached is None else cached, 0 if written is None else written)
    ]
    if None in counts:
        return None
    plain, out, read, write = (count or 0 for count in counts)
    if prompt_has_all:
        plain -= read + write
    if plain < 0:
        return None
    return Usage(plain, read, write, out, min(_count(reasoning) or 0, out))


def _count(value: object) -> int | None:
    right = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_TOKENS
    return int(value) if right else None  # type: ignore[call-overload]  # it is an int
