"""kill -9 of a random service while answers are made in batches: each call is in one batch, and the books are the
provider's to the cent.

``python -m tests.crash --candidates 60 --kills 100`` is the full size; without that this is a short version.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.crash.harness import CrashStack, search
from tests.crash.test_conversations import made
from tests.crash.test_crash import CANDIDATES, KILLS, replays_bit_for_bit

from quintain.controller.v1 import controller_pb2 as pb
from quintain.generator.v1 import generator_pb2

INPUT_USD, OUTPUT_USD = 1.0e-6, 5.0e-6  # a token, by the tests' price file, in batches
FAULTS = ("batch_unanswered", "fence_no_code", "batch_lost", "batch_expired", "ok", "batch_unanswered", "batch_errored")


def check_the_books(stack: CrashStack, found: pb.Search, candidates: list[pb.Candidate]) -> None:
    """The ledger against the provider's own list: all that it charges for is on record, once."""
    provider = {call["request_id"]: call for call in stack.provider_calls()}
    assert len({call["digest"] for call in provider.values()}) == len(provider), "a request was answered twice"
    calls = [call for candidate in candidates for call in candidate.generation.calls]
    recorded = [call.provider_request_id for call in calls if call.outcome == "ok"]
    assert sorted(recorded) == sorted(provider)
    answers = [sum(call.outcome == "ok" for call in candidate.generation.calls) for candidate in candidates[1:]]
    assert set(answers) == {1, 2}  # one held no policy, and was asked for once more
    paid = sum(call["input_tokens"] * INPUT_USD + call["output_tokens"] * OUTPUT_USD for call in provider.values())
    assert found.spend.usd == pytest.approx(paid)
    assert (found.spend.at_risk_usd, found.spend.reserved_usd) == (0, 0)


@pytest.mark.timeout(30 + 20 * (CANDIDATES + KILLS))
# The other's batches are killed on PostgreSQL below, and at full size here too.
@pytest.mark.parametrize("wire", ["openai-batch", "anthropic-batch"] if KILLS >= 40 else ["openai-batch"])
def test_batches_among_crashes_are_paid_once_and_replayed(wire: str, tmp_path: Path) -> None:
    asyncio.run(_among_crashes(wire, tmp_path, f"sqlite:///{tmp_path}/crash.db"))


@pytest.mark.timeout(30 + 20 * (CANDIDATES + KILLS))
def test_batches_among_crashes_of_everything_on_postgresql(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    asyncio.run(_among_crashes("anthropic-batch", tmp_path, str(request.getfixturevalue("postgres_url"))))


async def _among_crashes(wire: str, folder: Path, store_url: str) -> None:
    postgres = store_url.startswith("postgresql")
    rough = CrashStack(
        folder / "rough", store_url, 2 if postgres else 1, wire, FAULTS, generator_url=store_url if postgres else ""
    )
    try:
        rough.start()
        found, summaries = await search(rough, CANDIDATES, KILLS, 5, parallel_generations=6)
        assert found.state == pb.SEARCH_STATE_FINISHED
        assert all(c.state in (pb.CANDIDATE_STATE_VERIFIED, pb.CANDIDATE_STATE_REJECTED) for c in summaries)
        assert not [c.number for c in summaries if c.generation_outcome == generator_pb2.OUTCOME_UNKNOWN]
        check_the_books(rough, found, await made(rough, summaries))
        await replays_bit_for_bit(rough, found)
    finally:
        rough.stop()
