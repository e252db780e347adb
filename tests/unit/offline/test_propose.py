"""How the offline backend gets from what a request shows to the next policy."""

from __future__ import annotations

import ast
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest

from quintain.plugins.backend import (
    Allowance,
    Attempt,
    BackendCall,
    BackendOptions,
    CallOutcome,
    Example,
    Operator,
    Rejection,
    Task,
)
from quintain.plugins.grammar import Gene, Grammar
from quintain.plugins.simulator import Simulator
from quintain_faas.plugin import simulator as faas
from quintain_generator.backends.offline import OfflineBackend, variation
from quintain_generator.backends.offline.experience import Experience
from quintain_generator.backends.offline.foreign import mutate_source
from quintain_generator.backends.offline.genome import Genome, active, complete, read_header
from quintain_generator.backends.offline.propose import propose
from quintain_generator.backends.offline.render import render

FIFO = faas.describe().baselines[0].source
FOREIGN = '''"""Someone else's policy."""

LIMIT = 12
SHARE = 0.25


def evict(cache, key):
    if len(cache) > LIMIT and SHARE >= 0.5:
        return cache.items[0]
    return None
'''


# A run whose beginning the digest does not show any more.
OLD = [Attempt(number, f"c{number}", 0.5, "score 0.5") for number in range(60, 100)]


def example(source: str, normalized: float | None, name: str = "c") -> Example:
    return Example(name, source, normalized, normalized)


def genes_of(grammar: Grammar, source: str) -> Genome:
    genome = read_header(grammar, source)
    assert genome is not None
    return genome


def some_examples(grammar: Grammar, count: int) -> list[Example]:
    rng = random.Random(9)
    sources = [render(grammar, variation.random_genome(grammar, rng)) for _ in range(count)]
    return [example(source, 0.9 - 0.1 * number, f"c{number}") for number, source in enumerate(sources)]


def make_task(
    simulator: Simulator, seed: int, parents: Sequence[Example] = (), operator: Operator = Operator.FULL
) -> Task:
    description = simulator.describe()
    history = tuple(OLD) if parents else ()
    objective = description.objectives[0]
    return Task(description, objective, "", operator, seed, tuple(parents), history=history)


def call(task: Task) -> BackendCall:
    return BackendCall("r", 1, task, (), Allowance(), 10.0)


@pytest.mark.parametrize("operator", list(Operator))
def test_the_same_request_gives_the_same_policy(grammar: Grammar, operator: Operator) -> None:
    known = some_examples(grammar, 5)
    for seed in range(30):
        one, two = (propose(grammar, known[:2], known[2:], operator, seed, history=OLD) for _ in range(2))
        assert one == two


def test_the_first_requests_walk_through_the_hand_written_seeds(grammar: Grammar) -> None:
    written = [active(grammar, complete(grammar, seed.genes)) for seed in grammar.seeds]
    # a search's first parent is the default baseline, which has no genes
    proposals = [
        propose(grammar, [example(FIFO, 0.1)], [], Operator.FULL, seed, baselines=[FIFO]).source for seed in range(80)
    ]
    genomes = [active(grammar, genes_of(grammar, source)) for source in proposals]
    assert all(seed in genomes for seed in written)
    assert any(genome not in written for genome in genomes), "variations of them are proposed as well"


def test_requests_that_are_on_their_way_together_rarely_ask_for_the_same(faas_grammar: Grammar) -> None:
    known = some_examples(faas_grammar, 5)
    sources = {propose(faas_grammar, known[:1], known[1:], Operator.FULL, s, history=OLD).source for s in range(100)}
    assert len(sources) > 85


@pytest.mark.parametrize("operator", list(Operator))
def test_no_proposal_repeats_what_the_request_shows(grammar: Grammar, operator: Operator) -> None:
    known = some_examples(grammar, 6)
    for seed in range(60):
        source = propose(grammar, known[:2], known[2:], operator, seed, history=OLD).source
        assert source not in {k.source for k in known}


