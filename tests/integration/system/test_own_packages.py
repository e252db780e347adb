"""A package that comes with the request, over gRPC and in the jail."""

from __future__ import annotations

import pytest
from tests.support.systems import POLICY, SUITE, package, suite_files

from quintain.clients.verifier import Verifier
from quintain.errors import FailedPrecondition, InvalidArgument
from quintain.plugins.simulator import files_digest
from quintain.type.v1 import type_pb2
from quintain.verifier.v1 import verifier_pb2 as pb

# Two slots: jobs 1 and 2 take 1 s and 2 s at once, 3 waits for 0.5 s, 4 finds all free.
SECONDS = (1.0 + 2.0 + 1.5 + 1.5) / 4


def request(files: dict[str, bytes], source: str = POLICY, **fields: object) -> pb.VerifyRequest:
    named = {"simulator": "system", "suite": "mine", "suite_files": suite_files(files), **fields}
    return pb.VerifyRequest(policy=type_pb2.Policy(source=source), **named)  # type: ignore[arg-type]


def test_a_package_is_verified_and_its_files_need_not_be_sent_again(client: Verifier) -> None:
    files = package()
    verdict = client.verify(request(files)).verdict
    assert verdict.status == pb.VERDICT_STATUS_OK
    assert [s.scenario for s in verdict.scenarios] == ["mine/few", "mine/many"]
    assert verdict.scenarios[0].value == pytest.approx(SECONDS)
    assert verdict.scenarios[0].bound == pytest.approx(5.5 / 4)
    again = client.verify(request(files, suite_files=pb.SuiteFiles(digest=files_digest(files))))
    assert again.verdict == verdict
    assert again.execution.cached


def test_some_scenarios_of_a_suite_can_be_named(client: Verifier) -> None:
    verdict = client.verify(request(package(), scenarios=["mine/many"])).verdict
    assert [(s.scenario, s.part) for s in verdict.scenarios] == [("mine/many", type_pb2.PART_HELD_OUT)]
    with pytest.raises(InvalidArgument, match="it has, in these parts: mine/few, mine/many"):
        client.verify(request(package(), scenarios=["many"]))


def test_the_suite_is_described_with_the_simulator_as_it_has_it(client: Verifier) -> None:
    asked = pb.GetSuiteRequest(simulator="system", suite="mine", suite_files=suite_files(package()))
    found = client.get_suite(asked)
    assert [e.scenario for e in found.suite.entries] == ["mine/few", "mine/many"]
    assert [b.name for b in found.simulator.baselines] == ["fifo"]
    assert "`start`" in found.simulator.policy_guide
    assert "seconds" not in found.simulator.policy_guide.partition("## Decisions")[0].partition("`job`")[2]  # hidden


def test_files_that_are_not_here_are_asked_for(client: Verifier) -> None:
    with pytest.raises(FailedPrecondition) as refused:
        client.verify(request({}, suite_files=pb.SuiteFiles(digest="0" * 64)))
    assert refused.value.reason == "SUITE_NOT_HERE"


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (pb.SuiteFiles(), "suite_files"),
        (pb.SuiteFiles(digest="0" * 64, files=[pb.File(name="a", content=b"a")]), "suite_files.digest"),
        (pb.SuiteFiles(files=[pb.File(name="a/../b", content=b"a")]), "suite_files"),
        (pb.SuiteFiles(files=[pb.File(name="a"), pb.File(name="a")]), "suite_files"),
        (pb.SuiteFiles(files=[pb.File(name="a", content=b"a")]), "system.toml"),
        (suite_files(package(suite=SUITE.replace("duration = 10.0", "duration = -1"))), "suite.toml:5:"),
    ],
)
def test_wrong_files_are_said_with_their_place(client: Verifier, message: pb.SuiteFiles, field: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        client.verify(request({}, suite_files=message))
    assert refused.value.violations[0].field.startswith(field), refused.value.violations
