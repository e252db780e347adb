"""Runs beside the policy: its `decide(n)` answers every number of a message."""

from collections.abc import Callable, Sequence
from typing import Any


class Session:
    def __init__(self, decide: Callable[[int], int]) -> None:
        self.info: Any = {}
        self._decide = decide

    def answer(self, message: Sequence[int]) -> list[int]:
        return [self._decide(number) for number in message]


def load(source: str, setup: Any, query: Callable[[Any], Any]) -> Session:
    namespace: dict[str, Any] = {"__name__": "policy"}
    exec(compile(source, "policy.py", "exec"), namespace)
    if "decide" not in namespace:
        raise NameError("the policy must define decide(n)")
    return Session(namespace["decide"])
