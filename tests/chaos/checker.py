"""What must be true after a search among disturbances, read from the stores and the provider's own list.

Independent of the services: plain SQL, plain JSON, no code of theirs. Each function gives complaints,
none if all is well.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg

FINISHED, VERIFIED, REJECTED = 3, 3, 4
CHARGED = {"ok", "truncated", "refusal", "content_filter", "empty"}  # outcomes of a call that bring an answer
NANO = 1e-9
LEAST_USD = 5e-10  # the controller counts in billionths


def rows(store: str | Path, query: str) -> list[dict[str, Any]]:
    """`store`: a SQLite file, or a PostgreSQL address."""
    if isinstance(store, Path):
        connection = sqlite3.connect(f"file:{store}?mode=ro", uri=True)
        connection.row_factory = sqlite3.Row
        try:
            return [dict(row) for row in connection.execute(query)]
        finally:
            connection.close()
    with psycopg.connect(store) as postgres:
        cursor = postgres.execute(query.encode())
        assert cursor.description is not None
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]


def check(controller_store: str | Path, generator_store: Path, provider: Sequence[dict[str, Any]]) -> list[str]:
    """Everything. `provider`: its calls in order, with `request_id` and `completed`."""
    searches = rows(controller_store, "SELECT * FROM searches")
    candidates = [
        row | json.loads(row["data"])
        for row in rows(controller_store, "SELECT * FROM candidates ORDER BY search_id, number")
    ]
    events = rows(controller_store, "SELECT search_id, sequence FROM events ORDER BY search_id, sequence")
    generations = {row["request_id"]: row for row in rows(generator_store, "SELECT * FROM generation")}
    calls = rows(generator_store, "SELECT * FROM generation_call")
    found: list[str] = []
    for search in searches:
        own = [c for c in candidates if c["search_id"] == search["search_id"]]
        found += _search(search, own)
        found += _events(search, [e["sequence"] for e in events if e["search_id"] == search["search_id"]])
        found += _ledgers(search, own, generations)
    found += _generations(generations, calls)
    found += _provider(calls, provider)
    return found


def _search(search: dict[str, Any], candidates: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Every candidate is there once and settled, and the best is the best."""
    name = search["search_id"]
    if search["state"] != FINISHED:
        yield f"{name}: is in state {search['state']} ({search['reason']})"
    numbers = [c["number"] for c in candidates]
    if numbers != list(range(len(numbers))):
        yield f"{name}: candidates are {numbers}, not each number once"
    if lost := [c["number"] for c in candidates if c["state"] not in (VERIFIED, REJECTED)]:
        yield f"{name}: candidates {lost} are not settled"
    scored = {c["number"]: c["train"]["score"] for c in candidates if c["train"] and c["status"] == 1}
    if scored and scored.get(search["best_number"]) != max(scored.values()):
        best = max(scored, key=lambda n: scored[n])
        yield f"{name}: best is #{search['best_number']}, but #{best} has {scored[best]}"
    if search["winner_number"] is not None and search["winner_number"] not in scored:
        yield f"{name}: the winner #{search['winner_number']} has no score"


def _events(search: dict[str, Any], sequences: Sequence[int]) -> Iterator[str]:
    if list(sequences) != list(range(1, search["last_sequence"] + 1)):
        yield f"{search['search_id']}: events have gaps: {len(sequences)} up to {search['last_sequence']}"


def _ledgers(
    search: dict[str, Any], candidates: Sequence[dict[str, Any]], generations: dict[str, dict[str, Any]]
) -> Iterator[str]:
    """The controller's books are the generator's, candidate by candidate and in sum."""
    name = search["search_id"]
    spend = json.loads(search["spend"])
    spent = at_risk = 0
    for candidate in candidates:
        if candidate["plan"] is None:
            continue
        charge = candidate["charge"]
        spent, at_risk = spent + charge["usd_nano"], at_risk + charge["at_risk_usd_nano"]
        generation = generations.get(f"{name}/{candidate['number']}")
        if generation is None:
            yield f"{name} #{candidate['number']}: the generator knows nothing of it"
            continue
        result = json.loads(generation["result"]) if generation["result"] else None
        if result is None:
            yield f"{name} #{candidate['number']}: its generation has no result"
            continue
        for what, here in (("usd", charge["usd_nano"]), ("at_risk_usd", charge["at_risk_usd_nano"])):
            there = result["cost"][what] or 0.0
            if not math.isclose(here * NANO, there, abs_tol=LEAST_USD):
                yield f"{name} #{candidate['number']}: {what} is {here * NANO:.9f}, the generator says {there:.9f}"
    if (spend["usd_nano"], spend["at_risk_usd_nano"]) != (spent, at_risk):
        booked = f"{spend['usd_nano']} + {spend['at_risk_usd_nano']} at risk"
        yield f"{name}: spend says {booked}, its candidates {spent} + {at_risk}"


def _generations(generations: dict[str, dict[str, Any]], calls: Sequence[dict[str, Any]]) -> Iterator[str]:
    """A result's cost is the sum of its calls."""
    for request_id, generation in generations.items():
        if generation["result"] is None:
            continue
        result = json.loads(generation["result"])
        own = [c for c in calls if c["request_id"] == request_id]
        for what, column in (("usd", "charged_usd"), ("at_risk_usd", "at_risk_usd")):
            in_calls = sum(c[column] or 0.0 for c in own)
            if not math.isclose(result["cost"][what] or 0.0, in_calls, abs_tol=LEAST_USD):
                yield f"{request_id}: {what} is {result['cost'][what]}, its calls say {in_calls}"


def _provider(calls: Sequence[dict[str, Any]], provider: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Every completed answer is recorded or declared at risk, none is recorded twice or paid for without one."""
    completed = {call["request_id"] for call in provider if call["completed"]}
    recorded: Counter[str] = Counter()
    declared = 0
    for call in calls:
        reply = json.loads(call["reply"]) if call["reply"] else None
        if reply is not None and reply["outcome"] in CHARGED:
            recorded[reply["provider_request_id"]] += 1
        elif (call["at_risk_usd"] or 0.0) > 0 or reply is None:
            declared += 1
    if twice := [name for name, count in recorded.items() if count > 1]:
        yield f"answers recorded twice: {twice}"
    if invented := sorted(set(recorded) - completed):
        yield f"answers recorded that the provider never completed: {invented}"
    silent = completed - set(recorded)
    if len(silent) > declared:
        yield f"{len(silent)} completed answers are not recorded, only {declared} calls are declared: {sorted(silent)}"


def left_behind(folder: Path) -> list[str]:
    """Files that no service should leave after it has ended by itself."""
    return [f"left behind: {path.name}" for path in folder.rglob("*") if path.suffix in (".partial", ".tmp")]
