"""The grammar of models of one package, for the offline backend; and a model made from it without one."""

from __future__ import annotations

from collections.abc import Mapping

from jinja2 import StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from quintain.plugins.grammar import GeneValue, Grammar, Seed
from quintain_system.fit.lifecycle import Lifecycle
from quintain_system.fit.writing.writer import Writer


def grammar_of(life: Lifecycle) -> Grammar:
    writer = Writer(life)
    template = writer.template()
    return Grammar(tuple(writer.genes), template, (Seed("as_recorded", {}),))


def render(grammar: Grammar, values: Mapping[str, GeneValue], doc: str) -> str:
    """A model with these genes; the others have their defaults."""
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
    genes = {**values, **{gene.name: values.get(gene.name, gene.default) for gene in grammar.genes}}
    text = environment.from_string(grammar.template).render(**genes, genes=genes, doc=doc)
    return "\n".join(line.rstrip() for line in text.strip().splitlines()) + "\n"
