"""Whether the store would take a write now."""

from __future__ import annotations

import asyncio
import math

from quintain_generator.ports import GenerationStore

_BELIEVED_SECONDS = 3.0  # of a store that could be written
_ANSWER_SECONDS = 2.0  # for a store to say so


class StoreReadiness:
    """A watch on the store; on one event loop."""

    def __init__(self, store: GenerationStore) -> None:
        self._store = store
        self._checking: asyncio.Task[str] | None = None
        self._checked_at = -math.inf
        self._problem = ""

    async def problem(self) -> str:
        """What keeps a write from succeeding; empty if nothing does. Takes no longer than a few seconds."""
        clock = asyncio.get_running_loop().time
        if not self._problem and clock() - self._checked_at < _BELIEVED_SECONDS:
            return ""
        if self._checking is None:
            self._checking = asyncio.create_task(self._store.check())
        done, _ = await asyncio.wait([self._checking], timeout=_ANSWER_SECONDS)
        found = "it does not answer"
        if done:
            checked, self._checking, self._checked_at = self._checking, None, clock()
            found = checked.result()
        self._problem = found
        return found
