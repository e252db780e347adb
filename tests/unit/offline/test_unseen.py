"""What train does not exercise stays as it was, and policies adapt to what train never showed."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from quintain.plugins.backend import Attempt, Example, Operator
from quintain.plugins.grammar import Grammar
from quintain.plugins.inprocess import in_process
from quintain.plugins.simulator import Outcome, RunOptions, Scenario
from quintain_faas.plugin import simulator as faas
from quintain_generator.backends.offline import propose
from quintain_generator.backends.offline.experience import Experience
from quintain_generator.backends.offline.genome import active, complete, read_header
from quintain_generator.backends.offline.render import render
from quintain_generator.backends.offline.variation import mutate, random_genome, where_it_matters

HEADER = (
    "pipeline_id,arrival_seconds,priority,operator_id,parents,"
    "baseline_cpu_seconds,cpu_scaling,memory_gb,storage_read_gb\n"
)


def digest(*changes: tuple[str, float]) -> list[Attempt]:
    """Attempts that changed c0, which has 0.9."""
    first = Attempt(0, "c0", 0.9, "score 0.9.")
    return [first, *(Attempt(n, f"c{n}", score, f"c0 with {what}.") for n, (what, score) in enumerate(changes, 1))]


def drifted(grammar: Grammar, history: Sequence[Attempt], gene: str) -> tuple[int, int]:
    """How many of 300 proposals change `gene` alone, and how many with others."""
    source = render(grammar, complete(grammar, {}))
    parent = Example("c0", source, 0.9, 0.9, scenario_values={})
    before = active(grammar, complete(grammar, {}))
    alone = together = 0
    for seed in range(300):
        operator = (Operator.FULL, Operator.DIFF)[seed % 2]
        child = read_header(grammar, propose(grammar, [parent], [], operator, seed, history=history).source)
        assert child is not None
        after = active(grammar, child)
        changed = {name for name in before if name in after and after[name] != before[name]}
        alone += changed == {gene}
        together += gene in changed and len(changed) > 1
    return alone, together


def test_a_gene_that_nobody_saw_matter_is_changed_alone(faas_grammar: Grammar) -> None:
    untested = Grammar(faas_grammar.genes, faas_grammar.template, ())
    tried = digest(("queues single -> strict", 0.8), ("cpu_least 0.6 -> 0.5", 0.91))
    alone, together = drifted(untested, tried, "containers")
    assert alone > 0
    assert together == 0


def test_a_gene_that_was_seen_to_matter_comes_along_with_others(faas_grammar: Grammar) -> None:
    tried = digest(("containers operator -> chain", 0.8), ("cpu_least 0.6 -> 0.5", 0.91))
    genes = {gene.name: gene for gene in faas_grammar.genes}
    experience = Experience(tried, [], 0.91)
    assert experience.matters(faas_grammar, genes["containers"])
    assert not experience.matters(faas_grammar, genes["placement"])
    default = complete(faas_grammar, {})
    children = [mutate(faas_grammar, default, random.Random(seed), experience) for seed in range(300)]
    both = [c for c in children if c["containers"] == "chain" and c["cpu_least"] != default["cpu_least"]]
    assert both


def test_no_difference_at_all_is_no_evidence(faas_grammar: Grammar) -> None:
    gene = next(g for g in faas_grammar.genes if g.name == "containers")
    assert not Experience(digest(("containers operator -> chain", 0.9)), [], 0.9).matters(faas_grammar, gene)


def test_a_random_donor_gives_only_what_was_seen_to_matter(faas_grammar: Grammar) -> None:
    experience = Experience(digest(("placement emptiest -> first", 0.8)), [], 0.9)
    default = complete(faas_grammar, {})
    for seed in range(50):
        donor = random_genome(faas_grammar, random.Random(seed))
        child = where_it_matters(faas_grammar, default, donor, experience)
        assert child == default | {"placement": donor["placement"]}


def scenario(rows: list[str], **cluster: object) -> Scenario:
    parameters = {"num_pools": 1, "cpus_per_pool": 64, "ram_gb_per_pool": 500, "multi_operator_containers": False}
    lines = [f"{key} = {str(value).lower()}" for key, value in (parameters | cluster).items() if "estim" not in key]
    text = "[run]\nduration = 120\nticks_per_second = 50\n[cluster]\n" + "\n".join(lines)
    if "estimator" in cluster:
        text += '\n[estimator]\nestimator_algo = "noisy"\nnoisy_estimator_sigma = 0.0\n'
    files = {"scenario.toml": text.encode(), "trace.csv": (HEADER + "".join(rows)).encode()}
    return faas.inline_scenario("unseen", files)


def pipelines(needs: Sequence[float], every: float = 0.5) -> list[str]:
    """Batch pipelines of one operator each, which computes for 2 s after it has read what it needs."""
    return [f"job{n},{n * every},BATCH_PIPELINE,op1,,2,const,,{gb}\n" for n, gb in enumerate(needs)]


def run(grammar: Grammar, where: Scenario, **genes: object) -> Outcome:
    policy = render(grammar, complete(grammar, genes))
    outcome = faas.run(where, in_process(faas, policy), RunOptions())
    assert outcome.failure is None
    return outcome


def ooms(outcome: Outcome) -> float:
    return outcome.metrics["failures"]


def test_with_an_exact_estimate_hardly_anything_runs_out_of_memory(faas_grammar: Grammar) -> None:
    needs = [random.Random(n).uniform(20, 200) for n in range(150)]
    assert ooms(run(faas_grammar, scenario(pipelines(needs), estimator=True))) <= 2
    assert ooms(run(faas_grammar, scenario(pipelines(needs)))) > 20


def test_one_giant_does_not_make_everybody_large(faas_grammar: Grammar) -> None:
    """A size learned from the largest of a kind would let two containers side by side; the usual one lets twelve."""
    usual = [40.0] * 400
    giants = [240.0 if n % 40 == 5 else gb for n, gb in enumerate(usual)]
    without = run(faas_grammar, scenario(pipelines(usual, every=0.2))).metrics["throughput"]
    with_giants = run(faas_grammar, scenario(pipelines(giants, every=0.2))).metrics["throughput"]
    assert with_giants > 0.75 * without


@pytest.mark.parametrize("genes", [{}, {"containers": "chain", "preempt": "for_queries"}, {"learn": "nothing"}])
def test_where_operators_may_share_a_container_everything_still_completes(
    faas_grammar: Grammar, genes: dict[str, object]
) -> None:
    rows = []
    for n in range(40):
        rows += [f"job{n},{n},BATCH_PIPELINE,op1,,2,const,,30\n", f"job{n},,,op2,op1,2,const,,60\n"]
    outcome = run(faas_grammar, scenario(rows, multi_operator_containers=True), **genes)
    assert sum(group.metrics["completions"] for group in outcome.groups) >= 38


@pytest.mark.parametrize("seed", ["measured_peaks", "strict_classes", "fair_shares", "priority_slices"])
def test_where_a_pool_holds_one_operator_at_a_time_work_completes(faas_grammar: Grammar, seed: str) -> None:
    """Each one that is begun with a tenth of the pool takes the room in which another could have completed."""
    genes = next(dict(s.genes) for s in faas_grammar.seeds if s.name == seed)
    for gb in (55.0, 95.0):  # the second needs what a reserve keeps
        outcome = run(faas_grammar, scenario(pipelines([gb] * 200), cpus_per_pool=8, ram_gb_per_pool=100), **genes)
        assert sum(group.metrics["completions"] for group in outcome.groups) >= 10


def test_memory_is_divided_no_finer_than_cpus(faas_grammar: Grammar) -> None:
    where = scenario(pipelines([100.0] * 60), cpus_per_pool=4)
    assert ooms(run(faas_grammar, where)) == 0


def test_cpus_are_divided_where_they_are_scarce(faas_grammar: Grammar) -> None:
    rows = [f"job{n},0,BATCH_PIPELINE,op1,,6,sqrt,,40\n" for n in range(60)]
    fair = run(faas_grammar, scenario(rows, cpus_per_pool=8)).metrics["throughput"]
    greedy = run(faas_grammar, scenario(rows, cpus_per_pool=8), cpu_fair=4.0, cpu_least=1.0).metrics["throughput"]
    assert fair > greedy
