"""The grammar of FaaS scheduling policies: every combination of its genes is a valid, readable policy."""

from __future__ import annotations

import functools
from importlib import resources

from quintain.plugins.grammar import Grammar
from quintain_faas.grammar.genes import GENES
from quintain_faas.grammar.seeds import SEEDS


@functools.cache
def grammar() -> Grammar:
    template = resources.files(__package__).joinpath("policy.py.j2").read_text(encoding="utf-8")
    return Grammar(genes=GENES, template=template, seeds=SEEDS)


def grammar_json() -> str:
    """For `Description.grammar`."""
    return grammar().to_json()
