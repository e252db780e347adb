"""Collects what became observable since the last message to the guest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from quintain.plugins.simulator import JsonValue


class FreePool(Protocol):
    available_cpu: int | float
    available_ram: int | float


class Outbox:
    """See `quintain_faas.protocol` for what the lists hold. Each list is handed over once and begun anew, so that a
    guest in the same process shares nothing with the engine."""

    def __init__(self) -> None:
        self.states: list[int] = []
        self.boundaries: list[list[int]] = []
        self.released: list[int] = []
        self.exits: list[list[JsonValue]] = []
        self.finished: list[list[int]] = []
        self.changed_pools: set[int] = set()
        self._lists: dict[str, list[Any]] = {
            "states": self.states,
            "boundaries": self.boundaries,
            "released": self.released,
            "exits": self.exits,
            "finished": self.finished,
        }

    def take(self, message: dict[str, Any], pools: Sequence[FreePool]) -> None:
        """Move everything into `message`, with what is free in the changed `pools`."""
        if self.changed_pools:
            message["pools"] = [
                [number, pools[number].available_cpu, pools[number].available_ram]
                for number in sorted(self.changed_pools)
            ]
            self.changed_pools.clear()
        for name, items in self._lists.items():
            if items:
                message[name] = items.copy()
                items.clear()
