"""kill -9 of a random service at random moments: the search ends as if nothing had happened.

``python -m tests.crash`` asks for 60 candidates and 40 kills; without that this is a short version.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from tests.crash.harness import CrashStack, search

from quintain.controller.v1 import controller_pb2 as pb
from quintain.generator.v1 import generator_pb2

CANDIDATES = int(os.environ.get("QUINTAIN_CRASH_CANDIDATES", "12"))
KILLS = int(os.environ.get("QUINTAIN_CRASH_KILLS", "4"))


def essence(summary: pb.CandidateSummary) -> tuple[Any, ...]:
    parents = [parent.rpartition(".")[2] for parent in summary.parent_ids]
    return (summary.number, summary.state, parents, summary.operator, summary.score, summary.verdict_digest)


async def replays_bit_for_bit(stack: CrashStack, search: pb.Search) -> None:
    differences: list[str] = []
    report = pb.ReplayReport()
    client = stack.clients()[0]
    async for response in client.replay_search(pb.ReplaySearchRequest(search_id=search.search_id), timeout=300.0):
        report = response.report
        if response.WhichOneof("event") == "difference":
            differences.append(response.difference)
    await client.close()
    assert differences == []
    assert report.equal
    assert report.winner_equal
    assert report.plans_equal == report.candidates == CANDIDATES + 1


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[pb.Search, list[pb.CandidateSummary]]:
    folder = tmp_path_factory.mktemp("calm")
    calm = CrashStack(folder, f"sqlite:///{folder}/calm.db", 1)
    try:
        calm.start()
        return asyncio.run(search(calm, CANDIDATES, 0, 1))
    finally:
        calm.stop()


@pytest.mark.timeout(30 + 20 * (CANDIDATES + KILLS))
@pytest.mark.parametrize(("store", "controllers"), [("sqlite", 1), ("postgresql", 2)])
async def test_a_search_among_crashes_ends_like_an_undisturbed_one(
    store: str,
    controllers: int,
    undisturbed: tuple[pb.Search, list[pb.CandidateSummary]],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    expected, expected_candidates = undisturbed
    url = f"sqlite:///{tmp_path}/crash.db" if store == "sqlite" else str(request.getfixturevalue("postgres_url"))
    rough = CrashStack(tmp_path / "rough", url, controllers)
    try:
        rough.start()
        found, candidates = await search(rough, CANDIDATES, KILLS, 2)
        assert found.state == pb.SEARCH_STATE_FINISHED
        assert [c.number for c in candidates] == list(range(CANDIDATES + 1))
        assert all(c.state in (pb.CANDIDATE_STATE_VERIFIED, pb.CANDIDATE_STATE_REJECTED) for c in candidates)
        # A generator killed in the middle of a call cannot know what came of it; that is said, and never repeated.
        unknown = [c for c in candidates if c.generation_outcome == generator_pb2.OUTCOME_UNKNOWN]
        print("generations of unknown outcome:", [c.number for c in unknown])
        known_calls = sum(1 for c in candidates if c.number > 0) - len(unknown)
        assert known_calls <= rough.completed_calls() <= known_calls + len(unknown)
        assert found.spend.usd == pytest.approx(sum(c.cost.usd for c in candidates))
        assert found.spend.reserved_usd == 0
        # An unknown outcome is told to the strategy, so that what comes after it differs from the undisturbed run; that
        # it is still what an undisturbed run makes of the same answers, candidate by candidate, a replay shows.
        await replays_bit_for_bit(rough, found)
        same = min((c.number for c in unknown), default=CANDIDATES + 1)
        assert [essence(c) for c in candidates[:same]] == [essence(c) for c in expected_candidates[:same]]
        if not unknown:
            assert found.winner.number == expected.winner.number
            assert found.spend.usd == expected.spend.usd
    finally:
        rough.stop()
