"""Every entry of a list that comes by pages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

from google.protobuf.message import Message

from quintain.errors import Internal


def entries(call: Callable[[Any], Any], request: Message) -> Iterator[Any]:
    """The entries of all pages, in the server's order. `call` is a client's method for a list, `request` its first
    request (`page_size` is kept). Raises what `call` raises."""
    following = _copy(request)
    while True:
        page = call(following)
        yield from _of(page)
        if not _turn(following, page):
            return


async def entries_async(call: Callable[[Any], Awaitable[Any]], request: Message) -> AsyncIterator[Any]:
    """The asyncio twin of `entries`."""
    following = _copy(request)
    while True:
        page = await call(following)
        for entry in _of(page):
            yield entry
        if not _turn(following, page):
            return


def _copy(request: Message) -> Any:
    copied = type(request)()
    copied.CopyFrom(request)
    return copied


def _of(page: Any) -> Any:
    """The one repeated field of a page."""
    (name,) = [field.name for field in page.DESCRIPTOR.fields if field.is_repeated]
    return getattr(page, name)


def _turn(request: Any, page: Any) -> bool:
    """Make `request` that of the next page; whether there is one."""
    if page.next_page_token and page.next_page_token == request.page_token:
        raise Internal("the server gave the same page token twice: its list would never end")
    request.page_token = page.next_page_token
    return bool(page.next_page_token)
