"""What a request waits with: a deadline that may move, a word to stop, and somebody to tell."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeVar

from quintain.service.logs import get_logger
from quintain_generator.domain.generation import Spend

log = get_logger("waiting")

T = TypeVar("T")

SILENCE_SECONDS = 8.0
"""Nobody waits longer than this without a word about what for."""
_LOG_SECONDS = 60.0  # between two lines of the log about the same wait


@dataclass(frozen=True, slots=True)
class GenerationProgress:
    """News of a request. `stage`: queued, calling, streaming, retrying, extracting. `note`: what is waited for, and
    until when where that is known. `spend`: what the request has cost so far."""

    stage: str
    attempt: int = 0
    output_characters: int = 0
    note: str = ""
    spend: Spend = field(default_factory=Spend)


class Deadline:
    """When a request must be over, in the loop's time. A caller that joins later may move it back."""

    def __init__(self, at: float) -> None:
        self.at = at
        self._timeout: asyncio.Timeout | None = None

    def left(self) -> float:
        return self.at - asyncio.get_running_loop().time()

    def extend(self, at: float) -> None:
        if at > self.at:
            self.at = at
            if self._timeout is not None and self._timeout.when() is not None:
                self._timeout.reschedule(at)

    async def bound(self, work: Awaitable[T]) -> T:
        """Await `work`; raises TimeoutError when the deadline passes."""
        async with asyncio.timeout_at(self.at) as self._timeout:
            try:
                return await work
            finally:
                self._timeout = None


class StopToken:
    """Why no further call may be begun; empty while there may be one."""

    def __init__(self) -> None:
        self.reason = ""
        self._event = asyncio.Event()

    def set(self, reason: str) -> None:
        self.reason = reason
        self._event.set()

    def clear(self) -> None:
        self.reason = ""
        self._event.clear()

    async def pause(self, seconds: float) -> None:
        """Wait, but not beyond the stop."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._event.wait(), seconds)


@asynccontextmanager
async def announced(tell: Callable[[str], None], words: Callable[[], str], **about: object) -> AsyncIterator[None]:
    """While the block runs, `tell` and the log say every few seconds what `words` says is waited for."""

    async def speak() -> None:
        waited, logged = 0.0, -_LOG_SECONDS
        while True:
            await asyncio.sleep(SILENCE_SECONDS)
            waited += SILENCE_SECONDS
            note = f"{words()} ({waited:.0f} s so far)"
            tell(note)
            if waited - logged >= _LOG_SECONDS:
                logged = waited
                log.info("waiting", what=note, **about)

    speaking = asyncio.create_task(speak())
    try:
        yield
    finally:
        speaking.cancel()
