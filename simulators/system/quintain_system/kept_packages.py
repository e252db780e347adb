"""Packages that came as files, kept by their digest, and whose a suite or scenario is."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

from quintain.plugins.simulator import InvalidInput, files_digest

P = TypeVar("P")


class KeptPackages(Generic[P]):
    """The `most` packages that were asked for last. Thread safe. `make` (files, prefix) may run twice for one."""

    def __init__(self, make: Callable[[Mapping[str, bytes], str], P], most: int) -> None:
        self._make, self._most = make, most
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], P] = OrderedDict()

    def get(self, name: str, files: Mapping[str, bytes]) -> P:
        """The package of a suite called `name`. Raises what `make` does."""
        prefix = owner_of(name)
        key = (prefix, files_digest(files))
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = self._make(files, prefix)
        with self._lock:
            self._kept[key] = made
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return made


def owner_of(name: str) -> str:
    """The package of a suite or scenario."""
    return name.partition("/")[0]


def one_owner(names: Sequence[str]) -> str:
    """Raises InvalidInput unless all belong to one package."""
    owners = {owner_of(name) for name in names}
    if len(owners) != 1:
        raise InvalidInput("scenarios", f"belong to different packages: {', '.join(sorted(owners))}")
    return owners.pop()
