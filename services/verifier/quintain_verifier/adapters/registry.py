"""Finds simulators: installed ones by entry point, remote ones by configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from quintain.plugins.doors import SIMULATORS
from quintain.plugins.loading import PluginError
from quintain.plugins.simulator import Simulator
from quintain_verifier.ports import SimulatorRegistry

if TYPE_CHECKING:  # pydantic, which a worker needs for a remote simulator only
    from quintain.wire.endpoints import Endpoint


class RegistryError(Exception):
    """The configuration asks for a simulator that is not there."""


def load_simulators(names: Sequence[str], remote: Mapping[str, Endpoint]) -> SimulatorRegistry:
    """`names`: the installed ones to load, empty for all. `remote`: connected to only when they are used. Raises
    RegistryError."""
    installed = SIMULATORS.names()
    missing = sorted(set(names) - set(installed))
    if missing:
        raise RegistryError(f"simulators {missing} are not installed; installed are {list(installed)}")
    both = sorted(set(names or installed) & set(remote))
    if both:
        raise RegistryError(f"simulator {both[0]} is both installed and remote; rename the remote one")
    usable: dict[str, Simulator] = {}
    unusable: dict[str, str] = {}
    for name in names or installed:
        try:
            usable[name] = SIMULATORS.load(name)
        except PluginError as error:
            unusable[name] = str(error)
    for name, endpoint in remote.items():
        usable[name] = _remote(endpoint)
    return SimulatorRegistry(dict(sorted(usable.items())), dict(sorted(unusable.items())))


def load_simulator(name: str, endpoint: Mapping[str, Any] | None) -> Simulator:
    """One of them: served at `endpoint` (plain values), else installed. Raises PluginError."""
    if endpoint is None:
        return SIMULATORS.load(name)
    from quintain.wire.endpoints import Endpoint

    return _remote(Endpoint.model_validate(endpoint))


def _remote(endpoint: Endpoint) -> Simulator:
    from quintain.clients.simulator import RemoteSimulator  # gRPC is wanted only where a remote simulator is

    return RemoteSimulator(endpoint)
