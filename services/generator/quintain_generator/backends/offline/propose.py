"""From what a request shows to the next policy. Stateless: the same request gives the same policy.

A search sends its parents, some inspirations and a seed; several requests with the same parents may be on their way
at once, and only the seed tells them apart. So nothing here counts on having seen an earlier request: every choice is
drawn from the seed, in proportions that depend on how far the search has come.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from quintain.plugins.backend import Attempt, Example, Operator
from quintain.plugins.grammar import Grammar
from quintain_generator.backends.offline import variation
from quintain_generator.backends.offline.experience import Experience, say_changes
from quintain_generator.backends.offline.foreign import mutate_source, sweep_source
from quintain_generator.backends.offline.genome import Genome, active, complete, read_header
from quintain_generator.backends.offline.render import render
from quintain_generator.backends.offline.trials import read_trials

_TRIES = 20  # to find a genome that no example has
# what becomes of a parent: shares of the proposals; the rest moves along the difference of two examples
_LOCAL, _FROM_ELSEWHERE, _FROM_OTHERS = 0.6, 0.15, 0.15
_OTHER_BASELINE = 0.15  # share of the proposals, without a grammar, that start from a baseline not among the examples
_SEEDING = 0.8  # share of the proposals that start from a hand-written policy while there are untried ones


@dataclass(frozen=True, slots=True)
class Proposal:
    source: str
    rationale: str  # one sentence


@dataclass(frozen=True, slots=True)
class _Known:
    name: str
    genome: Genome
    quality: float


def propose(
    grammar: Grammar | None,
    parents: Sequence[Example],
    inspirations: Sequence[Example],
    operator: Operator,
    seed: int,
    *,
    history: Sequence[Attempt] = (),
    best_score: float | None = None,
    baselines: Sequence[str] = (),
) -> Proposal:
    """`baselines`: sources that are only there to be beaten.

    Raises ValueError if there is neither a grammar nor a parent, and GrammarError for a grammar that does not work.
    """
    rng = random.Random(f"offline:{seed}")
    if operator is Operator.DIFF and not inspirations and _is_foreign(grammar, parents, baselines):
        return _swept(parents[0], history, best_score, rng)
    if grammar is None:
        return _without_grammar(parents, inspirations, baselines, rng)
    known = _with_genes(grammar, [*parents, *inspirations])
    if parents and _is_foreign_and_good(grammar, parents[0], known, baselines) and rng.random() < 0.8:
        return _mutated(parents[0].source, "The parent", rng)
    experience = Experience(history, [*parents, *inspirations], best_score)
    leading = _with_genes(grammar, parents) or sorted(known, key=lambda k: -k.quality)[:1]
    seen = [active(grammar, k.genome) for k in known]
    for _ in range(_TRIES):
        genome, rationale = _next(grammar, leading, known, operator, experience, rng)
        if active(grammar, genome) not in seen and not (
            leading and experience.repeats(grammar, leading[0].genome, genome)
        ):
            break
    return Proposal(render(grammar, genome), rationale)


def _quality(example: Example) -> float:
    """Comparable over examples; higher is better; below everything for one that was not scored."""
    return -1.0 if example.normalized is None else example.normalized


def _is_foreign_and_good(grammar: Grammar, parent: Example, known: Sequence[_Known], baselines: Sequence[str]) -> bool:
    """Whether `parent` was not made from the grammar, ran, and is better than everything here that was."""
    if not _is_foreign(grammar, [parent], baselines):
        return False
    return _quality(parent) > max((k.quality for k in known), default=0.0)


def _is_foreign(grammar: Grammar | None, parents: Sequence[Example], baselines: Sequence[str]) -> bool:
    """Whether the first parent is nobody's but another backend's, or was changed from such a one."""
    if not parents or parents[0].source in baselines:
        return False
    return grammar is None or read_header(grammar, parents[0].source) is None


def _swept(parent: Example, history: Sequence[Attempt], best_score: float | None, rng: random.Random) -> Proposal:
    """To be changed with nothing else to look at, which is how a search of several backends asks for a sweep."""
    source, changes = sweep_source(parent.source, read_trials(history, parent, best_score), rng)
    name = parent.candidate_id
    return Proposal(source, f"{name} with {'; '.join(changes)}." if changes else f"{name} as it is.")


def _without_grammar(
    parents: Sequence[Example], inspirations: Sequence[Example], baselines: Sequence[str], rng: random.Random
) -> Proposal:
    """The parent changed a little, or now and then a baseline that is not among the examples: what its author knew of
    the system is more than small changes find."""
    if not parents and not inspirations:
        raise ValueError("the simulator offers no grammar and the task no parent: there is nothing to start from")
    shown = {example.source for example in (*parents, *inspirations)}
    others = [source for source in baselines if source not in shown]
    if others and rng.random() < _OTHER_BASELINE:
        source = rng.choice(others)
        if rng.random() < 0.5:
            return Proposal(source, "Another baseline.")
        return _mutated(source, "Another baseline", rng)
    parent = parents[0] if parents else max(inspirations, key=_quality)
    return _mutated(parent.source, "The parent", rng)


def _mutated(parent: str, name: str, rng: random.Random) -> Proposal:
    source, changes = mutate_source(parent, rng)
    return Proposal(source, f"{name} with {'; '.join(changes)}." if changes else f"{name} as it is.")


def _with_genes(grammar: Grammar, examples: Sequence[Example]) -> list[_Known]:
    read = [(example, read_header(grammar, example.source)) for example in examples]
    return [_Known(e.candidate_id, genome, _quality(e)) for e, genome in read if genome is not None]


def _next(
    grammar: Grammar,
    leading: Sequence[_Known],
    known: Sequence[_Known],
    operator: Operator,
    experience: Experience,
    rng: random.Random,
) -> tuple[Genome, str]:
    seeds = [(seed.name, complete(grammar, seed.genes)) for seed in grammar.seeds]
    seeds = seeds or [("defaults", complete(grammar, {}))]
    untried = [seed for seed in seeds if seed[0] not in experience.seeds] if experience.complete else []
    if not leading or (untried and operator is Operator.FULL and rng.random() < _SEEDING):
        name, genome = rng.choice(untried or seeds)
        # requests that start together would draw the same one now and then, and a copy teaches nothing
        if rng.random() < 0.5:
            return genome, f"The hand-written policy {name!r}."
        changed = variation.mutate_siblings(grammar, genome, rng, experience)
        return changed, f"The hand-written policy {name!r}, changed a little."
    parent = leading[0]
    child, otherwise = _child(grammar, leading, known, operator, experience, rng)
    return child, say_changes(grammar, parent.name, parent.genome, child) or otherwise


def _child(
    grammar: Grammar,
    leading: Sequence[_Known],
    known: Sequence[_Known],
    operator: Operator,
    experience: Experience,
    rng: random.Random,
) -> tuple[Genome, str]:
    parent = leading[0].genome
    others = [k for k in known if k.genome != parent]

    def crossed(donor: Genome) -> Genome:
        child = variation.cross(grammar, parent, donor, rng)
        return variation.mutate_mattering(grammar, child, rng, experience) if rng.random() < 0.4 else child

    if operator is Operator.CROSSOVER and others:
        second = leading[1] if len(leading) > 1 else rng.choice(others)
        return crossed(second.genome), f"{leading[0].name} with components of {second.name}."
    draw = rng.random()
    if operator is Operator.DIFF or draw < _LOCAL or not others:
        return _local(grammar, parent, rng, experience), f"{leading[0].name} with many decisions changed."
    if draw < _LOCAL + _FROM_ELSEWHERE:
        donors = [*grammar.seeds, None]
        donor = rng.choice(donors)
        if donor:
            genome = complete(grammar, donor.genes)
        else:
            genome = variation.where_it_matters(grammar, parent, variation.random_genome(grammar, rng), experience)
        return crossed(genome), f"{leading[0].name} with components of {donor.name if donor else 'a random policy'}."
    if draw < _LOCAL + _FROM_ELSEWHERE + _FROM_OTHERS:
        other = rng.choice(others)
        return crossed(other.genome), f"{leading[0].name} with components of {other.name}."
    worse, better = sorted(rng.sample([*known], 2), key=lambda k: k.quality)
    moved = variation.follow(grammar, parent, better.genome, worse.genome, rng)
    return moved, f"{leading[0].name} moved along the way from {worse.name} to {better.name}."


def _local(grammar: Grammar, genome: Genome, rng: random.Random, experience: Experience) -> Genome:
    if rng.random() < 0.35:
        return variation.mutate_siblings(grammar, genome, rng, experience)
    return variation.mutate(grammar, genome, rng, experience)
