"""What several tests of this simulator use."""

from __future__ import annotations

import pytest

from quintain.plugins.inprocess import in_process
from quintain.plugins.simulator import Outcome, RunOptions
from quintain_spot_deadline.plugin import simulator

SMOKE = "smoke_train_360s_52h"


def run(source: str, scenario: str = SMOKE, mode: str = "") -> Outcome:
    return simulator.run(simulator.scenario(scenario), in_process(simulator, source), RunOptions(mode))


@pytest.fixture(scope="session")
def baseline() -> Outcome:
    """The default baseline's outcome on the smoke scenario."""
    return run(simulator.describe().baselines[0].source)
