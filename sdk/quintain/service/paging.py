"""Pages of lists: bounded in entries and in bytes, with tokens that only the list that gave them takes."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from quintain.errors import InvalidArgument

_DEFAULT_PAGE = 50
_LARGEST_PAGE = 500
_GREATEST_POSITION = 2**40
# What gRPC clients in most languages take unless they are told otherwise is 4 MiB.
_MOST_BYTES = 3 << 20

M = TypeVar("M", bound=Message)


class Page(Generic[M]):
    """One page being filled: at most `size` entries and about 3 MiB, but always one entry."""

    def __init__(self, size: int) -> None:
        self.entries: list[M] = []
        self._size = size
        self._bytes = 0

    def add(self, entry: M) -> bool:
        """Whether it went in. If not, the page is full: the entry is the first of the next one."""
        size = entry.ByteSize()
        if self.entries and (len(self.entries) == self._size or self._bytes + size > _MOST_BYTES):
            return False
        self.entries.append(entry)
        self._bytes += size
        return True


def page_of(names: Sequence[str], requested: int, token: str, kind: str) -> tuple[Sequence[str], str]:
    """One page of a short list of different names, in their order, and the next one's token. Raises InvalidArgument."""
    begin, size = 0, page_size(requested)
    if token:
        (last,) = decode_token(token, kind, str)
        if last not in names:
            raise InvalidArgument.of("page_token", f"the list has changed since: there is no {last!r} any more")
        begin = names.index(last) + 1
    page = names[begin : begin + size]
    return page, encode_token(kind, page[-1]) if begin + size < len(names) else ""


def page_size(requested: int) -> int:
    if requested < 0:
        raise InvalidArgument.of("page_size", f"found {requested}; must not be negative; 0 is the default")
    return min(requested or _DEFAULT_PAGE, _LARGEST_PAGE)


def encode_token(kind: str, *position: str | float) -> str:
    """`kind` names the list, so that a token of another list is refused."""
    return base64.urlsafe_b64encode(json.dumps([kind, *position]).encode()).decode()


def decode_token(token: str, kind: str, *types: type) -> Any:
    """The position in a token, a value of each type. Raises InvalidArgument for a token of our own making no more."""
    try:
        position = json.loads(base64.urlsafe_b64decode(token))[1:]
        wanted = encode_token(kind, *position) == token and [type(value) for value in position] == list(types)
    except (ValueError, TypeError, KeyError):
        wanted = False
    if not wanted or any(not -_GREATEST_POSITION < v < _GREATEST_POSITION for v in position if not isinstance(v, str)):
        raise InvalidArgument.of("page_token", "is not a token that this service gave for this list")
    return tuple(position)
