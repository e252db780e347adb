"""What both batch interfaces share: one question with its failures, and the lines of a result."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from quintain.plugins.backend import BackendReply, CallOutcome, Unreached
from quintain_generator.backends.failures import malformed

MAX_PAGES = 100
"""Of a list of batches that is looked through."""


class Asker:
    """Asks through an SDK. `failures` are what it raises, `failed` makes replies of them."""

    def __init__(self, failures: tuple[type[Exception], ...], failed: Callable[[Exception], BackendReply]) -> None:
        self._failures = failures
        self._failed = failed

    async def text(self, request: Awaitable[Any]) -> str | Unreached:
        """The body of what `request` answers: the SDK's raw response, or the HTTP library's."""
        try:
            response = await request
            response = getattr(response, "http_response", response)
            return str((await response.aread()).decode())
        except UnicodeDecodeError:
            return Unreached(malformed("the body is not UTF-8"))
        except self._failures as error:
            return Unreached(self._failed(error))

    async def document(self, request: Awaitable[Any]) -> dict[str, Any] | Unreached:
        """The same for a body that is a JSON object."""
        body = await self.text(request)
        if isinstance(body, Unreached):
            return body
        value = _loads(body)
        return value if isinstance(value, dict) else Unreached(malformed(f"the body is no JSON object: {body[:200]}"))


def line_of(body: str, name: str) -> dict[str, Any] | None:
    """The line of a call in a file of results, which are in no order; None if it has none."""
    return next((line for line in _lines(body) if line.get("custom_id") == name), None)


def _lines(body: str) -> Iterator[dict[str, Any]]:
    for line in body.split("\n"):
        if isinstance(value := _loads(line), dict):
            yield value


def _loads(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def expired() -> BackendReply:
    return BackendReply(CallOutcome.OVERLOADED, detail="the batch expired before the provider came to the call")


def cancelled() -> BackendReply:
    return BackendReply(CallOutcome.SERVER_ERROR, detail="the batch was cancelled before the provider came to the call")
