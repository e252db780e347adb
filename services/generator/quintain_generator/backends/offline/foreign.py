"""Small changes to a policy that no grammar made: its numbers and comparisons, with everything else left as it was."""

from __future__ import annotations

import math
import random
import re

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider

_NOTE = re.compile(r"^# changed: .*\n", re.MULTILINE)
_SWAPS: dict[type[cst.BaseCompOp], type[cst.BaseCompOp]] = {
    cst.LessThan: cst.LessThanEqual,
    cst.LessThanEqual: cst.LessThan,
    cst.GreaterThan: cst.GreaterThanEqual,
    cst.GreaterThanEqual: cst.GreaterThan,
}
Site = cst.Integer | cst.Float | cst.ComparisonTarget


def mutate_source(source: str, rng: random.Random) -> tuple[str, list[str]]:
    """`source` with one to three numbers or comparisons changed, noted in a comment on top; and the changes, in words.

    Whole numbers stay whole and positive; zero, which is an index or a start more often than a quantity, stays zero.
    A source that does not parse, or has nothing to change, comes back as it is, with no changes.
    """
    try:
        wrapper = MetadataWrapper(cst.parse_module(_NOTE.sub("", source)))
    except cst.ParserSyntaxError:
        return source, []
    finder = _Sites()
    wrapper.visit(finder)
    if not finder.found:
        return source, []
    count = min(len(finder.found), 1 + (rng.random() < 0.5) + (rng.random() < 0.25))
    lines = wrapper.resolve(PositionProvider)
    replacements: dict[cst.CSTNode, cst.CSTNode] = {}
    changes: list[str] = []
    for site in rng.sample(finder.found, count):
        new = _changed(site, rng)
        replacements[site] = new
        changes.append(f"{_code(site)} -> {_code(new)} (line {lines[site].start.line})")
    changed = wrapper.module.visit(_Replace(replacements))
    assert isinstance(changed, cst.Module)
    return f"# changed: {'; '.join(changes)}\n{changed.code}", changes


class _Sites(cst.CSTVisitor):
    """Collects what may be changed. An index is structure, not a quantity."""

    def __init__(self) -> None:
        self.found: list[Site] = []

    def visit_SubscriptElement(self, node: cst.SubscriptElement) -> bool:
        return False

    def visit_Integer(self, node: cst.Integer) -> None:
        if node.evaluated_value > 0:
            self.found.append(node)

    def visit_Float(self, node: cst.Float) -> None:
        if node.evaluated_value > 0 and math.isfinite(node.evaluated_value):
            self.found.append(node)

    def visit_ComparisonTarget(self, node: cst.ComparisonTarget) -> None:
        if type(node.operator) in _SWAPS:
            self.found.append(node)


def _changed(site: Site, rng: random.Random) -> Site:
    if isinstance(site, cst.ComparisonTarget):
        old = site.operator
        return site.with_changes(operator=_SWAPS[type(old)]())
    factor = math.exp(rng.gauss(0.0, 0.5))
    if isinstance(site, cst.Float):
        value = float(f"{site.evaluated_value * factor:.3g}")
        return cst.Float(repr(value if value != site.evaluated_value else value * 1.1))
    whole = max(1, round(site.evaluated_value * factor))
    return cst.Integer(str(whole if whole != site.evaluated_value else whole + 1))


def _code(site: Site) -> str:
    shown = site.operator if isinstance(site, cst.ComparisonTarget) else site
    return cst.Module(body=[]).code_for_node(shown).strip()


class _Replace(cst.CSTTransformer):
    def __init__(self, replacements: dict[cst.CSTNode, cst.CSTNode]) -> None:
        self._replacements = replacements

    def on_leave(self, original_node: cst.CSTNode, updated_node: cst.CSTNode) -> cst.CSTNode:  # type: ignore[override]
        return self._replacements.get(original_node, updated_node)