def test_most_changes_are_small(faas_grammar: Grammar) -> None:
    parent = some_examples(faas_grammar, 1)
    before = genes_of(faas_grammar, parent[0].source)
    changed = []
    for seed in range(100):
        after = genes_of(faas_grammar, propose(faas_grammar, parent, [], Operator.DIFF, seed, history=OLD).source)
        changed.append(sum(before[name] != after[name] for name in before))
    assert sorted(changed)[50] <= 3
    assert sorted(changed)[90] <= 8


def test_crossover_takes_whole_components(faas_grammar: Grammar) -> None:
    rng = random.Random(1)
    first, second = (variation.random_genome(faas_grammar, rng) for _ in range(2))
    for _ in range(50):
        child = variation.cross(faas_grammar, first, second, rng)
        for component in {gene.component for gene in faas_grammar.genes}:
            names = [gene.name for gene in faas_grammar.genes if gene.component == component]
            assert [child[n] for n in names] in ([first[n] for n in names], [second[n] for n in names])
        assert child not in (first, second)


def test_every_variation_stays_within_the_grammar(grammar: Grammar) -> None:
    rng = random.Random(2)
    for _ in range(300):
        one, two, three = (variation.random_genome(grammar, rng) for _ in range(3))
        for child in (
            variation.mutate(grammar, one, rng),
            variation.mutate_siblings(grammar, one, rng),
            variation.cross(grammar, one, two, rng),
            variation.follow(grammar, one, two, three, rng),
        ):
            assert complete(grammar, child) == child


def test_a_step_changes_a_number_and_is_more_often_near_than_far() -> None:
    gene = Gene("x", "only", "int", 100, low=1, high=10_000, log=True)
    rng = random.Random(3)
    steps = [float(variation.step(gene, 100, rng)) for _ in range(2000)]
    near = sum(80 <= value <= 125 for value in steps)
    far = sum(not 25 <= value <= 400 for value in steps)
    assert 100 not in steps
    assert near > far > 100


def test_a_good_policy_of_foreign_origin_is_changed_in_its_own_text(faas_grammar: Grammar) -> None:
    known = some_examples(faas_grammar, 2)
    proposals = [
        propose(faas_grammar, [example(FOREIGN, 0.95)], known, Operator.FULL, seed, history=OLD).source
        for seed in range(60)
    ]
    own = [source for source in proposals if read_header(faas_grammar, source) is None]
    assert len(own) > len(proposals) / 2
    for source in own:
        assert ast.get_docstring(ast.parse(source)) == "Someone else's policy."
        assert ast.dump(ast.parse(source)) != ast.dump(ast.parse(FOREIGN))


@pytest.mark.parametrize("quality", [0.1, None])
def test_a_poor_or_failed_policy_of_foreign_origin_is_left_alone(faas_grammar: Grammar, quality: float | None) -> None:
    known = some_examples(faas_grammar, 2)
    for seed in range(30):
        source = propose(faas_grammar, [example(FOREIGN, quality)], known, Operator.REPAIR, seed, history=OLD).source
        assert read_header(faas_grammar, source) is not None


def test_without_a_grammar_the_parent_is_mutated() -> None:
    proposal = propose(None, [example(FOREIGN, 0.5)], [], Operator.FULL, 4)
    assert proposal.source != FOREIGN
    assert proposal.source.startswith("# changed: ")


def test_without_a_grammar_and_without_a_parent_there_is_nothing_to_do() -> None:
    with pytest.raises(ValueError, match="nothing to start from"):
        propose(None, [], [], Operator.FULL, 4)


@pytest.mark.parametrize("source", [FOREIGN, *(baseline.source for baseline in faas.describe().baselines)])
def test_foreign_policies_stay_python_with_the_same_definitions(source: str) -> None:
    def shape(text: str) -> list[str]:
        return [type(node).__name__ for node in ast.walk(ast.parse(text)) if isinstance(node, ast.stmt)]

    rng = random.Random(6)
    for _ in range(20):
        changed, changes = mutate_source(source, rng)
        assert 1 <= len(changes) <= 3
        assert shape(changed) == shape(source)


def test_generations_of_changes_do_not_pile_up_notes_and_keep_zero_and_whole_numbers() -> None:
    rng, source = random.Random(7), FOREIGN
    for _ in range(30):
        source, _ = mutate_source(source, rng)
    assert source.count("# changed: ") == 1
    numbers = [node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)]
    assert 0 in numbers  # the index
    assert any(isinstance(n, int) and n >= 1 for n in numbers)


