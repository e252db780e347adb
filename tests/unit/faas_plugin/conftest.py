"""Running policies of the tests in this process."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from quintain.plugins.inprocess import InProcessPolicy
from quintain.plugins.simulator import JsonValue, Outcome, RunOptions, Scenario
from quintain_faas import guest
from quintain_faas.plugin import simulator


class Runner:
    """`baselines` by name; calling it runs a source on a scenario."""

    def __init__(self) -> None:
        self.baselines: Mapping[str, str] = {b.name: b.source for b in simulator.describe().baselines}

    def __call__(self, source: str, scenario: Scenario | str, **options: Any) -> Outcome:
        if isinstance(scenario, str):
            scenario = simulator.scenario(scenario)

        def open_policy(setup: JsonValue) -> InProcessPolicy:
            return InProcessPolicy(guest.load, source, setup)

        return simulator.run(scenario, open_policy, RunOptions(**options))

    def fifo(self, scenario: Scenario | str) -> Outcome:
        return self(self.baselines["fifo"], scenario)


@pytest.fixture(scope="session")
def run_policy() -> Callable[..., Outcome]:
    return Runner()
