"""Verdicts over gRPC, between real processes."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.processes import until
from tests.support.verifier import (
    BY_HASH,
    ENDLESS,
    LAST_DIGIT,
    PERFECT,
    RAISING,
    REJECTED,
    RunningVerifier,
    request,
    running_verifier,
    verify,
)

from quintain.clients.verifier import Verifier
from quintain.errors import Internal, InvalidArgument, NotFound, ResourceExhausted
from quintain.type.v1 import type_pb2
from quintain.verifier.v1 import verifier_pb2 as pb
from quintain.verifier.v1 import verifier_pb2_grpc


def test_a_good_policy_gets_its_score_on_both_parts(client: Verifier) -> None:
    verdict = verify(client, PERFECT).verdict
    assert verdict.status == pb.VERDICT_STATUS_OK
    assert (verdict.train.score, verdict.held_out.score) == (1.0, 1.0)
    assert verdict.train.baseline_score == pytest.approx((5 / 40 + 1 / 10) / 2)
    assert [s.scenario for s in verdict.scenarios] == ["long", "short", "secret"]


def test_the_stream_is_progress_and_then_exactly_one_result(stub: verifier_pb2_grpc.VerifierStub) -> None:
    events = list(stub.Verify(request(PERFECT + "# streamed\n", suite="smoke")))
    assert [e.WhichOneof("event") for e in events] == ["progress"] * (len(events) - 1) + ["result"]
    done = [e.progress.scenarios_done for e in events[:-1]]
    assert done == sorted(done)
    assert all(e.progress.digest == events[-1].result.verdict.digest for e in events[:-1])


def test_a_cached_verdict_is_the_same_to_the_last_byte_and_says_so(client: Verifier) -> None:
    first, second = (verify(client, LAST_DIGIT) for _ in range(2))
    assert second.execution.cached
    assert second.verdict.SerializeToString() == first.verdict.SerializeToString()
    found = client.get_verdict(pb.GetVerdictRequest(digest=first.verdict.digest)).result
    assert found.verdict == first.verdict
    assert found.feedback.text == first.feedback.text


def test_who_ignores_the_cache_gets_a_run_that_says_the_same(client: Verifier) -> None:
    first, again = verify(client, LAST_DIGIT), verify(client, LAST_DIGIT, ignore_cache=True)
    assert not again.execution.cached
    assert again.execution.finished_at.ToNanoseconds() > first.execution.finished_at.ToNanoseconds()
    assert again.verdict == first.verdict
    assert verify(client, LAST_DIGIT).execution.cached


POLICIES = (PERFECT, LAST_DIGIT, RAISING, REJECTED, "def (:\n", BY_HASH)
FLAGS: tuple[dict[str, object], ...] = (
    {},
    {"check_determinism": True},
    {"confirm": True},
    {"stop_below_score": 0.9},
    {"include_detail": True, "aggregation": type_pb2.AGGREGATION_MEDIAN_VALUE, "objective": "misses", "seed": 3},
)


def test_the_number_of_workers_never_shows_in_a_verdict(client: Verifier, tmp_path: Path) -> None:
    with running_verifier(tmp_path, "workers = 1\n") as other, other.client() as alone:
        for source in POLICIES:
            for flags in FLAGS:
                two, one = (verify(c, source, **flags).verdict for c in (client, alone))
                assert two.SerializeToString(deterministic=True) == one.SerializeToString(deterministic=True)


def test_verdicts_outlive_the_process(tmp_path: Path) -> None:
    config = f'workers = 1\n[records]\nfile = "{tmp_path}/verdicts.sqlite"\n'
    with running_verifier(tmp_path, config) as running, running.client() as client:
        before = verify(client, PERFECT).verdict
    with running_verifier(tmp_path, config) as running, running.client() as client:
        after = client.get_verdict(pb.GetVerdictRequest(digest=before.digest)).result
        assert after.verdict.SerializeToString() == before.SerializeToString()
        assert after.execution.cached


def test_a_policy_that_fails_is_a_result_with_its_own_line(client: Verifier) -> None:
    result = verify(client, RAISING)
    failure = result.verdict.failure
    assert result.verdict.status == pb.VERDICT_STATUS_POLICY_FAILED
    assert (failure.kind, failure.line) == (pb.FAILURE_KIND_RAISED, 3)
    assert "return n / 0" in failure.traceback
    assert "return n / 0" in result.feedback.text
    assert result.verdict.train.score == 0.0


def test_a_rejected_decision_names_the_rule_and_the_step(client: Verifier) -> None:
    failure = verify(client, REJECTED).verdict.failure
    assert (failure.kind, failure.rule, failure.step) == (pb.FAILURE_KIND_REJECTED, "not_a_digit", 0)


def test_chance_is_found_by_the_second_run_and_gets_no_score(client: Verifier) -> None:
    verdict = verify(client, BY_HASH, check_determinism=True).verdict
    assert verdict.status == pb.VERDICT_STATUS_NONDETERMINISTIC
    assert "decision 1 differs" in verdict.failure.message
    assert not verdict.HasField("train")
    assert "repeated" in verify(client, BY_HASH, check_determinism=True, confirm=True).verdict.failure.message
    honest = verify(client, PERFECT, check_determinism=True, confirm=True).verdict
    assert honest.determinism_checked
    assert honest.confirmed


def test_a_policy_that_decides_otherwise_when_asked_one_by_one_is_not_confirmed(client: Verifier) -> None:
    """It knows how many numbers came before in the same message, which the literal mode would not tell."""
    by_batch = "import sys\n\n\ndef decide(n):\n    return 3 if sys._getframe(2).f_locals['message'][0] == n else 4\n"
    for also in (False, True):
        verdict = verify(client, by_batch, check_determinism=also, confirm=True).verdict
        assert verdict.status == pb.VERDICT_STATUS_NONDETERMINISTIC
        assert "one_by_one" in verdict.failure.message


def test_a_score_out_of_reach_stops_the_run(client: Verifier) -> None:
    verdict = verify(client, LAST_DIGIT, stop_below_score=0.95).verdict
    assert verdict.status == pb.VERDICT_STATUS_STOPPED_EARLY
    assert {s.scenario: s.ran for s in verdict.scenarios} == {"long": False, "short": True, "secret": False}


def test_the_feedback_compares_with_the_parent_and_shows_nothing_held_out(client: Verifier) -> None:
    parent = verify(client, LAST_DIGIT).verdict
    feedback = verify(client, PERFECT, parent_digest=parent.digest).feedback
    assert {c.scenario for c in feedback.changes} == {"long", "short"}
    assert f"parent {parent.scenarios[0].value:.0f}" in feedback.text
    assert "secret" not in feedback.text
    assert len(feedback.text) <= 6000


def test_a_policy_can_bring_its_own_scenario(client: Verifier) -> None:
    file = pb.File(name="scenario.json", content=b'{"steps": 7, "seed": 5}')
    verdict = verify(client, PERFECT, suite="", inline_scenarios=[pb.InlineScenario(name="mine", files=[file])]).verdict
    assert [(s.scenario, s.value) for s in verdict.scenarios] == [("mine", 7.0)]
    broken = pb.File(name="scenario.json", content=b"{}")
    with pytest.raises(InvalidArgument) as error:
        verify(client, PERFECT, suite="", inline_scenarios=[pb.InlineScenario(name="mine", files=[broken])])
    assert error.value.violations[0].field == "scenario.json:1"


def test_a_cpu_limit_is_a_verdict(client: Verifier) -> None:
    limits = pb.Limits(cpu_seconds=1)
    verdict = verify(client, ENDLESS, suite="", scenarios=["short"], limits=limits).verdict
    assert verdict.failure.kind == pb.FAILURE_KIND_CPU_LIMIT


def test_a_time_limit_on_one_scenario_ends_the_others(client: Verifier) -> None:
    """Three train and two held-out scenarios, each a second of CPU time; two workers."""
    limits = pb.Limits(cpu_seconds=1)
    ended = verify(client, f"{ENDLESS}# first", limits=limits).verdict
    assert [s.ran for s in ended.scenarios].count(True) == 1
    assert ended.scenarios[0].failure.kind == pb.FAILURE_KIND_CPU_LIMIT
    assert ended.status == pb.VERDICT_STATUS_POLICY_FAILED
    every = verify(client, f"{ENDLESS}# first", limits=limits, continue_after_time_limit=True).verdict
    assert all(s.ran for s in every.scenarios)
    assert (every.train.score, every.digest != ended.digest) == (ended.train.score, True)


def test_a_wall_limit_is_a_verdict_that_is_not_kept(client: Verifier) -> None:
    limits = pb.Limits(wall_seconds=0.3)
    verdict = verify(client, ENDLESS, suite="", scenarios=["short"], limits=limits).verdict
    assert verdict.failure.kind == pb.FAILURE_KIND_WALL_LIMIT
    with pytest.raises(NotFound):
        client.get_verdict(pb.GetVerdictRequest(digest=verdict.digest))


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"suite": "nope"}, "suite", "known are: smoke"),
        ({"limits": pb.Limits(cpu_seconds=0.5)}, "limits.cpu_seconds", "whole number"),
        ({"limits": pb.Limits(cpu_seconds=float("nan"))}, "limits.cpu_seconds", "whole number"),
        ({"limits": pb.Limits(cpu_seconds=float("inf"))}, "limits.cpu_seconds", "whole number"),
        (
            {"suite": "", "scenarios": [f"none {n}" for n in range(65)]},
            "scenarios",
            "found 65; one request may have 64",
        ),
        ({"limits": pb.Limits(memory_bytes=1 << 50)}, "limits.memory_bytes", "(the maximum)"),
        ({"parts": [7]}, "parts", "PART_TRAIN or PART_HELD_OUT"),
        ({"limits": pb.Limits(source_bytes=10)}, "policy.source", "the limit is 10"),
    ],
)
def test_a_wrong_request_names_the_field(client: Verifier, fields: dict[str, object], field: str, words: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        verify(client, PERFECT, **fields)
    assert error.value.violations[0].field == field
    assert words in error.value.violations[0].message


def test_simulators_and_suites_are_listed_by_pages(client: Verifier) -> None:
    page = client.list_simulators(pb.ListSimulatorsRequest(page_size=1))
    assert [s.name for s in page.simulators] == ["tiny"]
    assert page.next_page_token == ""
    description = client.get_simulator(pb.GetSimulatorRequest(name="tiny")).simulator
    assert [b.name for b in description.baselines] == ["zero", "digit"]
    assert list(description.calling_modes) == ["one_by_one", "all_at_once"]
    suites = client.list_suites(pb.ListSuitesRequest(simulator="tiny")).suites
    assert [(e.scenario, e.part) for e in suites[0].entries][-1] == ("secret", type_pb2.PART_HELD_OUT)
    with pytest.raises(NotFound, match="known are: tiny"):
        client.get_simulator(pb.GetSimulatorRequest(name="nope"))
    for token in ("x", "-1", "01", "1", "9" * 5000):
        with pytest.raises(InvalidArgument, match="page_token"):
            client.list_suites(pb.ListSuitesRequest(simulator="tiny", page_token=token))


def test_an_engine_that_raises_is_the_simulators_fault(client: Verifier) -> None:
    with pytest.raises(Internal, match="the engine has a bug") as error:
        verify(client, "def decide(n):\n    return 14\n", suite="", scenarios=["fragile"])
    assert error.value.reason == "SIMULATOR_FAULT"


def test_a_simulator_that_crashes_over_its_files_is_named(client: Verifier) -> None:
    deep = pb.InlineScenario(name="deep", files=[pb.File(name="scenario.json", content=b"[" * 100_000)])
    with pytest.raises(Internal, match="simulator tiny failed: RecursionError") as error:
        verify(client, PERFECT, suite="", inline_scenarios=[deep])
    assert error.value.reason == "SIMULATOR_FAULT"


def test_a_run_that_kills_two_workers_fails_and_is_not_kept(client: Verifier) -> None:
    verdict = verify(client, "def decide(n):\n    return 13\n", suite="", scenarios=["fragile"]).verdict
    assert verdict.failure.kind == pb.FAILURE_KIND_DIED
    assert "died twice" in verdict.failure.message
    with pytest.raises(NotFound):
        client.get_verdict(pb.GetVerdictRequest(digest=verdict.digest))


def test_an_engine_that_never_ends_is_stopped(client: Verifier) -> None:
    limits = pb.Limits(wall_seconds=0.2)
    source = "def decide(n):\n    return 15\n"
    verdict = verify(client, source, suite="", scenarios=["fragile"], limits=limits).verdict
    assert verdict.failure.kind == pb.FAILURE_KIND_WALL_LIMIT
    assert "the simulator's own time included" in verdict.failure.message


def test_without_a_jail_verdicts_are_marked_as_weak(tmp_path: Path) -> None:
    with running_verifier(tmp_path, "workers = 1\ninsecure_dev = true\n") as running, running.client() as client:
        assert verify(client, PERFECT).execution.isolation.profile == "weak"


def test_a_verdict_says_what_held_the_policy(client: Verifier) -> None:
    isolation = verify(client, PERFECT).execution.isolation
    assert isolation.profile == "strict"
    assert all(layer.active for layer in isolation.layers if layer.required)
    assert {p.name for p in isolation.probes} >= {"open_file", "open_socket", "fork"}
    assert all(p.result.startswith("E") for p in isolation.probes)


def test_workers_never_load_grpc(verifier: RunningVerifier) -> None:
    until(lambda: len(verifier.worker_pids()) == 2)  # one that another test had killed may be on its way
    for pid in verifier.worker_pids():
        assert "cygrpc" not in Path(f"/proc/{pid}/maps").read_text()
    assert "cygrpc" in Path(f"/proc/{verifier.process.pid}/maps").read_text()


@pytest.mark.parametrize("most", [32 << 20, 64 << 20])
def test_a_message_that_is_too_large_says_what_to_do(verifier: RunningVerifier, most: int) -> None:
    """Too large for the client, and for the server alone."""
    with verifier.client(max_message_bytes=most) as client, pytest.raises(ResourceExhausted, match="max_message_bytes"):
        verify(client, "#" * (33 << 20))
