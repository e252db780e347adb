"""From what a request shows to the next policy. Stateless: the same request gives the same policy.

A search sends its parents, some inspirations and a seed; several requests with the same parents may be on their way
at once, and only the seed tells them apart. So nothing here counts on having seen an earlier request: every choice is
drawn from the seed, in proportions that depend on how far the search has come.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from quintain.plugins.backend import Example, Operator
from quintain.plugins.grammar import Grammar
from quintain_generator.backends.offline import variation
from quintain_generator.backends.offline.foreign import mutate_source
from quintain_generator.backends.offline.genome import Genome, active, complete, read_header
from quintain_generator.backends.offline.render import render

_TRIES = 20  # to find a genome that no example has
# what becomes of a parent: shares of the proposals; the rest moves along the difference of two examples
_LOCAL, _FROM_ELSEWHERE, _FROM_OTHERS = 0.6, 0.15, 0.15


@dataclass(frozen=True, slots=True)
class Proposal:
    source: str
    rationale: str  # one sentence


@dataclass(frozen=True, slots=True)
class _Known:
    genome: Genome
    quality: float
    values: Mapping[str, float]  # by scenario


def propose(
    grammar: Grammar | None,
    parents: Sequence[Example],
    inspirations: Sequence[Example],
    operator: Operator,
    seed: int,
    *,
    attempts: int = 0,
    baselines: Sequence[str] = (),
) -> Proposal:
    """`attempts` made so far in the search; `baselines`: sources that are only there to be beaten.

    Raises ValueError if there is neither a grammar nor a parent, and GrammarError for a grammar that does not work.
    """
    rng = random.Random(f"offline:{seed}")
    if grammar is None:
        if not parents and not inspirations:
            raise ValueError("the simulator offers no grammar and the task no parent: there is nothing to start from")
        return _mutated(parents[0] if parents else max(inspirations, key=_quality), rng)
    known = _with_genes(grammar, [*parents, *inspirations])
    if parents and _is_foreign_and_good(grammar, parents[0], known, baselines) and rng.random() < 0.8:
        return _mutated(parents[0], rng)
    leading = _with_genes(grammar, parents) or sorted(known, key=lambda k: -k.quality)[:1]
    seen = [active(grammar, k.genome) for k in known]
    for _ in range(_TRIES):
        genome, rationale = _next(grammar, leading, known, operator, attempts, rng)
        if active(grammar, genome) not in seen:
            break
    return Proposal(render(grammar, genome), rationale)


def _quality(example: Example) -> float:
    """Comparable over examples; higher is better; below everything for one that was not scored."""
    return -1.0 if example.normalized is None else example.normalized


def _is_foreign_and_good(grammar: Grammar, parent: Example, known: Sequence[_Known], baselines: Sequence[str]) -> bool:
    """Whether `parent` was not made from the grammar, ran, and is better than everything here that was."""
    if read_header(grammar, parent.source) is not None or parent.source in baselines:
        return False
    return _quality(parent) > max((k.quality for k in known), default=0.0)


def _mutated(parent: Example, rng: random.Random) -> Proposal:
    source, changes = mutate_source(parent.source, rng)
    return Proposal(source, f"The parent with {'; '.join(changes)}." if changes else "The parent as it is.")


def _with_genes(grammar: Grammar, examples: Sequence[Example]) -> list[_Known]:
    read = [(example, read_header(grammar, example.source)) for example in examples]
    return [_Known(genome, _quality(e), e.scenario_values) for e, genome in read if genome is not None]


def _next(
    grammar: Grammar,
    leading: Sequence[_Known],
    known: Sequence[_Known],
    operator: Operator,
    attempts: int,
    rng: random.Random,
) -> tuple[Genome, str]:
    seeds = [(seed.name, complete(grammar, seed.genes)) for seed in grammar.seeds]
    seeds = seeds or [("defaults", complete(grammar, {}))]
    seen = [active(grammar, k.genome) for k in known]
    unseen = [(name, genome) for name, genome in seeds if active(grammar, genome) not in seen]
    seeding = rng.random() < 1.0 - attempts / (2 * len(seeds))
    if not leading or (seeding and unseen and operator is Operator.FULL):
        name, genome = rng.choice(unseen or seeds)
        # requests that start together would draw the same seed now and then, and a copy teaches nothing
        if rng.random() < 0.5:
            return genome, f"The hand-written policy {name!r}."
        return _local(grammar, genome, rng), f"The hand-written policy {name!r}, changed a little."
    parent = leading[0].genome
    others = [k for k in known if k.genome != parent]
    indifferent = _indifferent(known)
    if operator is Operator.CROSSOVER and others:
        second = leading[1].genome if len(leading) > 1 else rng.choice(others).genome
        child = variation.cross(grammar, parent, second, rng)
        return _perhaps_mutated(grammar, child, indifferent, rng), "Components of two parents."
    draw = rng.random()
    if operator is Operator.DIFF or draw < _LOCAL or not others:
        return _local(grammar, parent, rng, indifferent), "The parent with a few decisions changed."
    if draw < _LOCAL + _FROM_ELSEWHERE:
        donor = rng.choice([*(genome for _, genome in seeds), variation.random_genome(grammar, rng)])
        child = variation.cross(grammar, parent, donor, rng)
        return _perhaps_mutated(grammar, child, indifferent, rng), "The parent with components from elsewhere."
    if draw < _LOCAL + _FROM_ELSEWHERE + _FROM_OTHERS:
        child = variation.cross(grammar, parent, rng.choice(others).genome, rng)
        return _perhaps_mutated(grammar, child, indifferent, rng), "Components of two policies."
    worse, better = sorted(rng.sample([*known], 2), key=lambda k: k.quality)
    return variation.follow(grammar, parent, better.genome, worse.genome, rng), "The parent, moved along a difference."


def _local(grammar: Grammar, genome: Genome, rng: random.Random, indifferent: Container[str] = ()) -> Genome:
    if rng.random() < 0.35:
        return variation.mutate_siblings(grammar, genome, rng)
    return variation.mutate(grammar, genome, rng, indifferent)


def _perhaps_mutated(grammar: Grammar, genome: Genome, indifferent: Container[str], rng: random.Random) -> Genome:
    return variation.mutate(grammar, genome, rng, indifferent) if rng.random() < 0.4 else genome


def _indifferent(known: Sequence[_Known]) -> set[str]:
    """Genes in which examples differ that did exactly the same on every scenario."""
    return {
        name
        for one, two in itertools.combinations(known, 2)
        if one.values and one.values == two.values
        for name in one.genome
        if one.genome[name] != two.genome[name]
    }
