"""Collects what became observable since the last message to the guest."""

from __future__ import annotations

from typing import Any

from quintain.plugins.simulator import JsonValue


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

    def take(self, message: dict[str, Any], available: list[list[JsonValue]]) -> None:
        """Move everything into `message`; `available` describes the changed pools."""
        if available:
            message["pools"] = available
            self.changed_pools.clear()
        for name in ("states", "boundaries", "released", "exits", "finished"):
            items: list[Any] = getattr(self, name)
            if items:
                message[name] = items.copy()
                items.clear()
