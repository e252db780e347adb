"""`quintain verify`: what a person and a machine are told, and the exit codes."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import pytest
from tests.unit.cli.conftest import Run
from tests.unit.cli.fakes import FakeVerifier

from quintain.clients import channel
from quintain.errors import InvalidArgument, Unavailable
from quintain.type.v1 import type_pb2
from quintain.verifier.v1 import verifier_pb2 as pb
from quintain_cli import connect
from quintain_cli.target import Target


def good_verdict() -> pb.Verdict:
    return pb.Verdict(
        digest="d" * 64,
        status=pb.VERDICT_STATUS_OK,
        direction=type_pb2.DIRECTION_MAXIMIZE,
        train=pb.PartScore(score=1.0, baseline_score=0.25, bound_score=2.0, scenarios=1),
        scenarios=[
            pb.ScenarioVerdict(
                scenario="steady", part=type_pb2.PART_TRAIN, ran=True,
                value=1.0, baseline=0.25, bound=2.0, normalized=0.5,
                floors=[pb.Floor(name="query_completions", required=10, reached=7)],
            )
        ],
    )  # fmt: skip


def failed_verdict() -> pb.Verdict:
    failure = pb.Failure(
        kind=pb.FAILURE_KIND_REJECTED,
        rule="overallocated_cpu",
        message="65 of 64 CPUs",
        step=5000,
        time_seconds=50.0,
        line=7,
    )
    scenario = pb.ScenarioVerdict(scenario="steady", part=type_pb2.PART_TRAIN, ran=True, failure=failure)
    return pb.Verdict(status=pb.VERDICT_STATUS_POLICY_FAILED, scenarios=[scenario], failure=failure)


def test_a_good_policy_gets_a_table_with_baseline_bound_and_broken_floors(
    services: str, quintain: Run, verifier: FakeVerifier, policy: str
) -> None:
    verifier.verdict = good_verdict()
    ran = quintain("verify", policy, "--suite", "smoke")
    assert ran.code == 0
    assert "+300.0 % against the baseline's 0.25, 50.0 % of the bound" in ran.out
    assert "floor broken: query_completions 7 < 10" in ran.out
    assert "strict isolation" in ran.out
    assert verifier.requests[0].policy.source == "# a policy\n"


def test_a_verifier_that_cannot_be_used_for_a_while_is_waited_for_aloud(
    services: str, quintain: Run, verifier: FakeVerifier, policy: str
) -> None:
    verifier.verdict = good_verdict()
    verifier.troubles = [Unavailable("the simulator is being changed")] * 2
    ran = quintain("verify", policy, "--suite", "smoke")
    assert ran.code == 0
    assert ran.err.count("the simulator is being changed; trying again") == 1


def test_a_simulator_that_is_gone_is_waited_for_a_while_and_no_longer(
    services: str, quintain: Run, verifier: FakeVerifier, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "SIMULATOR_SECONDS", 1.0)
    gone = "simulator far failed: the simulator at far:7400: UNAVAILABLE: connection refused"
    verifier.error = Unavailable(gone, reason="SIMULATOR_FAULT", retry_after_seconds=0.3)
    ran = quintain("verify", policy, "--suite", "smoke")
    assert ran.code == 2
    assert ran.err.splitlines()[:2] == [f"{gone}; trying again for 1 s", f"error: {gone}"]
    assert len(verifier.requests) > 1


def test_a_verifier_that_is_gone_is_said_to_be_and_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_CHECK_SECONDS", "_HEALTH_SECONDS", "_REACH_SECONDS"):
        monkeypatch.setattr(connect, name, 0.05)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    connection = connect.Connection(Target(address=address), "verifier")
    connection.addresses = {"verifier": address}
    following = connection.follow(iter(threading.Event().wait, True), "verifier")  # a stream in which nothing comes
    while not connection.trouble:
        next(following)
    monkeypatch.setattr(connect, "_GONE_SECONDS", 0.0)
    with pytest.raises(Unavailable, match=f"no verifier answers at {address}"):
        list(following)


def test_a_policy_that_fails_is_exit_code_1_and_names_rule_step_and_line(
    services: str, quintain: Run, verifier: FakeVerifier, policy: str
) -> None:
    verifier.verdict = failed_verdict()
    ran = quintain("verify", policy, "--suite", "smoke")
    assert ran.code == 1
    assert "rejected overallocated_cpu at step 5000, t=50 s, line 7: 65 of 64 CPUs" in ran.out


def test_json_is_the_verdict_alone_in_the_same_bytes_every_time(
    services: str, quintain: Run, verifier: FakeVerifier, policy: str
) -> None:
    verifier.verdict = good_verdict()
    first, second = (quintain("verify", policy, "--suite", "smoke", "--json").out for _ in range(2))
    assert first == second
    verdict, execution = map(json.loads, first.splitlines())
    assert verdict["train"]["score"] == 1.0
    assert "wall_seconds" not in verdict
    assert execution["execution"]["wall_seconds"] == 0.5


def test_without_scenarios_there_is_nothing_to_verify_on(quintain: Run, policy: str) -> None:
    ran = quintain("verify", policy)
    assert ran.code == 2
    assert "name --suite (with --scenario NAME: some of it), --scenario NAME or FILE" in ran.err


def test_a_missing_policy_file_is_one_clear_line(quintain: Run) -> None:
    ran = quintain("verify", "nowhere.py", "--suite", "smoke")
    assert (ran.code, ran.err) == (2, "error: policy: nowhere.py: No such file or directory\n")


def test_what_the_verifier_refuses_is_told_with_the_field(
    services: str, quintain: Run, verifier: FakeVerifier, policy: str
) -> None:
    verifier.error = InvalidArgument.of("trace.csv:12:arrival_seconds", "'soon' is not a number")
    ran = quintain("verify", policy, "--suite", "smoke")
    assert (ran.code, ran.err) == (2, "error: trace.csv:12:arrival_seconds: 'soon' is not a number\n")


def test_verbose_adds_the_traceback(services: str, quintain: Run, verifier: FakeVerifier, policy: str) -> None:
    verifier.error = InvalidArgument.of("suite", "unknown")
    assert "Traceback" in quintain("verify", policy, "--suite", "x", "--verbose").err


def test_a_trace_travels_with_its_scenario_file(
    services: str, quintain: Run, verifier: FakeVerifier, policy: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.toml").write_text("[workload]\n")
    (tmp_path / "jobs.csv").write_text("pipeline_id\n")
    quintain("verify", policy, "--scenario", str(tmp_path / "mine.toml"), "--trace", str(tmp_path / "jobs.csv"))
    (inline,) = verifier.requests[0].inline_scenarios
    assert inline.name == "mine"
    assert {file.name: file.content for file in inline.files} == {
        "scenario.toml": b"[workload]\n",
        "jobs.csv": b"pipeline_id\n",
    }


def test_what_a_scenario_file_names_is_found_beside_it(
    services: str, quintain: Run, verifier: FakeVerifier, policy: str, tmp_path: Path
) -> None:
    (tmp_path / "scenario.toml").write_text('description = "mine"\n[workload]\ntrace = "a.csv"\n')
    (tmp_path / "a.csv").write_text("beside")
    (tmp_path / "b.csv").write_text("not named")
    quintain("verify", policy, "--scenario", str(tmp_path / "scenario.toml"))
    (inline,) = verifier.requests[0].inline_scenarios
    assert {file.name: file.content for file in inline.files} == {
        "scenario.toml": (tmp_path / "scenario.toml").read_bytes(),
        "a.csv": b"beside",
    }


def test_a_trace_that_is_given_goes_before_the_one_beside_the_scenario(
    services: str, quintain: Run, verifier: FakeVerifier, policy: str, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.csv").write_text("given")
    (tmp_path / "a.csv").write_text("beside")
    (tmp_path / "mine.toml").write_text('[workload]\ntrace = "a.csv"\n')
    quintain(
        "verify", policy, "--scenario", str(tmp_path / "mine.toml"), "--trace", str(tmp_path / "elsewhere" / "a.csv")
    )
    (inline,) = verifier.requests[0].inline_scenarios
    assert [file.content for file in inline.files if file.name == "a.csv"] == [b"given"]


def test_nobody_at_the_address_is_said_at_once(quintain: Run, policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quintain_cli.connect._REACH_SECONDS", 0.2)
    ran = quintain("verify", policy, "--suite", "smoke", "--address", "127.0.0.1:1")
    assert (ran.code, ran.err) == (2, "error: no verifier answers at 127.0.0.1:1\n")


def test_an_address_without_a_port_is_refused(quintain: Run, policy: str) -> None:
    ran = quintain("verify", policy, "--suite", "smoke", "--address", "localhost")
    assert ran.code == 2
    assert "'localhost' is not host:port" in ran.err


def test_lists_are_read_to_the_last_page(services: str, quintain: Run) -> None:
    names = [json.loads(line)["name"] for line in quintain("simulators", "--json").out.splitlines()]
    assert names == ["first", "second"]


def test_a_simulator_that_is_unavailable_is_listed_with_the_reason(
    services: str, quintain: Run, verifier: FakeVerifier
) -> None:
    verifier.unavailable_reason = "no answer [from] it"
    ran = quintain("simulators")
    assert "A title" in ran.out
    assert "second cannot be used: no answer [from] it" in ran.out
    listed = {d["name"]: d for d in map(json.loads, quintain("simulators", "--json").out.splitlines())}
    assert listed["first"]["title"] == "A title"
    assert listed["second"]["unavailable_reason"] == "no answer [from] it"
    ran = quintain("suites")
    assert ran.code == 0
    assert "suite of first" in ran.out
    assert "second cannot be used: no answer [from] it" in ran.err


def test_a_simulator_that_cannot_be_reached_is_said_once(quintain: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        dead = f"127.0.0.1:{listening.getsockname()[1]}"
    ran = quintain("check-simulator", dead)
    assert ran.code == 1
    assert ran.out.count(f"the simulator at {dead}: UNAVAILABLE") == 1
    assert "checks, 1 failed" in ran.out
