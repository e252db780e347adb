from __future__ import annotations

import sys
from pathlib import Path

import pytest

from quintain.plugins.grammar import Grammar
from quintain.plugins.simulator import Simulator
from quintain_faas.plugin import simulator as faas

# the example simulator is a package of its own, which need not be installed for these tests
sys.path.insert(0, str(Path(__file__).parents[3] / "examples" / "simulators" / "cache_eviction"))

from cache_eviction.plugin import simulator as cache_eviction

SIMULATORS: dict[str, Simulator] = {"faas": faas, "cache_eviction": cache_eviction}


@pytest.fixture(params=SIMULATORS)
def simulator(request: pytest.FixtureRequest) -> Simulator:
    return SIMULATORS[request.param]


@pytest.fixture
def grammar(simulator: Simulator) -> Grammar:
    return Grammar.from_json(simulator.describe().grammar)


@pytest.fixture
def faas_grammar() -> Grammar:
    return Grammar.from_json(faas.describe().grammar)
