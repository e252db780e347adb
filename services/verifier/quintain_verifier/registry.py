"""Finds simulators: installed ones by entry point, remote ones by configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points

from quintain.plugins.simulator import ENTRY_POINT_GROUP, Simulator


class RegistryError(Exception):
    """A simulator that was asked for is not there or cannot be loaded."""


def load_simulators(names: Sequence[str], remote: Mapping[str, str]) -> dict[str, Simulator]:
    """By name, sorted. `names`: the installed ones to load, empty for all. `remote`: name -> host:port; connected to
    only when it is used. Raises RegistryError."""
    found = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    missing = sorted(set(names) - set(found))
    if missing:
        raise RegistryError(f"simulators {missing} are not installed; installed are {sorted(found)}")
    loaded: dict[str, Simulator] = {}
    for name in sorted(names or found):
        try:
            simulator = found[name].load()
        except Exception as error:
            raise RegistryError(f"simulator {name} ({found[name].value}) cannot be loaded: {error!r}") from error
        if not isinstance(simulator, Simulator):
            raise RegistryError(f"simulator {name} ({found[name].value}) does not satisfy the Simulator interface")
        loaded[name] = simulator
    for name, address in sorted(remote.items()):
        if name in loaded:
            raise RegistryError(f"simulator {name} is both installed and remote ({address}); rename the remote one")
        # gRPC is wanted only where a remote simulator is.
        from quintain.clients.simulator import RemoteSimulator

        loaded[name] = RemoteSimulator(address)
    return dict(sorted(loaded.items()))