@pytest.mark.parametrize("source", ["def broken(:\n", "def nothing_to_change():\n    return None\n"])
def test_what_cannot_be_changed_comes_back_as_it_is(source: str) -> None:
    assert mutate_source(source, random.Random(1)) == (source, [])


def history(*changes: tuple[str, float]) -> list[Attempt]:
    """Attempts from parent c0 (score 0.9), each with the change that was tried and the score that it had."""
    lines = [
        Attempt(number, f"c{number}", score, f"score {score}. c0 with {change}.")
        for number, (change, score) in enumerate(changes, 60)
    ]
    return [*OLD[:1], *lines]


def changed_genes(grammar: Grammar, attempts: Sequence[Attempt], count: int = 400) -> Counter[tuple[str, str]]:
    """What requests that differ by their seeds change in the same parent, as (gene, new value)."""
    parent = replace(some_examples(grammar, 1)[0], candidate_id="c0")
    before = genes_of(grammar, parent.source)
    found: Counter[tuple[str, str]] = Counter()
    for seed in range(count):
        after = genes_of(grammar, propose(grammar, [parent], [], Operator.DIFF, seed, history=attempts).source)
        found.update((name, str(after[name])) for name in active(grammar, after) if after[name] != before[name])
    return found


def test_a_gene_that_made_no_difference_is_changed_less_often(faas_grammar: Grammar) -> None:
    indifferent = history(("max_ooms 6 -> 7", 0.9), ("max_ooms 6 -> 3", 0.9))

    def times(attempts: Sequence[Attempt]) -> int:
        return sum(n for (gene, _), n in changed_genes(faas_grammar, attempts).items() if gene == "max_ooms")

    assert times(indifferent) < times(OLD) / 3


def test_what_lies_beside_a_decision_that_mattered_is_changed_more_often(faas_grammar: Grammar) -> None:
    order = {gene.name for gene in faas_grammar.genes if gene.component == "order"}
    nothing = ("max_ooms 6 -> 7", 0.9), ("oom_growth 2.0 -> 2.1", 0.9)

    def times(*tried: tuple[str, float]) -> int:
        changed = changed_genes(faas_grammar, history(*nothing, *tried))
        return sum(n for (gene, _), n in changed.items() if gene in order)

    indifferent = times(("ties oldest -> newest", 0.9))
    for score in (0.1, 0.95):  # a great loss tells as much of what matters as a gain does
        assert times(("ties oldest -> newest", score)) > 1.2 * indifferent


def test_a_choice_that_was_tried_in_vain_is_seldom_tried_again(faas_grammar: Grammar) -> None:
    before = genes_of(faas_grammar, some_examples(faas_grammar, 1)[0].source)["placement"]
    first, second = (choice for choice in ("emptiest", "fullest", "first") if choice != before)
    worse = changed_genes(faas_grammar, history((f"placement {before} -> {first}", 0.8)))
    assert worse["placement", first] < worse["placement", second] / 2
    better = changed_genes(faas_grammar, history((f"placement {before} -> {first}", 0.95)))
    assert better["placement", first] > better["placement", second] / 2


def test_where_less_is_better_a_lower_score_is_a_gain(faas_grammar: Grammar) -> None:
    attempts = history(("queues single -> shares", 0.8))
    gene = next(gene for gene in faas_grammar.genes if gene.name == "queues")
    parent = replace(some_examples(faas_grammar, 1)[0], candidate_id="c0")
    maximised, minimised = (Experience(attempts, [parent], best) for best in (0.9, 0.5))
    assert maximised.novelty(gene, "single", "shares") < minimised.novelty(gene, "single", "shares") == 1.0


def test_every_rationale_of_a_few_changes_is_read_back(grammar: Grammar) -> None:
    parent = replace(some_examples(grammar, 1)[0], candidate_id="c0")
    genome = genes_of(grammar, parent.source)
    for seed in range(40):
        proposal = propose(grammar, [parent], [], Operator.DIFF, seed, history=OLD)
        attempt = Attempt(60, "c60", 0.1, f"score 0.1, 4.2% of the bound. {proposal.rationale}")
        known = Experience([attempt], [parent])
        assert known.repeats(grammar, genome, genes_of(grammar, proposal.source)) == ("->" in proposal.rationale)


