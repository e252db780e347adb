"""The grammar of faas_pools: what is in the tree is what the script writes, and what it renders runs in the engine."""

from __future__ import annotations

import random
import runpy
from importlib import resources
from pathlib import Path

import pytest

from quintain.plugins.doors import RECORDERS, SIMULATORS
from quintain.plugins.grammar import Grammar, Seed
from quintain.plugins.inprocess import in_process, simulate
from quintain.plugins.simulator import RunOptions, narrowed
from quintain_generator.backends.offline.genome import Genome, complete
from quintain_generator.backends.offline.render import render
from quintain_generator.backends.offline.variation import random_genome

FOLDER = Path(str(resources.files("quintain_faas"))) / "pools_package"
GRAMMAR = Grammar.from_json((FOLDER / "grammar.json").read_text())


def test_the_file_is_what_the_script_writes() -> None:
    written = runpy.run_path(str(FOLDER / "grammar" / "genes.py"))
    assert written["grammar"]().to_json() + "\n" == (FOLDER / "grammar.json").read_text()


def completed(genome: Genome) -> float:
    engine, recorder = narrowed(SIMULATORS.load("faas"), "smoke"), RECORDERS.load("faas")
    policy = in_process(engine, recorder.policy(render(GRAMMAR, genome)))
    outcome = simulate(engine, engine.scenario("smoke_branch_2pools"), policy, RunOptions())
    assert outcome.failure is None, (outcome.failure, genome)
    return outcome.metrics["containers_completed"]


@pytest.mark.parametrize("seed", GRAMMAR.seeds, ids=lambda seed: seed.name)
def test_every_seed_runs(seed: Seed) -> None:
    assert completed(complete(GRAMMAR, seed.genes)) > 20


@pytest.mark.parametrize("number", range(12))
def test_whatever_is_drawn_from_it_runs(number: int) -> None:
    completed(random_genome(GRAMMAR, random.Random(number)))


def test_who_learns_what_is_enough_completes_more() -> None:
    learning = next(seed for seed in GRAMMAR.seeds if seed.name == "learning")
    assert completed(complete(GRAMMAR, learning.genes)) > 1.2 * completed(complete(GRAMMAR, {}))
