"""Beside a ``workload.py``: makes the inputs of a scenario, in chunks.

The source defines ``inputs(config, random, duration)``: an iterable of ``(time, Record(kind, ...))``. Message: how many
are wanted. Answer: ``[[time, kind, field, ...], ...]``, fewer than wanted at the end.
"""

import itertools
import random
from collections.abc import Callable
from typing import Any

from quintain_system.guest.loading import Kinds, load_module
from quintain_system.interface import Named


class Session:
    """One loaded workload."""

    def __init__(self, source: str, setup: Any) -> None:
        module = load_module(source, "workload")
        if not callable(getattr(module, "inputs", None)):
            raise TypeError("the workload must define inputs(config, random, duration)")
        self._kinds = Kinds("an input", setup["inputs"])
        config = Named(**setup["config"])
        self._made = iter(module.inputs(config, random.Random(setup["seed"]), setup["duration"]))
        self.info = None

    def answer(self, message: Any) -> Any:
        return [[time, *self._kinds.encode(record)] for time, record in itertools.islice(self._made, message)]


def load(source: str, setup: Any, query: Callable[[Any], Any]) -> Session:
    return Session(source, setup)
