"""What the use cases need from the outside. Adapters speak gRPC; the store is in `store`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from quintain_controller.domain.model import (
    BackendFacts,
    Generation,
    Order,
    SearchContext,
    SearchSpec,
    Verification,
)

TRAIN = "train"
HELD_OUT = "held_out"


class Generator(Protocol):
    """The generator service. All calls raise `quintain.errors` classes and try once: retrying is the caller's."""

    async def backends(self, names: Sequence[str]) -> tuple[BackendFacts, ...]:
        """The named backends, or the default one. Raises NotFound naming the known ones."""

    def encode(self, context: SearchContext, order: Order) -> bytes:
        """The request exactly as it will be sent: a function of its arguments."""

    async def generate(self, request: bytes) -> Generation:
        """Send an encoded request. Repeating a request id returns the recorded response."""

    async def recorded(self, request_id: str) -> Generation:
        """What was recorded of an earlier request, calling nobody. Raises NotFound."""


class Verifier(Protocol):
    """The verifier service. All calls raise `quintain.errors` classes and try once."""

    async def context(
        self, simulator: str, suite: str, objective: str, backends: tuple[BackendFacts, ...]
    ) -> tuple[str, SearchContext]:
        """The objective's name (the suite's own if empty) and what a search is created against.
        Raises NotFound or InvalidArgument naming the known ones."""

    async def verify(
        self,
        spec: SearchSpec,
        source: str,
        parts: Sequence[str],
        *,
        check_determinism: bool = False,
        confirm: bool = False,
    ) -> Verification:
        """Verify a policy on parts of the search's suite."""

    def decode(self, record: bytes) -> Verification:
        """A recorded verification."""
