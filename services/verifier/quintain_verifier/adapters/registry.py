"""Finds simulators: installed ones by entry point, remote ones by configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points

from quintain.plugins.simulator import ENTRY_POINT_GROUP, Simulator
from quintain.wire.endpoints import Endpoint


class RegistryError(Exception):
    """A simulator that was asked for is not there or cannot be loaded."""


def load_simulators(names: Sequence[str], remote: Mapping[str, Endpoint]) -> dict[str, Simulator]:
    """By name, sorted. `names`: the installed ones to load, empty for all. `remote`: connected to only
    when they are used. Raises RegistryError."""
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
    for name, endpoint in sorted(remote.items()):
        if name in loaded:
            raise RegistryError(
                f"simulator {name} is both installed and remote ({endpoint.address}); rename the remote one"
            )
        # gRPC is wanted only where a remote simulator is.
        from quintain.clients.simulator import RemoteSimulator

        loaded[name] = RemoteSimulator(endpoint)
    return dict(sorted(loaded.items()))
