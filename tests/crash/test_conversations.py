"""kill -9 of a random service while models converse with tools: every turn is paid once, the books are the provider's.

``python -m tests.crash --candidates 60 --kills 100`` is the full size; without that this is a short version.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.crash.harness import CrashStack, patiently, search
from tests.crash.test_crash import CANDIDATES, KILLS, essence, replays_bit_for_bit

from quintain.controller.v1 import controller_pb2 as pb
from quintain.generator.v1 import generator_pb2

AGENT = pb.AgentOptions(max_turns=6, max_runs=6, max_seconds=300.0)
CALLS_PER_CANDIDATE = 2.0  # at the least, as the fault server plays
INPUT_USD, OUTPUT_USD = 2.0e-6, 10.0e-6  # a token, by the tests' price file


async def made(stack: CrashStack, summaries: list[pb.CandidateSummary]) -> list[pb.Candidate]:
    client = stack.clients()[0]
    found = []
    for summary in summaries:
        request = pb.GetCandidateRequest(candidate_id=summary.candidate_id)
        found.append((await patiently(lambda request=request: client.get_candidate(request))).candidate)
    await client.close()
    return found


def check_the_books(stack: CrashStack, found: pb.Search, candidates: list[pb.Candidate]) -> None:
    """The ledger against the provider's own list."""
    provider = {call["request_id"]: call for call in stack.provider_calls()}
    assert len({call["digest"] for call in provider.values()}) == len(provider), "a turn was asked for twice"
    recorded = [
        call.provider_request_id
        for candidate in candidates
        for call in candidate.generation.calls
        if call.outcome == "ok"
    ]
    assert len(recorded) == len(set(recorded)), "a call is on record twice"
    assert set(recorded) <= provider.keys()
    unknown = [c for c in candidates if c.summary.generation_outcome == generator_pb2.OUTCOME_UNKNOWN]
    assert len(provider) - len(recorded) <= len(unknown)
    paid = {name: _usd(call) for name, call in provider.items()}
    assert found.spend.usd == pytest.approx(sum(paid[name] for name in recorded))
    assert sum(paid.values()) <= found.spend.usd + found.spend.at_risk_usd + 1e-9
    runs = [use.runs for candidate in candidates for use in candidate.tool_uses]
    assert found.spend.tool_runs == sum(runs) > 0
    assert found.spend.tool_seconds == pytest.approx(sum(u.seconds for c in candidates for u in c.tool_uses))
    assert (found.spend.reserved_usd, found.spend.reserved_tool_runs) == (0, 0)


def _usd(call: dict[str, float]) -> float:
    return call["input_tokens"] * INPUT_USD + call["output_tokens"] * OUTPUT_USD


def check_the_tools(candidate: pb.Candidate) -> None:
    """What the model was told is what the controller has on record."""
    said = {use.call.call_id: use.result for use in candidate.tool_uses}
    told = {r.call_id: r for turn in candidate.generation.turns for r in turn.tool_results}
    assert all(told[name] == result for name, result in said.items() if name in told)
    if candidate.generation.outcome == generator_pb2.OUTCOME_OK:
        assert said.keys() <= told.keys()


@pytest.mark.timeout(30 + 20 * (CANDIDATES + KILLS))
@pytest.mark.parametrize("wire", ["anthropic", "openai", "compatible"] if KILLS >= 40 else ["anthropic"])
def test_conversations_among_crashes_are_paid_once_and_replayed(wire: str, tmp_path: Path) -> None:
    asyncio.run(_among_crashes(wire, tmp_path))


@pytest.mark.skipif(KILLS < 40, reason="at full size only: python -m tests.crash")
@pytest.mark.timeout(30 + 20 * (CANDIDATES + KILLS))
def test_conversations_among_crashes_of_two_controllers_on_one_database(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    asyncio.run(_among_crashes("anthropic", tmp_path, str(request.getfixturevalue("postgres_url"))))


async def _among_crashes(wire: str, folder: Path, store_url: str = "") -> None:
    kills = KILLS if wire == "anthropic" else KILLS // 4
    rough = CrashStack(folder / "rough", store_url or f"sqlite:///{folder}/crash.db", 2 if store_url else 1, wire)
    try:
        rough.start()
        found, summaries = await search(rough, CANDIDATES, kills, 3, CALLS_PER_CANDIDATE, agent=AGENT)
        assert found.state == pb.SEARCH_STATE_FINISHED
        assert all(c.state in (pb.CANDIDATE_STATE_VERIFIED, pb.CANDIDATE_STATE_REJECTED) for c in summaries)
        candidates = await made(rough, summaries)
        unknown = [c.number for c in summaries if c.generation_outcome == generator_pb2.OUTCOME_UNKNOWN]
        print("generations of unknown outcome:", unknown, "spend:", found.spend)
        check_the_books(rough, found, candidates)
        for candidate in candidates:
            check_the_tools(candidate)
        await replays_bit_for_bit(rough, found)
        assert len({essence(c)[0] for c in summaries}) == CANDIDATES + 1
    finally:
        rough.stop()
