"""Page sizes and page tokens of the lists."""

from __future__ import annotations

import base64
import json
from typing import Any

from quintain.errors import InvalidArgument

_DEFAULT_PAGE = 50
_LARGEST_PAGE = 500
_GREATEST_POSITION = 2**40


def page_size(requested: int) -> int:
    if requested < 0:
        raise InvalidArgument.of("page_size", "must not be negative")
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
