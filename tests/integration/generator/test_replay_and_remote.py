"""A recording plays back bit for bit without its backend; another generator serves as a backend."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.fault_server.server import FaultServer
from tests.support.generator import KEY, MODEL, Stack, request, stack

from quintain.errors import FailedPrecondition, QuintainError
from quintain.generator.v1 import generator_pb2 as pb

# What differs between two runs of the same: the clock, the name of the backend, whether it was paid.
VOLATILE = ("finished_at", "backend", "cost", "recorded")


def same(generation: pb.Generation) -> pb.Generation:
    copy = pb.Generation()
    copy.CopyFrom(generation)
    for field in VOLATILE:
        copy.ClearField(field)  # type: ignore[arg-type]  # names of fields
    for call in copy.calls:
        call.ClearField("seconds")
    return copy


async def conversation(s: Stack) -> list[pb.Generation]:
    """Answers, a retried fault, a refusal, a diff that is asked again."""
    diff = {"operator": pb.OPERATOR_DIFF}
    asked = [request("r1", "tape"), request("r2", "tape", seed=2), request("r3", "tape", seed=3),
             request("r4", "tape", seed=4, **diff)]  # fmt: skip
    return [await s.generate_once(message) for message in asked]


def tape(folder: Path, mode: str, url: str = "", key: Path | None = None) -> dict[str, object]:
    options: dict[str, object] = {"mode": mode, "folder": str(folder)}
    if url:
        inner = {"base_url": f"{url}/v1", "api_key_file": str(key)}
        options["inner"] = {"kind": "openai", "model": MODEL, "options": inner}
    return {"kind": "replay", "options": options, "retry_base_seconds": 0.01}


async def test_a_recording_is_played_back_bit_for_bit_and_costs_nothing(tmp_path: Path) -> None:
    key, recording = tmp_path / "key", tmp_path / "recording"
    key.write_text(KEY)
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    async with FaultServer(["ok", "rate_limited_soon", "ok", "refusal", "bad_diff", "diff"]) as provider:
        backends = {"tape": tape(recording, "record", provider.url, key)}
        async with stack(first, backends=backends) as s:
            recorded = await conversation(s)
        assert len(provider.seen) == 6
    async with stack(second, backends={"tape": tape(recording, "play")}) as s:
        played = await conversation(s)
    assert [g.outcome for g in recorded] == [pb.OUTCOME_OK, pb.OUTCOME_OK, pb.OUTCOME_REFUSED, pb.OUTCOME_OK]
    assert [same(g) for g in played] == [same(g) for g in recorded]
    assert all(g.cost.usd > 0 for g in recorded)
    assert all(g.cost == pb.Cost() for g in played)


async def test_a_generator_that_is_restarted_within_a_request_goes_on_with_the_right_exchange(tmp_path: Path) -> None:
    key, recording = tmp_path / "key", tmp_path / "recording"
    key.write_text(KEY)
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    async with (
        FaultServer(["rate_limited_soon", "overloaded", "ok"]) as provider,
        stack(first, backends={"tape": tape(recording, "record", provider.url, key)}) as s,
    ):
        recorded = await s.generate_once(request("r1", "tape"))
    impatient = tape(recording, "play") | {"max_calls": 1}
    for reason in ("RATE_LIMITED", "BACKEND_DOWN"):
        async with stack(second, backends={"tape": impatient}) as s:
            with pytest.raises(QuintainError) as error:
                await s.generate_once(request("r1", "tape"))
            assert error.value.reason == reason
    async with stack(second, backends={"tape": impatient}) as s:
        played = await s.generate_once(request("r1", "tape"))
    assert same(played) == same(recorded)
    assert [call.outcome for call in played.calls] == ["rate_limited", "overloaded", "ok"]


async def test_playing_refuses_what_was_not_recorded_and_a_prompt_that_has_changed(tmp_path: Path) -> None:
    key, recording = tmp_path / "key", tmp_path / "recording"
    key.write_text(KEY)
    async with (
        FaultServer() as provider,
        stack(tmp_path, backends={"tape": tape(recording, "record", provider.url, key)}) as s,
    ):
        await s.generate_once(request("r1", "tape"))
    (file,) = recording.iterdir()
    exchange = json.loads(file.read_text())
    exchange["messages"][0]["content"] += "one more word"
    file.write_text(json.dumps(exchange))
    (tmp_path / "generator.db").unlink()
    async with stack(tmp_path, backends={"tape": tape(recording, "play")}) as s:
        with pytest.raises(FailedPrecondition, match="the prompt is not the one of the recorded exchange"):
            await s.generate_once(request("r1", "tape"))
        with pytest.raises(FailedPrecondition, match="the recording has no exchange"):
            await s.generate_once(request("r2", "tape", seed=2))
    for damaged in (json.dumps(exchange)[:-20], "{}", json.dumps(exchange | {"reply": {"outcome": "?"}})):
        file.write_text(damaged)
        (tmp_path / "generator.db").unlink()
        async with stack(tmp_path, backends={"tape": tape(recording, "play")}) as s:
            with pytest.raises(FailedPrecondition, match="cannot be read"):
                await s.generate_once(request("r1", "tape"))


async def test_another_generator_is_a_backend_with_its_own_meter(tmp_path: Path) -> None:
    near, far = tmp_path / "near", tmp_path / "far"
    near.mkdir()
    far.mkdir()
    script = ["overloaded", "ok", "refusal", "auth", "fence_no_code", "fence_no_code"]
    async with stack(far, faults=FaultServer(script)) as other:
        remote = {"kind": "remote", "options": {"address": other.address, "backend": "llm"}}
        async with stack(near, backends={"far": remote}) as s:
            g = await s.generate_once(request("r1", "far"))
            refused = await s.generate_once(request("r2", "far", seed=2))
            with pytest.raises(FailedPrecondition) as error:
                await s.generate_once(request("r3", "far", seed=3))
            empty = await s.generate_once(request("r4", "far", seed=4))
        there = (await other.client.get_generation(pb.GetGenerationRequest(request_id="r1"))).generation
    assert g.source == there.source
    assert g.cost.usd == there.cost.usd > 0
    assert g.usage == there.usage
    assert (g.backend, g.model) == ("far", MODEL)
    assert refused.outcome == pb.OUTCOME_REFUSED
    assert empty.outcome == pb.OUTCOME_NO_CODE
    assert error.value.reason == "AUTHENTICATION_FAILED"
    assert len(other.server.seen) == 6


async def test_money_at_a_remote_generator_is_counted_once_over_its_retries(tmp_path: Path) -> None:
    """The far side fails after a call at risk; the near side asks again with the same id, and gets the sum."""
    near, far = tmp_path / "near", tmp_path / "far"
    near.mkdir()
    far.mkdir()
    backend = {"max_calls": 2, "breaker_cooldown_seconds": 0.01}
    async with stack(far, faults=FaultServer(["cut_mid_stream", "overloaded", "ok"]), backend=backend) as other:
        remote = {"kind": "remote", "options": {"address": other.address, "backend": "llm"}}
        async with stack(near, backends={"far": remote}) as s:
            g = await s.generate_once(request("r1", "far"))
        there = (await other.client.get_generation(pb.GetGenerationRequest(request_id="r1"))).generation
    assert len(other.server.seen) == 3
    assert there.cost.at_risk_usd > 0
    assert g.cost.usd == pytest.approx(there.cost.usd)
    assert g.cost.at_risk_usd == pytest.approx(there.cost.at_risk_usd)