@pytest.mark.parametrize("prose", ["", "I tried c0 with a larger queue -> better.", "c0 with max_ooms", "with -> with"])
def test_the_digest_of_another_backend_teaches_nothing(faas_grammar: Grammar, prose: str) -> None:
    foreign = [Attempt(60, "c60", 0.9, prose)]
    assert changed_genes(faas_grammar, foreign, 50) == changed_genes(faas_grammar, [Attempt(60, "c60", 0.9, "")], 50)


async def test_the_backend_answers_a_task_and_keeps_nothing(simulator: Simulator, grammar: Grammar) -> None:
    known = some_examples(grammar, 4)
    task = make_task(simulator, 11, known)
    first = OfflineBackend("", BackendOptions())
    await first.generate(call(make_task(simulator, 12)))
    replies = [await first.generate(call(task)), await OfflineBackend("", BackendOptions()).generate(call(task))]
    assert replies[0] == replies[1]
    assert replies[0].outcome is CallOutcome.OK
    assert read_header(grammar, replies[0].source) is not None
    assert replies[0].rationale


async def test_a_task_that_cannot_be_done_is_a_rejection_not_a_crash() -> None:
    task = make_task(faas, 1)
    for text in ("", "not json", '{"version": 2}'):
        simulator = replace(task.simulator, grammar=text)
        reply = await OfflineBackend("", BackendOptions()).generate(call(replace(task, simulator=simulator)))
        assert reply.rejection is Rejection.NO_CODE
        assert reply.detail


@pytest.mark.parametrize(
    "source",
    [
        f"x = {'-' * 900}1\n",
        f"x = {'+'.join(['1'] * 900)}\n",
        f"x = {'not ' * 50_000}1\n",  # what libcst does with this ends the process
        f"x = {'(' * 50_000}1{')' * 50_000}\n",
        f"x = 0x{'f' * 5000}\n",
        "x = 1e308\n",
        "x = 5e-324\n",
        "x = 1\x00\n",
        "x = 1  # \ud800\n",
    ],
)
def test_what_libcst_or_a_float_cannot_take_comes_back_as_it_is(source: str) -> None:
    assert mutate_source(source, random.Random(1)) == (source, [])


@pytest.mark.parametrize("source", ["x = (3).real\n", "x = (\n    3\n    # three\n)\n", "x = (\n\n3.5\n)\n"])
def test_parentheses_around_a_number_stay(source: str) -> None:
    changed, changes = mutate_source(source, random.Random(1))
    assert changes
    assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(source))
    assert changed.count("\n") == source.count("\n") + 1


def test_a_line_of_the_policy_that_looks_like_a_note_is_not_one() -> None:
    source = 'TEXT = """\n# changed: this stays\n"""\nx = 3\n'
    assert mutate_source(source, random.Random(1))[0].endswith('"""\n# changed: this stays\n"""\nx = 4\n')


SHORTEST = "def decide(queues):\n    return min(range(len(queues)), key=lambda q: queues[q] * 1.5 + q)\n"


def test_without_a_grammar_another_baseline_is_tried_now_and_then() -> None:
    parent = example(FOREIGN, 0.5)
    proposed = [propose(None, [parent], [], Operator.FULL, n, baselines=[FOREIGN, SHORTEST]).source for n in range(200)]
    assert 5 < sum(source == SHORTEST for source in proposed) < 40
    assert all(propose(None, [parent], [], Operator.FULL, n, baselines=[FOREIGN]).source != SHORTEST for n in range(50))


def test_arithmetic_and_extremes_are_turned_round_and_the_source_stays_python() -> None:
    found = [mutate_source(SHORTEST, random.Random(n)) for n in range(200)]
    changes = " ".join(change for _, said in found for change in said)
    assert all(text in changes for text in ("min -> max", "* -> /", "+ -> -", "1.5 -> "))
    for source, _ in found:
        ast.parse(source)
