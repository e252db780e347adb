"""Systems that another process serves: their models are jailed by the verifier, and verdicts are the same."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.integration.system.test_models_that_fail import in_method, line_in, lying
from tests.support.served import served
from tests.support.systems import MODEL, POLICY, package, suite_files
from tests.support.verifier import running_verifier

from quintain.clients.simulator import RemoteSimulator
from quintain.clients.verifier import Verifier
from quintain.errors import Internal, InvalidArgument
from quintain.plugins.doors import SIMULATORS
from quintain.plugins.inprocess import in_process, simulate
from quintain.plugins.simulator import RunOptions, narrowed
from quintain.type.v1 import type_pb2
from quintain.verifier.v1 import verifier_pb2 as pb


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served("system", tmp_path_factory.mktemp("far")) as (address, _):
        yield address


@pytest.fixture(scope="module")
def both(address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Verifier]:
    """A verifier that has the systems itself (``system``) and from another process (``far``)."""
    far = f'[remote_simulators]\nfar = "{address}"\n'
    config = f'workers = 2\nengine_seconds = 20.0\nsimulators = ["system"]\n{far}'
    with running_verifier(tmp_path_factory.mktemp("verifier"), config) as running, running.client() as client:
        yield client


def asked(simulator: str, scenario: str, source: str, objective: str) -> pb.VerifyRequest:
    policy = type_pb2.Policy(source=source)
    return pb.VerifyRequest(simulator=simulator, scenarios=[scenario], objective=objective, policy=policy)


def own(model: str, source: str = POLICY, simulator: str = "far", **fields: object) -> pb.VerifyRequest:
    return pb.VerifyRequest(
        simulator=simulator,
        suite="mine",
        suite_files=suite_files(package(model=model)),
        policy=type_pb2.Policy(source=source),
        **fields,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("scenario", "objective"), [("load_balancer/heavy_tail", "mean_seconds"), ("tenants/smoke/failures", "on_time")]
)
def test_a_shipped_system_gives_the_same_verdict_from_far(both: Verifier, scenario: str, objective: str) -> None:
    package = narrowed(SIMULATORS.load("system"), scenarios=(scenario,))
    source = package.describe().baselines[-1].source
    far, near = (both.verify(asked(name, scenario, source, objective)).verdict for name in ("far", "system"))
    assert far.status == pb.VERDICT_STATUS_OK
    assert far.scenarios == near.scenarios
    assert far.train == near.train


def test_policy_and_model_may_share_a_process_that_has_the_systems_too(address: str) -> None:
    scenario = "load_balancer/steady"
    near, far = narrowed(SIMULATORS.load("system"), "load_balancer"), RemoteSimulator(address)
    part = narrowed(far, "load_balancer")
    source = part.describe().baselines[0].source
    outcomes = [simulate(s, s.scenario(scenario), in_process(s, source), RunOptions()) for s in (near, part, near)]
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert outcomes[0].failure is None
    far.close()


def test_each_system_from_far_is_described_by_itself(both: Verifier) -> None:
    balancer, tenants = (
        both.get_suite(pb.GetSuiteRequest(simulator="far", suite=suite)).simulator
        for suite in ("load_balancer", "tenants/smoke")
    )
    assert [b.name for b in balancer.baselines] == ["round_robin", "shortest_queue"]
    assert [o.name for o in tenants.objectives] == ["on_time", "cost", "cold", "fair"]
    with pytest.raises(InvalidArgument, match="installed packages are: load_balancer, tenants"):
        both.verify(asked("far", "nobody/steady", POLICY, "on_time"))


def test_a_package_that_comes_as_files_gives_the_same_verdict_from_far(both: Verifier) -> None:
    far, near = (both.verify(own(MODEL, simulator=name, check_determinism=True)).verdict for name in ("far", "system"))
    assert far.scenarios == near.scenarios
    assert far.status == pb.VERDICT_STATUS_OK


WRONG_MODELS = {
    "it raises": (in_method("on_input", "1 / 0"), "1 / 0", "ZeroDivisionError"),
    "it breaks an invariant": (
        MODEL.replace("self.free = config.slots", "self.free = 9"), 'return [Event("started"', "invariant slots"
    ),
    "it says what is not declared": (lying('return [Event("finished", job=job)]'), 'Event("finished"', "not declared"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_MODELS)
def test_a_wrong_model_is_the_model_s_failure_from_far_too(both: Verifier, name: str) -> None:
    model, offending, message = WRONG_MODELS[name]
    with pytest.raises(Internal) as failed:
        both.verify(own(model))
    assert failed.value.reason == "MODEL_FAILED"
    assert f"model.py:{line_in(model, offending)}:" in failed.value.message
    assert message in failed.value.message


def test_chance_is_told_apart_in_a_model_and_a_policy_from_far(both: Verifier) -> None:
    by_hash = in_method("observe", "return {'free': min(self.free, 1 + hash('salt') % 2)}")
    with pytest.raises(Internal, match="nondeterministic"):
        both.verify(own(by_hash, check_determinism=True))
    source = POLICY.replace("free = observation", "free = hash('salt') % 2 + observation")
    verdict = both.verify(own(MODEL, source, check_determinism=True)).verdict
    assert verdict.status in (pb.VERDICT_STATUS_NONDETERMINISTIC, pb.VERDICT_STATUS_POLICY_FAILED)


def test_a_wrong_decision_is_the_policy_s_failure_from_far_too(both: Verifier) -> None:
    source = 'from quintain_system import Decision\ndef decide(o, happened):\n    return [Decision("start", job=99)]\n'
    verdict = both.verify(own(MODEL, source)).verdict
    assert verdict.status == pb.VERDICT_STATUS_POLICY_FAILED
    assert (verdict.failure.rule, verdict.failure.line) == ("unknown_id", 3)
