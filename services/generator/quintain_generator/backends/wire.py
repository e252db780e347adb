"""What comes over the wire is not trusted: how much there may be, where it may lead, and what its values may be."""

from __future__ import annotations

import asyncio
import os
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit
from urllib.request import getproxies

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


def http_client(kind: Callable[..., httpx2.AsyncClient]) -> httpx2.AsyncClient:
    """A client of an SDK's class. Raises ValueError that names the environment's variable which does not let it be
    made: the library reads proxies and certificates from there."""
    certificates = os.environ.get("SSL_CERT_DIR", "")
    if certificates and not os.environ.get("SSL_CERT_FILE") and not os.path.isdir(certificates):
        raise ValueError(
            f"the environment's SSL_CERT_DIR names {certificates}, which is no folder; correct or unset it"
        )
    try:
        return kind(**CLIENT_OPTIONS)
    except OSError:
        place = os.environ.get("SSL_CERT_FILE", "")
        what = "holds no certificates" if os.path.isfile(place) else "is not there"
        raise ValueError(f"the environment's SSL_CERT_FILE names {place}, which {what}; correct or unset it") from None
    except (ImportError, ValueError, httpx2.InvalidURL):
        wrong = [scheme for scheme, url in getproxies().items() if not _is_plain_proxy(url)]
        names = [name for name in os.environ if name.lower() in [f"{scheme}_proxy" for scheme in wrong]]
        raise ValueError(
            f"the environment's {' and '.join(names) or 'proxy variables'}: no usable proxy (the value is not "
            "shown, it may hold a password); set http://HOST:PORT or https://HOST:PORT, or unset it; SOCKS needs the "
            "package socksio"
        ) from None


def _is_plain_proxy(url: str) -> bool:
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def split_url(url: str) -> tuple[str, dict[str, str]]:
    """A base URL without its query, and the query: an SDK puts its path behind whatever it is given."""
    parts = urlsplit(url)
    return urlunsplit((*parts[:3], "", "")), dict(parse_qsl(parts.query, keep_blank_values=True))


CONNECT_SECONDS = 15.0
"""For a connection, TLS included, and at most half of a call: one that never gets a connection has certainly not been
charged, and must find that out before its own time is over."""


def timeouts(seconds: float) -> httpx2.Timeout:
    return httpx2.Timeout(seconds, connect=min(seconds / 2, CONNECT_SECONDS))


def words(value: object) -> str:
    """Text of a field that should hold some; nobody has checked its type."""
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
    """Some servers write whole numbers with a point."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MOST_TOKENS:
        return None
    return int(value) if value == int(value) else None
