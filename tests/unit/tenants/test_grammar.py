"""The grammar of tenants: what is in the tree is what the script writes, and whatever it renders is a valid policy."""

from __future__ import annotations

import random
import runpy
from importlib import resources
from pathlib import Path

import pytest
from tests.support.systems import run

from quintain.plugins.grammar import Grammar, Seed
from quintain_generator.backends.offline.genome import Genome, complete
from quintain_generator.backends.offline.render import render
from quintain_generator.backends.offline.variation import random_genome
from quintain_system.plugin import installed

FOLDER = Path(str(resources.files("quintain_system"))) / "packages" / "tenants"
GRAMMAR = Grammar.from_json((FOLDER / "grammar.json").read_text())
SMOKE = ("steady", "tight", "failures")


def test_the_file_is_what_the_script_writes() -> None:
    written = runpy.run_path(str(FOLDER / "grammar" / "genes.py"))
    assert written["grammar"]().to_json() + "\n" == (FOLDER / "grammar.json").read_text()


def check(genome: Genome, scenario: str) -> None:
    outcome = run(installed()[0]["tenants"], f"tenants/smoke/{scenario}", render(GRAMMAR, genome))
    assert outcome.failure is None, (outcome.failure, genome)
    assert outcome.metrics["starts"] > 100


@pytest.mark.parametrize("scenario", SMOKE)
@pytest.mark.parametrize("seed", GRAMMAR.seeds, ids=lambda seed: seed.name)
def test_every_seed_runs(seed: Seed, scenario: str) -> None:
    check(complete(GRAMMAR, seed.genes), scenario)


@pytest.mark.parametrize("number", range(24))
def test_whatever_is_drawn_from_it_runs(number: int) -> None:
    check(random_genome(GRAMMAR, random.Random(number)), SMOKE[number % 3])
