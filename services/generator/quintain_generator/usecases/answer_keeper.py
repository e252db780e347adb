"""Writing down what was paid for: a store that cannot be written now is waited for as long as the process lives."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from quintain.errors import Unavailable
from quintain.service.logs import get_logger

log = get_logger("answer_keeper")

_RETRY_SECONDS = 0.5
_LOG_SECONDS = 5.0


class AnswerKeeper:
    """The writes that must not be lost, of one process; on its event loop."""

    def __init__(self) -> None:
        self._closing = asyncio.Event()
        self.waiting = 0
        """How many writes the store keeps waiting now."""

    def close(self) -> None:
        """The process ends: what still waits has one more try, and is given up."""
        self._closing.set()

    async def keep(
        self, write: Callable[[], Awaitable[None]], what: str, tell: Callable[[str], None], request_id: str
    ) -> None:
        """Write until it is written. A cancellation takes effect afterwards. Raises Unavailable only when the process
        ends, and what `write` raises beside it."""
        work = asyncio.create_task(self._write(write, what, tell, request_id))
        cancelled = False
        while not work.done():
            try:
                await asyncio.wait([work])
            except asyncio.CancelledError:
                cancelled = True
        if cancelled:
            work.exception()  # it was logged; who cancelled does not ask
            raise asyncio.CancelledError
        work.result()

    async def _write(
        self, write: Callable[[], Awaitable[None]], what: str, tell: Callable[[str], None], request_id: str
    ) -> None:
        clock = asyncio.get_running_loop().time
        begun, said, reason = clock(), -_LOG_SECONDS, "it does not answer"

        def say() -> None:
            nonlocal said
            if clock() - said < _LOG_SECONDS:
                return
            said, waited = clock(), clock() - begun
            tell(f"{what} waits for the store ({waited:.0f} s so far): {reason}")
            log.warning(f"{what} waits for the store", request_id=request_id, reason=reason, seconds=round(waited, 1))

        self.waiting += 1
        try:
            while True:
                attempt = asyncio.ensure_future(write())
                while not (await asyncio.wait([attempt], timeout=_LOG_SECONDS))[0]:
                    say()
                try:
                    return attempt.result()
                except Unavailable as error:
                    reason = error.message
                    if self._closing.is_set():
                        log.error("lost: the process ends before the store could be written", what=what,
                                  request_id=request_id, reason=reason)  # fmt: skip
                        raise
                say()
                await self._pause()
        finally:
            self.waiting -= 1

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), _RETRY_SECONDS)
