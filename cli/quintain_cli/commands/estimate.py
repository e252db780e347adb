"""What a budget is enough for, by what searches like it took: said before a search begins to spend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.markup import escape

from quintain.controller.v1 import controller_pb2 as pb
from quintain.generator.v1 import generator_pb2
from quintain_cli import render
from quintain_cli.connect import Connection
from quintain_cli.live import duration
from quintain_cli.render import errors

FEWEST_CANDIDATES = 5  # with fewer nothing is searched
LOOKED_AT = 50  # searches, newest first


@dataclass(frozen=True, slots=True)
class Habits:
    """What a candidate took on the average of some searches."""

    searches: int
    usd: float
    tokens: float
    seconds: float


def say_estimate(connection: Connection, spec: pb.SearchSpec) -> None:
    """Say on standard error what the budget is enough for, if searches like this one were run, and warn of one that is
    enough for nothing."""
    costly = costly_backend(connection, spec)
    if costly is not None:
        errors.print(
            f"[yellow]one request to {escape(costly.name)} may cost up to {render.usd(costly.max_request_cost_usd)}, "
            f"more than the whole budget of {render.usd(spec.budget.usd)}[/]"
        )
    listed = connection.controller.list_searches(pb.ListSearchesRequest(page_size=LOOKED_AT)).searches
    habits = learn_habits(spec, listed)
    if habits is None:
        return
    candidates = affordable(spec.budget, habits)
    text = (
        f"about {candidates:,.0f} candidates, {render.usd(candidates * habits.usd)}, "
        f"{duration(candidates * habits.seconds)}, by {habits.searches} earlier "
        f"{'search' if habits.searches == 1 else 'searches'} like this one"
    )
    few = candidates < FEWEST_CANDIDATES
    errors.print(f"[yellow]the budget is enough for {text}: too few for a search[/]" if few else f"estimate: {text}")


def learn_habits(spec: pb.SearchSpec, searches: Sequence[pb.Search]) -> Habits | None:
    """From searches of the same simulator, suite and backends; None if there are none with a candidate."""
    alike = [
        search.spend
        for search in searches
        if (search.spec.simulator, search.spec.suite) == (spec.simulator, spec.suite)
        and sorted(search.spec.backends) == sorted(spec.backends)
        and search.spend.candidates > 0
    ]
    count = sum(spend.candidates for spend in alike)
    if not count:
        return None
    usd, tokens, seconds = (sum(getattr(s, n) for s in alike) / count for n in ("usd", "tokens", "wall_seconds"))
    return Habits(len(alike), usd, tokens, seconds)


def affordable(budget: pb.Budget, habits: Habits) -> float:
    """How many candidates the tightest bound allows."""
    each = {
        "candidates": 1.0,
        "verifications": 1.0,
        "usd": habits.usd,
        "tokens": habits.tokens,
        "wall_seconds": habits.seconds,
    }
    bounds = [getattr(budget, n) / cost for n, cost in each.items() if budget.HasField(n) and cost > 0]  # type: ignore[arg-type]
    return min(bounds, default=float("inf"))


def costly_backend(connection: Connection, spec: pb.SearchSpec) -> generator_pb2.Backend | None:
    """A backend of the search one request to which may cost more than the whole budget; None where the generator
    cannot be asked."""
    if not spec.budget.HasField("usd") or "generator" not in connection.addresses:
        return None
    listed = connection.generator.list_backends(generator_pb2.ListBackendsRequest(page_size=LOOKED_AT)).backends
    asked = [b for b in listed if (b.name in spec.backends if spec.backends else b.is_default)]
    return next((b for b in asked if b.max_request_cost_usd > spec.budget.usd), None)
