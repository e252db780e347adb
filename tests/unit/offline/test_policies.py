"""What the offline backend writes: valid, readable, and the same genes when read back."""

from __future__ import annotations

import ast
import random
import subprocess
import sys
from pathlib import Path

import pytest

from quintain.plugins.grammar import Gene, Grammar, Seed
from quintain.plugins.inprocess import in_process
from quintain.plugins.simulator import Description, Part, RunOptions, Simulator
from quintain_faas.plugin import simulator as faas
from quintain_generator.backends.offline.genome import active, complete, normalise, read_header
from quintain_generator.backends.offline.render import GrammarError, render
from quintain_generator.backends.offline.variation import random_genome


def missing_definitions(tree: ast.Module, description: Description) -> list[str]:
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    defined = {("function", f.name) for f in functions} | {
        ("decorator", ast.unparse(d.func)) for f in functions for d in f.decorator_list if isinstance(d, ast.Call)
    }
    return [r.name for r in description.required_definitions if (r.kind, r.name) not in defined]


@pytest.mark.parametrize("quarter", range(4))
def test_a_thousand_policies_and_not_one_invalid(simulator: Simulator, grammar: Grammar, quarter: int) -> None:
    rng = random.Random(quarter)
    for _ in range(250):
        tree = ast.parse(render(grammar, random_genome(grammar, rng)))
        compile(tree, "policy.py", "exec")
        assert missing_definitions(tree, simulator.describe()) == []


def test_they_read_like_code_that_someone_keeps_tidy(grammar: Grammar, tmp_path: Path) -> None:
    rng = random.Random(2)
    for number in range(150):
        (tmp_path / f"policy{number}.py").write_text(render(grammar, random_genome(grammar, rng)))
    ruff = [sys.executable, "-m", "ruff"]
    options = ["--isolated", "--line-length", "120", str(tmp_path)]
    for command in (["format", "--diff"], ["check", "--select", "E,F,I,B"]):
        tidy = subprocess.run([*ruff, *command, *options], capture_output=True, text=True, check=False)
        assert tidy.returncode == 0, tidy.stdout


def test_genes_come_back_from_the_header(grammar: Grammar) -> None:
    rng = random.Random(3)
    for _ in range(60):
        genome = random_genome(grammar, rng)
        source = render(grammar, genome)
        back = read_header(grammar, source)
        assert back is not None
        assert active(grammar, back) == active(grammar, genome)
        assert render(grammar, back) == source


def test_every_gene_can_be_seen_in_the_policy(grammar: Grammar) -> None:
    """A decision that changes the header but not the code would be a lie (and a wasted verification)."""
    rng = random.Random(4)

    def code(source: str) -> str:
        return ast.unparse(ast.parse(source).body[1:])  # type: ignore[arg-type]

    unseen = {gene.name for gene in grammar.genes}
    for _ in range(60):
        genome = random_genome(grammar, rng)
        before = code(render(grammar, genome))
        for gene in grammar.genes:
            if gene.name in unseen and gene.name in active(grammar, genome):
                others = [v for v in (*gene.choices, gene.low, gene.high) if normalise(gene, v) != genome[gene.name]]
                changed = {**genome, gene.name: normalise(gene, others[0])}
                if code(render(grammar, changed)) != before:
                    unseen.discard(gene.name)
    assert not unseen


def test_the_docstring_says_what_the_policy_does(faas_grammar: Grammar) -> None:
    genome = complete(faas_grammar, {"queues": "shares", "share_query": 3, "deadline": "slack", "slack_seconds": 7.5})
    doc = " ".join((ast.get_docstring(ast.parse(render(faas_grammar, genome))) or "").split())
    for phrase in (
        "each class gets its share",
        "3 for query",
        "nothing starts so late that it is hopeless, with 7.5 s",
    ):
        assert phrase in doc
    assert "strictly by rank" not in doc


def test_a_header_that_a_person_edited_counts_as_far_as_it_goes(faas_grammar: Grammar) -> None:
    edited = '# genes: {"queues": "nonsense", "lookahead": 10000, "backfill": "any", "oom_growth": "2"}\n'
    genome = read_header(faas_grammar, edited)
    assert genome == complete(faas_grammar, {"backfill": "any", "lookahead": 128})


@pytest.mark.parametrize("source", ["", "x = 1\n", "# genes: {not json\n", "# genes: [1]\n", '# genes: {"other": 1}\n'])
def test_a_policy_without_genes_has_none(faas_grammar: Grammar, source: str) -> None:
    assert read_header(faas_grammar, source) is None


@pytest.mark.parametrize(
    "template",
    ["{{ missing }}", "{% for %}", "def f(:", "{{ x.__class__.__mro__[1].__subclasses__() }}", "{{ 1 / 0 }}"],
)
def test_a_grammar_that_does_not_work_is_said_to_be_one(template: str) -> None:
    grammar = Grammar((Gene("x", "only", "int", 1, low=1, high=9),), template, (Seed("one", {}),))
    with pytest.raises(GrammarError, match="grammar"):
        render(grammar, complete(grammar, {}))


def test_a_phrase_cannot_leave_the_docstring() -> None:
    gene = Gene("x", "only", "int", 1, low=1, high=9, says='"""; import os; """ \\')
    grammar = Grammar((gene,), '"""{{ doc }}"""\n', ())
    assert len(ast.parse(render(grammar, complete(grammar, {}))).body) == 1


def test_hand_written_seeds_run_on_the_smoke_suite_and_beat_fifo() -> None:
    grammar = Grammar.from_json(faas.describe().grammar)
    suite = faas.suite("smoke")
    train = [faas.scenario(entry.scenario) for entry in suite.entries if entry.part is Part.TRAIN]
    fifo = faas.describe().baselines[0].source
    base = {s.name: faas.run(s, in_process(faas, fifo), RunOptions()) for s in train}
    of_fifo = [faas.score(suite.objective, s, base[s.name], base[s.name]).normalized for s in train]
    for seed in grammar.seeds:
        policy = render(grammar, complete(grammar, seed.genes))
        outcomes = [faas.run(s, in_process(faas, policy), RunOptions()) for s in train]
        assert [o.failure for o in outcomes] == [None] * len(train), seed.name
        assert {o.calling_mode for o in outcomes} == {"guard"}, f"{seed.name} is slow to simulate"
        scores = [faas.score(suite.objective, s, o, base[s.name]) for s, o in zip(train, outcomes, strict=True)]
        assert sum(s.normalized for s in scores) > sum(of_fifo), seed.name


def test_whatever_the_genes_no_policy_breaks_a_rule(simulator: Simulator, grammar: Grammar) -> None:
    rng = random.Random(5)
    names = [entry.scenario for entry in simulator.suite("smoke").entries]
    for number in range(40):
        source = render(grammar, random_genome(grammar, rng))
        scenario = simulator.scenario(names[number % len(names)])
        outcome = simulator.run(scenario, in_process(simulator, source), RunOptions())
        assert outcome.failure is None, source
