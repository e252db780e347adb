"""The spot simulator through the real service, installed and served by another process: several policies in one run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.processes import until
from tests.support.verifier import request, running_verifier

from quintain.clients.simulator import RemoteSimulator
from quintain.clients.verifier import Verifier
from quintain.errors import InvalidArgument
from quintain.plugins.inprocess import in_process
from quintain.plugins.simulator import InvalidInput, RunOptions
from quintain.verifier.v1 import verifier_pb2 as pb
from quintain_spot_deadline.plugin import simulator

BASELINE = simulator.describe().baselines[0].source
COUNTS_ITS_RUNS = """
import math
math.runs = getattr(math, "runs", 0) + 1

def decide(job, now):
    return "on_demand" if math.runs == 1 else "another run is remembered"
"""
WITHOUT_DATA = {name: value for name, value in os.environ.items() if name != "SPOT_DEADLINE_DATA"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Verifier]:
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("SPOT_DEADLINE_DATA", raising=False)
        config = 'workers = 1\nsimulators = ["spot_deadline"]\n'
        with running_verifier(tmp_path_factory.mktemp("spot"), config) as running, running.client() as made:
            yield made


def judged(client: Verifier, source: str, **fields: object) -> pb.Verdict:
    return client.verify(request(source, **{"simulator": "spot_deadline", "suite": "smoke", **fields})).verdict


def test_the_verdict_is_that_of_the_library(client: Verifier) -> None:
    verdict = judged(client, BASELINE, check_determinism=True, confirm=True)
    assert verdict.status == pb.VERDICT_STATUS_OK
    for scenario in verdict.scenarios:
        own = simulator.run(simulator.scenario(scenario.scenario), in_process(simulator, BASELINE), RunOptions())
        assert {metric.name: metric.value for metric in scenario.metrics} == dict(own.metrics)


def test_every_run_of_a_scenario_has_a_fresh_process(client: Verifier) -> None:
    verdict = judged(client, COUNTS_ITS_RUNS)
    assert verdict.status == pb.VERDICT_STATUS_OK, verdict


def test_a_suite_that_lacks_its_recordings_is_listed_with_the_reason_and_refused(client: Verifier) -> None:
    described = client.get_simulator(pb.GetSimulatorRequest(name="spot_deadline")).simulator
    assert list(described.suites) == ["spot", "smoke"]
    missing = {suite.name: suite.reason for suite in described.unavailable_suites}
    assert set(missing) == {"spot-recorded", "adrs-single"}
    assert "SPOT_DEADLINE_DATA" in missing["adrs-single"]
    with pytest.raises(InvalidArgument, match="not available here: needs recorded series"):
        judged(client, BASELINE, suite="adrs-single")


def test_a_run_of_several_policies_over_the_wire_is_that_of_the_library(tmp_path: Path) -> None:
    file = tmp_path / "simulator.json"
    command = [sys.executable, "-m", "quintain.service.simulator_main", "--name", "spot_deadline"]
    process = subprocess.Popen(
        [*command, "--listen", "127.0.0.1:0", "--address-file", str(file)], env=WITHOUT_DATA, cwd=tmp_path
    )
    try:
        until(lambda: file.exists() or process.poll() is not None)
        remote = RemoteSimulator(json.loads(file.read_text())["address"])
        name = "smoke_held_out_180s_52h"
        for source in (BASELINE, COUNTS_ITS_RUNS.replace("math.runs == 1", "now.tick < 9")):
            found = remote.run(remote.scenario(name), in_process(remote, source), RunOptions())
            assert found == simulator.run(simulator.scenario(name), in_process(simulator, source), RunOptions())
        with pytest.raises(InvalidInput, match="not available here: needs recorded series"):
            remote.suite("adrs-single")
    finally:
        process.terminate()
        process.wait(30)
