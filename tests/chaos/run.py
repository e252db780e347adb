"""Searches among disturbances, one after the other until enough has been done to them, and then the checker."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos import checker
from tests.chaos.disturbances import ALWAYS, ON_POSTGRES, Stage
from tests.chaos.stack import ChaosStack
from tests.crash.harness import patiently

from quintain.controller.v1 import controller_pb2 as pb
from quintain.errors import QuintainError

CANDIDATES = 25  # of one search
QUIET_SECONDS = 300.0  # how long a search may take to end once nothing disturbs it any more


@dataclass
class Report:
    seconds: float = 0.0
    disturbances: Counter[str] = field(default_factory=Counter)
    counts: dict[str, int] = field(default_factory=dict)
    restarts: int = 0  # of services that ended by themselves, for want of a store at their start
    complaints: list[str] = field(default_factory=list)


async def chaos(folder: Path, postgres_url: str, disturbances: int, seed: int) -> Report:
    """`postgres_url`: SQLAlchemy's, of an empty database; empty: SQLite. `seed` decides what is drawn, not when."""
    begin = time.monotonic()
    stack = ChaosStack(folder, postgres_url or f"sqlite:///{folder}/chaos.db", 2 if postgres_url else 1)
    address = postgres_url.replace("postgresql+psycopg://", "postgresql://", 1)
    stage, report, chance = Stage(stack, address), Report(), random.Random(seed)
    stack.start()
    try:
        left = disturbances
        searches = 0
        while left > 0:
            search_id = await _create(stack, searches, seed)
            left = await _disturb(stage, chance, report, search_id, left)
            searches += 1
            if problem := await _ended(stack, search_id):
                report.complaints.append(problem)
        # Verdicts of the gates and held-out scores are still written after the end has been announced.
        report.complaints += [f"{name} did not end by itself" for name in await asyncio.to_thread(stack.drain)]
        report.complaints += [f"a process is left: {pid}" for pid in stack.processes()]
        provider = stack.provider_calls()
    finally:
        stack.stop()
    store = address or folder / "chaos.db"
    report.complaints += stage.complaints
    report.complaints += checker.check(store, folder / "generator.db", provider)
    report.complaints += checker.left_behind(folder)
    for name, log in stack.logs().items():
        if "Traceback (most recent call last)" in log:
            report.complaints.append(f"{name}.log holds {log.count('Traceback (most recent call last)')} tracebacks")
    report.counts = {
        "services that ended by themselves and were restarted": report.restarts,
        "searches": searches,
        "candidates": len(checker.rows(store, "SELECT number FROM candidates")),
        "calls that the provider saw": len(provider),
        "answers that it completed": sum(call["completed"] for call in provider),
        "events": len(checker.rows(store, "SELECT sequence FROM events")),
    }
    report.seconds = time.monotonic() - begin
    return report


async def _create(stack: ChaosStack, number: int, seed: int) -> str:
    one = stack.clients()[0]
    spec = pb.SearchSpec(
        simulator="tiny", suite="smoke", backends=["llm"], seed=seed, budget=pb.Budget(candidates=CANDIDATES)
    )
    request = pb.CreateSearchRequest(request_id=f"chaos-{number}", spec=spec)
    created = await patiently(lambda: one.create_search(request, timeout=10.0))
    await one.close()
    return str(created.search.search_id)


async def _disturb(stage: Stage, chance: random.Random, report: Report, search_id: str, left: int) -> int:
    """Until the search has ended or enough was done; how much is left to do."""
    kinds = ALWAYS + (ON_POSTGRES if stage.postgres else ())
    while left > 0:
        await asyncio.sleep(chance.uniform(0.0, 0.8))  # somewhere between two steps
        found = await _look(stage.stack, search_id)
        if found is not None and found.state not in (pb.SEARCH_STATE_RUNNING, pb.SEARCH_STATE_PAUSED):
            return left
        report.restarts += stage.stack.restart_ended()
        kind = chance.choice(kinds)
        done_to = await asyncio.to_thread(kind, stage, chance)
        report.disturbances[kind.__name__] += 1
        left -= 1
        print(f"{left:4} left  {kind.__name__.replace('_', ' ')}: {done_to}", flush=True)
    return 0


async def _ended(stack: ChaosStack, search_id: str) -> str:
    """Wait until the search has ended; what is wrong if it does not."""
    deadline = time.monotonic() + QUIET_SECONDS
    await asyncio.to_thread(stack.calm_provider)
    found = None
    while time.monotonic() < deadline:
        stack.restart_ended()
        found = await _look(stack, search_id) or found
        if found is not None and found.state not in (pb.SEARCH_STATE_RUNNING, pb.SEARCH_STATE_PAUSED):
            return ""
        if found is not None and found.state == pb.SEARCH_STATE_PAUSED:
            await _resume(stack, search_id)  # a backend that was down for long pauses a search until somebody looks
        await asyncio.sleep(0.2)
    state = (
        "unknown"
        if found is None
        else f"{pb.SearchState.Name(found.state)} ({found.pause_reason or found.stop_reason})"
    )
    return f"{search_id}: has not ended {QUIET_SECONDS:g} s after the last disturbance: {state}"


async def _look(stack: ChaosStack, search_id: str) -> pb.Search | None:
    """As any controller has it, or None if none answers now."""
    for client in stack.clients():
        try:
            return (await client.get_search(pb.GetSearchRequest(search_id=search_id), timeout=2.0)).search
        except QuintainError:
            continue
        finally:
            await client.close()
    return None


async def _resume(stack: ChaosStack, search_id: str) -> None:
    for client in stack.clients():
        try:
            await client.resume_search(pb.ResumeSearchRequest(search_id=search_id), timeout=5.0)
            return
        except QuintainError:
            continue
        finally:
            await client.close()
