"""The loader of plug-ins: every door is an entry point group, and this module alone opens them (doors.py lists them).

A plug-in is loaded when it is first asked for, one at a time. One that cannot be loaded, or that is not what its door
asks for, hurts only itself: it stays in the listing with the reason, and loading it raises `PluginError`.

    STRATEGIES.load("evolve")
    STRATEGIES.listing()  # name -> reason why it cannot be used, empty where it can

What is installed is read once for each door. A name that was installed later is known to be, and said to need a
restart: the process may hold older modules of the same wheel.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from quintain.extras import install_hint
from quintain.plugins.naming import near

T = TypeVar("T")


class PluginError(Exception):
    """A plug-in that was asked for cannot be used; the message names it and says why."""


class UnknownPlugin(PluginError):
    """Nothing of that name is installed; the message names what is."""


class Door(Generic[T]):
    """An entry point group and what may come in. Thread safe.

    `check` says what is wrong with what an entry point loaded, in words that follow "it", or nothing. `find` gives the
    entry points; the default asks the installed distributions.
    """

    def __init__(
        self,
        group: str,
        noun: str,
        check: Callable[[object], str],
        find: Callable[[str], Iterable[EntryPoint]] | None = None,
    ) -> None:
        self.group, self.noun = group, noun
        self._check = check
        self._find = find or (lambda group: entry_points(group=group))
        self._lock = threading.RLock()  # a plug-in may open a door while it is loaded
        self._entries: dict[str, list[EntryPoint]] | None = None
        self._loaded: dict[str, T | PluginError] = {}

    def names(self) -> tuple[str, ...]:
        """What is installed, usable or not, sorted."""
        with self._lock:
            if self._entries is None:
                self._entries = self._scan()
            return tuple(sorted(self._entries))

    def load(self, name: str) -> T:
        """The plug-in of that name, loaded once. Raises UnknownPlugin or PluginError, again each time."""
        with self._lock:
            if name not in self.names():
                raise UnknownPlugin(self._unknown(name))
            if name not in self._loaded:
                self._loaded[name] = self._open(name)
            found = self._loaded[name]
        if isinstance(found, PluginError):
            raise found
        return found

    def listing(self) -> Mapping[str, str]:
        """Every installed name with the reason why it cannot be used; empty where it can. Loads all of them."""
        reasons = {}
        for name in self.names():
            try:
                self.load(name)
            except PluginError as error:
                reasons[name] = str(error)
            else:
                reasons[name] = ""
        return reasons

    def _scan(self) -> dict[str, list[EntryPoint]]:
        found: dict[str, list[EntryPoint]] = {}
        for entry in self._find(self.group):
            others = found.setdefault(entry.name, [])
            # One distribution may be seen twice: installed, and as its source folder on the path.
            if entry.value not in [other.value for other in others]:
                others.append(entry)
        return found

    def _open(self, name: str) -> T | PluginError:
        assert self._entries is not None
        entries = self._entries[name]
        if len(entries) > 1:
            claims = " and ".join(f"{e.value} of {_distribution(e)}" for e in entries)
            return PluginError(f"the {self.noun} {name!r} is offered twice ({claims}); remove one of them")
        (entry,) = entries
        origin = f"the {self.noun} {name!r} ({entry.value} of {_distribution(entry)})"
        try:
            loaded = entry.load()
            problem = self._check(loaded)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the boundary to a guest's code
            hint = install_hint(error.name) if isinstance(error, ModuleNotFoundError) else ""
            if hint:
                return PluginError(f"the {self.noun} {name!r} cannot be used: {hint}")
            return PluginError(f"{origin} cannot be loaded: {type(error).__name__}: {error}")
        if problem:
            return PluginError(f"{origin} cannot be used: it {problem}")
        return loaded  # type: ignore[no-any-return]  # `check` has looked at it

    def _unknown(self, name: str) -> str:
        if name in self._scan():
            return f"the {self.noun} {name!r} was installed after this process had started: restart it to use it"
        alike = near(name, self.names())
        return f"no {self.noun} {name!r} is installed{alike}; installed are: {', '.join(self.names()) or 'none'}"


def _distribution(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else "an unknown distribution"
