"""From a genome to a policy that reads like a person's: header with the genes, docstring, code."""

from __future__ import annotations

import functools
import re
import textwrap

from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from quintain.plugins.grammar import Gene, Grammar
from quintain_generator.backends.offline.genome import Genome, active, complete, header

_WIDTH = 112


class GrammarError(ValueError):
    """The simulator's grammar does not give a program for these genes."""


def render(grammar: Grammar, genome: Genome) -> str:
    """The policy's source. Raises GrammarError for a template that fails or gives something that is not Python."""
    # what is not written into the header must not decide anything either
    values = complete(grammar, active(grammar, genome))
    try:
        text = _template(grammar.template).render(**values, genes=values, doc=describe(grammar, genome))
    except (TemplateError, TypeError, ValueError, ArithmeticError) as error:
        raise GrammarError(f"the grammar's template failed: {type(error).__name__}: {error}") from error
    body = "\n".join(line.rstrip() for line in text.strip().splitlines())
    source = header(grammar, genome) + re.sub(r"\n{4,}", "\n\n\n", body) + "\n"
    try:
        compile(source, "policy.py", "exec", dont_inherit=True)
    except SyntaxError as error:
        raise GrammarError(
            f"the grammar gave a program that is not Python: line {error.lineno}: {error.msg}"
        ) from error
    return source


def describe(grammar: Grammar, genome: Genome) -> str:
    """What the policy does, one paragraph for each component, from the phrases of its active genes."""
    values = active(grammar, genome)
    phrases: dict[str, list[str]] = {}
    for gene in grammar.genes:
        if gene.name in values and (phrase := _phrase(gene, values)):
            phrases.setdefault(gene.component, []).append(phrase)
    paragraphs = [f"{name.capitalize()}: {', '.join(said)}." for name, said in phrases.items()]
    text = "\n".join(textwrap.fill(p, _WIDTH, subsequent_indent="    ", break_on_hyphens=False) for p in paragraphs)
    return text.replace("\\", "/").replace('"""', "'''")  # it goes into a docstring


def _phrase(gene: Gene, values: Genome) -> str:
    value = values[gene.name]
    says = gene.says if isinstance(gene.says, str) else gene.says.get(str(value), "")
    shown = {**values, "value": value}
    return re.sub(r"\{(\w+)\}", lambda m: str(shown.get(m[1], m[0])), says)


@functools.lru_cache(maxsize=16)
def _template(text: str) -> Template:
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
    return environment.from_string(text)
