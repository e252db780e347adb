"""Small changes to a policy that no grammar made: its numbers, comparisons and arithmetic, and whether it takes the
least or the most; everything else is left as it was."""

from __future__ import annotations

import math
import random
import re

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider

from quintain_generator.domain.gate import Unparsable, parse

_NOTE = re.compile(r"\A(?:# changed: .*\n)+")
_SWAPS: dict[type[cst.BaseCompOp], type[cst.BaseCompOp]] = {
    cst.LessThan: cst.LessThanEqual,
    cst.LessThanEqual: cst.LessThan,
    cst.GreaterThan: cst.GreaterThanEqual,
    cst.GreaterThanEqual: cst.GreaterThan,
}
Arithmetic = cst.Add | cst.Subtract | cst.Multiply | cst.Divide
Site = cst.Integer | cst.Float | cst.ComparisonTarget | cst.Name | Arithmetic
_EXTREMES = {"min": "max", "max": "min"}
_NUMBERS_SHARE = 0.8  # of the changes: numbers and comparisons; the rest turns the policy's logic round
_LARGEST = 1e300  # beyond it, and as close to zero, a step may leave the range of floats


def mutate_source(source: str, rng: random.Random) -> tuple[str, list[str]]:
    """`source` with one to three changes, noted in a comment on top; and the changes, in words.

    Whole numbers stay whole and positive; zero, which is an index or a start more often than a quantity, stays zero.
    A source that does not parse, is nested too deeply, or has nothing to change, comes back as it is, with no changes.
    """
    try:
        parse(source)  # first: nesting that the interpreter refuses would crash the whole process in libcst
        return _mutated(_NOTE.sub("", source), rng) or (source, [])
    except (Unparsable, cst.ParserSyntaxError, RecursionError):
        return source, []


def _mutated(source: str, rng: random.Random) -> tuple[str, list[str]] | None:
    wrapper = MetadataWrapper(cst.parse_module(source))
    finder = _Sites()
    wrapper.visit(finder)
    if not finder.found and not finder.logic:
        return None
    count = min(len(finder.found) + len(finder.logic), 1 + (rng.random() < 0.5) + (rng.random() < 0.25))
    lines = wrapper.resolve(PositionProvider)
    replacements: dict[cst.CSTNode, cst.CSTNode] = {}
    changes: list[str] = []
    for site in _sample(finder, count, rng):
        new = _changed(site, rng)
        replacements[site] = new
        changes.append(f"{_code(site)} -> {_code(new)} (line {lines[site].start.line})")
    changed = wrapper.module.visit(_Replace(replacements))
    assert isinstance(changed, cst.Module)
    return f"# changed: {'; '.join(changes)}\n{changed.code}", changes


def _sample(finder: _Sites, count: int, rng: random.Random) -> list[Site]:
    """`count` different sites."""
    numbers, logic = list(finder.found), list(finder.logic)
    chosen: list[Site] = []
    for _ in range(count):
        pool = numbers if numbers and (not logic or rng.random() < _NUMBERS_SHARE) else logic
        chosen.append(pool.pop(rng.randrange(len(pool))))
    return chosen


class _Sites(cst.CSTVisitor):
    """Collects what may be changed: numbers and comparisons (`found`), operators and extremes (`logic`). An index is
    structure, not a quantity."""

    def __init__(self) -> None:
        self.found: list[Site] = []
        self.logic: list[Site] = []

    def visit_SubscriptElement(self, node: cst.SubscriptElement) -> bool:
        return False

    def visit_Integer(self, node: cst.Integer) -> None:
        if 0 < node.evaluated_value < _LARGEST:
            self.found.append(node)

    def visit_Float(self, node: cst.Float) -> None:
        if 1 / _LARGEST < node.evaluated_value < _LARGEST:
            self.found.append(node)

    def visit_ComparisonTarget(self, node: cst.ComparisonTarget) -> None:
        if type(node.operator) in _SWAPS:
            self.found.append(node)

    def visit_BinaryOperation(self, node: cst.BinaryOperation) -> None:
        if isinstance(node.operator, Arithmetic) and not isinstance(node.left, cst.SimpleString | cst.FormattedString):
            self.logic.append(node.operator)

    def visit_Call(self, node: cst.Call) -> None:
        if isinstance(node.func, cst.Name) and node.func.value in _EXTREMES:
            self.logic.append(node.func)


def _changed(site: Site, rng: random.Random) -> Site:
    if isinstance(site, cst.Name):
        return site.with_changes(value=_EXTREMES[site.value])
    if isinstance(site, Arithmetic):
        return _opposite(site)
    if isinstance(site, cst.ComparisonTarget):
        old = site.operator
        return site.with_changes(operator=_SWAPS[type(old)]())
    factor = math.exp(rng.gauss(0.0, 0.5))
    if isinstance(site, cst.Float):
        value = float(f"{site.evaluated_value * factor:.3g}")
        return site.with_changes(value=repr(value if value != site.evaluated_value else value * 1.1))
    whole = max(1, round(site.evaluated_value * factor))
    return site.with_changes(value=str(whole if whole != site.evaluated_value else whole + 1))


def _opposite(operator: Arithmetic) -> Arithmetic:
    before, after = operator.whitespace_before, operator.whitespace_after
    match operator:
        case cst.Add():
            return cst.Subtract(before, after)
        case cst.Subtract():
            return cst.Add(before, after)
        case cst.Multiply():
            return cst.Divide(before, after)
        case cst.Divide():
            return cst.Multiply(before, after)


def _code(site: Site) -> str:
    """Without the parentheses around a number, which may go over several lines."""
    if isinstance(site, cst.ComparisonTarget):
        return cst.Module(body=[]).code_for_node(site.operator).strip()
    if isinstance(site, Arithmetic):
        return cst.Module(body=[]).code_for_node(site).strip()
    return site.value


class _Replace(cst.CSTTransformer):
    def __init__(self, replacements: dict[cst.CSTNode, cst.CSTNode]) -> None:
        self._replacements = replacements

    def on_leave(self, original_node: cst.CSTNode, updated_node: cst.CSTNode) -> cst.CSTNode:  # type: ignore[override]
        return self._replacements.get(original_node, updated_node)
