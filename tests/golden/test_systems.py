"""What the baselines of the shipped systems decided and got, bit for bit.

``python -m tests.golden.test_systems`` prints the file anew: for when a package changes, or the words of a timeline,
not for when the engine is made faster.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from quintain.plugins.doors import SIMULATORS
from quintain.plugins.inprocess import in_process, simulate
from quintain.plugins.simulator import Outcome, RunOptions, Simulator, narrowed

RECORDED = Path(__file__).with_name("systems.json")
SUITES = ("load_balancer", "tenants/smoke")


def digest(outcome: Outcome) -> str:
    """Of all that a verdict shows but its picture."""
    assert outcome.failure is None, outcome.failure
    shown = [
        [[name, value.hex()] for name, value in outcome.metrics.items()],
        [[group.name, [[name, value.hex()] for name, value in group.metrics.items()]] for group in outcome.groups],
        outcome.decisions_digest,
        [[event.time_seconds.hex(), event.text] for event in outcome.timeline],
        list(outcome.decision_log),
    ]
    return hashlib.sha256(json.dumps(shown).encode()).hexdigest()


def found(suite: str) -> dict[str, str]:
    """By scenario and baseline."""
    package: Simulator = narrowed(SIMULATORS.load("system"), suite)
    runs = {}
    for entry in package.suite(suite).entries:
        for baseline in package.describe().baselines:
            policy = in_process(package, baseline.source)
            run = simulate(package, package.scenario(entry.scenario), policy, RunOptions())
            runs[f"{entry.scenario} {baseline.name}"] = digest(run)
    return runs


@pytest.mark.parametrize("suite", SUITES)
def test_runs_are_what_they_were(suite: str) -> None:
    recorded = json.loads(RECORDED.read_text())
    assert found(suite) == {name: of for name, of in recorded.items() if name.startswith(suite)}


if __name__ == "__main__":
    print(json.dumps({name: of for suite in SUITES for name, of in found(suite).items()}, indent=1))
