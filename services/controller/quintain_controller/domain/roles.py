"""What each backend of a search is for: as the user says, else by what a request of it costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from quintain.plugins.strategy import Role
from quintain_controller.domain.estimate import bound_usd
from quintain_controller.domain.model import BackendProfile, SearchSpec

# A backend whose requests cost so many times as much as the cheapest one's is for rare ideas.
_STRONG_COSTS = 3.0


def assign(
    backends: tuple[BackendProfile, ...], wanted: Mapping[str, str], spec: SearchSpec
) -> tuple[BackendProfile, ...]:
    """The backends with their roles. Raises ValueError if `wanted` names another backend, or leaves nobody to write."""
    unknown = [name for name in wanted if name not in {backend.name for backend in backends}]
    if unknown:
        raise ValueError(f"{', '.join(map(repr, unknown))} is no backend of this search")
    costs = {backend.name: _usual_usd(backend, spec) for backend in backends}
    # Where nothing costs anything all of them write.
    free = [name for name, cost in costs.items() if cost == 0] if any(costs.values()) else []
    cheapest = min((cost for cost in costs.values() if cost), default=0)

    def role(name: str) -> str:
        cost = costs[name]
        if name in wanted:
            return wanted[name]
        if name in free:
            return Role.SWEEP.value
        return Role.STRONG.value if cost is not None and cost > _STRONG_COSTS * cheapest else Role.MAIN.value

    made = tuple(replace(backend, role=role(backend.name)) for backend in backends)
    if all(backend.role == Role.SWEEP.value for backend in made):
        raise ValueError("every backend has the role sweep, which changes what others wrote: nobody would write")
    return made


def _usual_usd(backend: BackendProfile, spec: SearchSpec) -> int | None:
    """What a request of it costs, as far as anybody knows."""
    bound = bound_usd(backend, spec)
    return backend.typical_cost_usd_nano if bound and backend.typical_cost_usd_nano is not None else bound
