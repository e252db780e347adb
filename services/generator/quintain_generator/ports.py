"""What the use cases need of the world outside, as they see it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from quintain.plugins.backend import Message
from quintain_generator.domain.generation import CallRecord, Claim, Generation, RequestKey, Spend, Told
from quintain_generator.domain.habits import Measured


class GenerationStore(Protocol):
    """The record of requests, calls and results.

    Order of writes, each durable before the next step: the request; the intent of a call, before it is sent; what came
    of it, before anyone sees it; the result. So after a crash a call without a reply is one that may have been paid
    for. Belongs to one event loop. Cancelling a method waits for what it does, so that no write is half-watched.

    Every method raises Unavailable (reason STORE_DOWN) while the database cannot be reached, is full or is locked.
    """

    async def open(self) -> None:
        """Bring the schema up to date and become an owner. Raises FailedPrecondition for a database that cannot be used
        as it is."""

    async def close(self) -> None: ...

    async def renew(self) -> None:
        """Say that this owner lives, by a write; to be called several times in the length of a lease."""

    async def check(self) -> str:
        """What keeps the next write from succeeding; empty if nothing does. Never raises Unavailable."""

    async def begin(self, request: RequestKey) -> Claim:
        """Write the request down, or say who has it. Raises AlreadyExists if the id names another task."""

    async def intend(
        self,
        request_id: str,
        attempt: int,
        prompt: tuple[Message, ...],
        reserved_usd: float | None,
        told: Told | None = None,
        *,
        batched: bool = False,
    ) -> None:
        """Write down that a call is about to be sent, or handed in. Raises Aborted if another owner took the request
        over."""

    async def submitted(self, request_id: str, attempt: int, batch_id: str) -> None:
        """Write down which batch a call is in, even if another owner took the request over."""

    async def batches_since(self, backend: str, since: float) -> frozenset[str]:
        """The batches of a backend's calls since then (seconds since the epoch)."""

    async def settle(self, request_id: str, call: CallRecord) -> None:
        """Write down what came of a call. Its money is recorded even if another owner took over (raises Aborted)."""

    async def finish(self, generation: Generation) -> None:
        """Write the result. Raises Aborted if another owner took over."""

    async def release(self, request_id: str) -> None:
        """Give the request up without a result; whoever asks next goes on with it."""

    async def find(self, request_id: str) -> tuple[RequestKey, Generation | None] | None:
        """A request and its result, if there is one yet; None if the id was never seen."""

    async def spend(self, request_id: str) -> Spend:
        """What the calls of a request have cost; one that is not over counts with its reserve, at risk."""

    async def abandoned(self) -> Sequence[RequestKey]:
        """Unfinished requests with a call whose outcome nobody knows and whose owner is dead. Calls in batches can be
        asked for, and do not count."""

    async def measured(self, backend: str, model: str, most: int) -> Sequence[Measured]:
        """The latest finished requests of a backend, at most so many."""
