"""How one genome becomes another: steps of mixed size, whole components from elsewhere, crossover.

All of it works without memory between calls. Step sizes are mixed: each step draws its own scale from a heavy-tailed
distribution, so that fine tuning and long jumps are always both on offer. What to change is drawn by what the run's
digest says of earlier changes (see `experience`).
"""

from __future__ import annotations

import math
import random

from quintain.plugins.grammar import Gene, GeneValue, Grammar
from quintain_generator.backends.offline.experience import Experience
from quintain_generator.backends.offline.genome import Genome, active, normalise

_SMALLEST_STEP = 0.03  # of a gene's range, on its own scale
_LARGEST_STEP = 0.5
_ONE_MORE = 0.4  # chance that a mutation changes yet another gene
_DRAWS = 8  # of a step that was not taken before
_TO_THE_NEXT = 0.3  # of the steps of a whole number go to its neighbour


NONE = Experience()


def random_value(gene: Gene, rng: random.Random) -> GeneValue:
    if gene.kind == "choice":
        return rng.choice(gene.choices)
    return normalise(gene, _from_unit(gene, rng.random()))


def random_genome(grammar: Grammar, rng: random.Random) -> Genome:
    return {gene.name: random_value(gene, rng) for gene in grammar.genes}


def step(gene: Gene, value: GeneValue, rng: random.Random, experience: Experience = NONE) -> GeneValue:
    """Another value for `gene`, more often near than far, and seldom one that was tried in vain."""
    if gene.kind == "choice":
        others = [choice for choice in gene.choices if choice != value]
        return rng.choices(others, [experience.novelty(gene, value, o) for o in others])[0] if others else value
    for _ in range(_DRAWS):
        moved = _moved(gene, value, rng)
        if rng.random() < experience.novelty(gene, value, moved):
            break
    return moved


def _moved(gene: Gene, value: GeneValue, rng: random.Random) -> GeneValue:
    if gene.kind == "int" and rng.random() < _TO_THE_NEXT:
        return _next_to(gene, value, rng)
    scale = math.exp(rng.uniform(math.log(_SMALLEST_STEP), math.log(_LARGEST_STEP)))
    moved = normalise(gene, _from_unit(gene, _to_unit(gene, float(value)) + rng.gauss(0.0, scale)))
    return _next_to(gene, value, rng) if gene.kind == "int" and moved == value else moved


def _next_to(gene: Gene, value: GeneValue, rng: random.Random) -> GeneValue:
    return normalise(gene, int(value) + rng.choice((-1, 1)))


def mutate(grammar: Grammar, genome: Genome, rng: random.Random, experience: Experience = NONE) -> Genome:
    """Change one to a few of the genes that are active in `genome`; most often one.

    A gene that nobody has seen to matter is changed alone: if that makes no difference the child is no better
    than its parent, and the gene stays as it was.
    """
    candidates = [gene for gene in grammar.genes if gene.name in active(grammar, genome)]
    weights = [experience.interest(grammar, gene, genome[gene.name]) for gene in candidates]
    chosen = rng.choices(candidates, weights)
    matter = [experience.matters(grammar, gene) for gene in candidates]
    while any(matter) and experience.matters(grammar, chosen[0]) and rng.random() < _ONE_MORE:
        chosen += rng.choices(candidates, [w * m for w, m in zip(weights, matter, strict=True)])
    child = dict(genome)
    for gene in chosen:
        child[gene.name] = step(gene, child[gene.name], rng, experience)
    return child


def mutate_siblings(grammar: Grammar, genome: Genome, rng: random.Random, experience: Experience = NONE) -> Genome:
    """Move numbers that are siblings at once: the active genes of a component that have the same range.

    Sizes for each class of work are such siblings: often all are too small, or it is their proportion that counts, and
    moving them one by one shows nothing.
    """
    families: dict[tuple[object, ...], list[Gene]] = {}
    for gene in grammar.genes:
        if gene.kind != "choice" and gene.name in active(grammar, genome):
            families.setdefault((gene.component, gene.kind, gene.low, gene.high), []).append(gene)
    together = [family for family in families.values() if len(family) > 1]
    if not together:
        return mutate(grammar, genome, rng, experience)
    weights = [sum(experience.interest(grammar, gene, genome[gene.name]) for gene in family) for family in together]
    (siblings,) = rng.choices(together, weights)
    match rng.choice(("same value", "same step", "own steps")):
        case "same value":
            one = rng.choice(siblings)
            value = step(one, genome[one.name], rng)
            return genome | {gene.name: value for gene in siblings}
        case "same step":
            state = rng.getrandbits(64)
            return genome | {gene.name: step(gene, genome[gene.name], random.Random(state)) for gene in siblings}
    return genome | {gene.name: step(gene, genome[gene.name], rng) for gene in siblings}


def mutate_mattering(grammar: Grammar, genome: Genome, rng: random.Random, experience: Experience) -> Genome:
    """Change one of the genes that were seen to matter, if there are any: for a genome that differs already."""
    candidates = [g for g in grammar.genes if g.name in active(grammar, genome) and experience.matters(grammar, g)]
    if not candidates:
        return dict(genome)
    weights = [experience.interest(grammar, gene, genome[gene.name]) for gene in candidates]
    (gene,) = rng.choices(candidates, weights)
    return genome | {gene.name: step(gene, genome[gene.name], rng, experience)}


def where_it_matters(grammar: Grammar, genome: Genome, donor: Genome, experience: Experience) -> Genome:
    """`genome` with the values of `donor` for every gene that was seen to matter."""
    taken = {gene.name for gene in grammar.genes if experience.matters(grammar, gene)}
    return {name: (donor if name in taken else genome)[name] for name in genome}


def cross(grammar: Grammar, first: Genome, second: Genome, rng: random.Random) -> Genome:
    """`first` with up to half of the components in which `second` differs, taken whole (one if only one does)."""
    components = list(dict.fromkeys(gene.component for gene in grammar.genes))
    differing = [
        name
        for name in components
        if any(first[g.name] != second[g.name] for g in grammar.genes if g.component == name)
    ]
    if not differing:
        return dict(first)
    taken = set(rng.sample(differing, rng.randint(1, max(1, len(differing) // 2))))
    return {gene.name: (second if gene.component in taken else first)[gene.name] for gene in grammar.genes}


def follow(grammar: Grammar, genome: Genome, towards: Genome, away: Genome, rng: random.Random) -> Genome:
    """Move the numbers of `genome` along the way from one example to another: the examples' spread sets the step."""
    factor = rng.uniform(0.3, 1.2)
    child = dict(genome)
    for gene in grammar.genes:
        if gene.kind == "choice" or rng.random() < 0.3:
            continue
        here, to, fro = (_to_unit(gene, float(g[gene.name])) for g in (genome, towards, away))
        child[gene.name] = normalise(gene, _from_unit(gene, here + factor * (to - fro)))
    return child


def _to_unit(gene: Gene, value: float) -> float:
    if gene.high == gene.low:
        return 0.0
    if gene.log:
        return math.log(value / gene.low) / math.log(gene.high / gene.low)
    return (value - gene.low) / (gene.high - gene.low)


def _from_unit(gene: Gene, unit: float) -> float:
    unit = min(1.0, max(0.0, unit))
    if gene.log:
        return gene.low * math.exp(unit * math.log(gene.high / gene.low))
    return gene.low + unit * (gene.high - gene.low)
