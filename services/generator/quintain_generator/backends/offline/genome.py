"""Genomes: values for a grammar's genes, how they are written into a policy's header and read back.

A genome has a value for every gene. Only its *active* part decides what the policy does, so only that part is written
down and compared; a gene that was not written has its default when the policy is read back.
"""

from __future__ import annotations

import json
import math
import re
import textwrap
from collections.abc import Mapping
from typing import Any, TypeAlias

from quintain.plugins.grammar import Gene, GeneValue, Grammar
from quintain_generator.domain.marks import GENES, GENES_CONTINUED

Genome: TypeAlias = dict[str, GeneValue]

_HEADER = re.compile(rf"^{GENES}(?P<first>.*)\n(?P<rest>(?:{GENES_CONTINUED}.*\n)*)", re.MULTILINE)
_WIDTH = 108


def normalise(gene: Gene, value: object) -> GeneValue:
    """The value of `gene` that is nearest to `value`; the default if there is none near."""
    if gene.kind == "choice":
        return value if value in gene.choices else gene.default
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return gene.default
    clamped = min(max(float(value), gene.low), gene.high)
    if gene.kind == "int":
        return round(clamped)
    return min(max(float(f"{clamped:.{gene.digits}g}"), gene.low), gene.high)


def complete(grammar: Grammar, values: Mapping[str, object]) -> Genome:
    """A value for every gene of `grammar`: from `values` where it has a usable one, else the default."""
    return {gene.name: normalise(gene, values.get(gene.name, gene.default)) for gene in grammar.genes}


def active(grammar: Grammar, genome: Genome) -> Genome:
    """The part of `genome` that decides something, in the grammar's order."""
    found: Genome = {}
    for gene in grammar.genes:
        conditions = (gene.when or {}).items()
        if all(name in found and found[name] in values for name, values in conditions):
            found[gene.name] = genome[gene.name]
    return found


def header(grammar: Grammar, genome: Genome) -> str:
    """Comment lines that hold the active genes."""
    # JSON separates with ", " and ": "; wrapping at those blanks and joining with one blank gives the same text back
    lines = textwrap.wrap(json.dumps(active(grammar, genome)), _WIDTH, break_long_words=False, break_on_hyphens=False)
    return GENES + f"\n{GENES_CONTINUED}".join(lines) + "\n"


def read_header(grammar: Grammar, source: str) -> Genome | None:
    """The genome of a policy that carries one, else None. A header that was edited by hand counts as far as it goes."""
    match = _HEADER.search(source)
    if match is None:
        return None
    rest = match["rest"].replace(GENES_CONTINUED, "").split("\n")
    try:
        values: Any = json.loads(" ".join([match["first"], *rest]).strip())
    except json.JSONDecodeError:
        return None
    known = {gene.name for gene in grammar.genes}
    if not isinstance(values, dict) or not known & values.keys():
        return None
    return complete(grammar, values)
