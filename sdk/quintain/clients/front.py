"""The candidates of a search of several objectives among which one chooses afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from quintain.controller.v1 import controller_pb2 as pb
from quintain.errors import InvalidArgument
from quintain.pareto import front
from quintain.type.v1 import type_pb2
from quintain.verifier.v1 import verifier_pb2


@dataclass(frozen=True, slots=True)
class FrontRow:
    """A candidate of the front. `values` by name of the objective, the one that scores first, each in its unit."""

    number: int
    candidate_id: str
    values: Mapping[str, float]


def objective_names(search: pb.Search) -> list[str]:
    return [search.objective.name, *(objective.name for objective in search.further_objectives)]


def all_rows(search: pb.Search, candidates: Iterable[pb.CandidateSummary]) -> list[FrontRow]:
    """The candidates that ran to the end and have a value of every objective, in order of number."""
    names, count = objective_names(search), len(search.further_objectives)
    return [
        FrontRow(c.number, c.candidate_id, dict(zip(names, (c.score, *c.further_values), strict=True)))
        for c in candidates
        if c.verdict_status == verifier_pb2.VERDICT_STATUS_OK and len(c.further_values) == count
    ]


def front_rows(search: pb.Search, candidates: Iterable[pb.CandidateSummary]) -> list[FrontRow]:
    """The candidates that no other is at least as good as in all objectives, the best score first. Empty for a search
    of one objective."""
    if not search.further_objectives:
        return []
    rows = {row.number: row for row in all_rows(search, candidates)}
    points = {
        number: [_turned(search, name, value) for name, value in row.values.items()] for number, row in rows.items()
    }
    return sorted((rows[number] for number in front(points)), key=lambda row: -points[row.number][0])


def preferred(search: pb.Search, rows: list[FrontRow], name: str) -> FrontRow:
    """The row of the front that is best in one objective. Raises InvalidArgument for another name, or an empty
    front."""
    if name not in objective_names(search):
        known = ", ".join(objective_names(search))
        raise InvalidArgument.of("prefer", f"{name!r} is no objective of search {search.search_id}; it has {known}")
    if not rows:
        raise InvalidArgument.of("prefer", f"no candidate of search {search.search_id} has a value of every objective")
    return max(rows, key=lambda row: _turned(search, name, row.values[name]))  # the first of equals has the best score


def _turned(search: pb.Search, name: str, value: float) -> float:
    """So that greater is better. The score runs the search's way, which is not always its metric's."""
    if name == search.objective.name:
        return -value if search.direction == type_pb2.DIRECTION_MINIMIZE else value
    (objective,) = (o for o in search.further_objectives if o.name == name)
    return -value if objective.direction == type_pb2.DIRECTION_MINIMIZE else value
