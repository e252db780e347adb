"""Small changes to a policy that no grammar made: its numbers, comparisons and arithmetic, and whether it takes the
least or the most; everything else is left as it was. By chance, or as a sweep that minds what was tried before."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Iterator, Sequence

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider

from quintain_generator.backends.offline.trials import KnownPlace, Trial
from quintain_generator.domain.gate import Unparsable, parse
from quintain_generator.domain.marks import CHANGED

_NOTE = re.compile(rf"\A(?:{CHANGED}.*\n)+")
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
_TWO_AT_ONCE = 0.25  # of the sweeps
_SMALLEST_STEP, _LARGEST_STEP = 0.05, 1.0  # of a sweep, on a logarithmic scale
_LARGEST = 1e300  # beyond it, and as close to zero, a step may leave the range of floats


def mutate_source(source: str, rng: random.Random) -> tuple[str, list[str]]:
    """`source` with one to three changes, noted in a comment on top; and the changes, in words.

    Whole numbers stay whole and positive; zero, which is an index or a start more often than a quantity, stays zero.
    A source that does not parse, is nested too deeply, or has nothing to change, comes back as it is, with no changes.
    """
    return _changed_source(source, lambda sites: _draw(sites, rng))


def sweep_source(source: str, trials: Sequence[Trial], rng: random.Random) -> tuple[str, list[str]]:
    """As `mutate_source`, but one number or comparison, seldom two, and by what came of earlier changes of the same
    places: what made no difference, or was in vain, is tried less; what helped is taken further."""
    return _changed_source(source, lambda sites: _draw_by_trials(sites, trials, rng))


def _changed_source(source: str, draw: Draw) -> tuple[str, list[str]]:
    try:
        parse(source)  # first: nesting that the interpreter refuses would crash the whole process in libcst
        return _parsed_and_changed(_NOTE.sub("", source), draw) or (source, [])
    except (Unparsable, cst.ParserSyntaxError, RecursionError):
        return source, []


def _parsed_and_changed(source: str, draw: Draw) -> tuple[str, list[str]] | None:
    wrapper = MetadataWrapper(cst.parse_module(source))
    lines = wrapper.resolve(PositionProvider)
    sites = _Sites(lambda node: lines[node].start.line)
    wrapper.visit(sites)
    if not sites.found and not sites.logic:
        return None
    drawn = draw(sites)
    if not drawn:
        return None
    changed = wrapper.module.visit(_Replace(dict(drawn)))
    assert isinstance(changed, cst.Module)
    changes = [f"{_code(old)} -> {_code(new)} (line {sites.line(old)})" for old, new in drawn]
    return f"{CHANGED}{'; '.join(changes)}\n{changed.code}", changes


def _draw(sites: _Sites, rng: random.Random) -> list[tuple[Site, Site]]:
    count = min(len(sites.found) + len(sites.logic), 1 + (rng.random() < 0.5) + (rng.random() < 0.25))
    # one after the other: each draw of a place is followed by that of its change
    return [(site, _changed(site, rng)) for site in _sample(sites, count, rng)]


def _draw_by_trials(sites: _Sites, trials: Sequence[Trial], rng: random.Random) -> list[tuple[Site, Site]]:
    drawn: list[tuple[Site, Site]] = []
    left = list(sites.found)
    for _ in range(min(len(left), 1 + (rng.random() < _TWO_AT_ONCE))):
        known = [KnownPlace(trials, sites.line(site), _code(site)) for site in left]
        (index,) = rng.choices(range(len(left)), [k.interest for k in known])
        site = left.pop(index)
        drawn.append((site, _step(site, known[index].direction(rng), rng)))
    return drawn


def _step(site: Site, upwards: bool | None, rng: random.Random) -> Site:
    """A change of a number by a step of mixed size; of a comparison, the other one."""
    if not isinstance(site, cst.Integer | cst.Float):
        return _changed(site, rng)
    size = math.exp(rng.uniform(math.log(_SMALLEST_STEP), math.log(_LARGEST_STEP)))
    up = rng.random() < 0.5 if upwards is None else upwards
    if not up and isinstance(site, cst.Integer) and site.evaluated_value > 1:
        return site.with_changes(
            value=str(max(1, min(site.evaluated_value - 1, round(site.evaluated_value / math.exp(size)))))
        )
    return _scaled(site, math.exp(size if up else -size))


def _sample(finder: _Sites, count: int, rng: random.Random) -> Iterator[Site]:
    """`count` different sites."""
    numbers, logic = list(finder.found), list(finder.logic)
    for _ in range(count):
        pool = numbers if numbers and (not logic or rng.random() < _NUMBERS_SHARE) else logic
        yield pool.pop(rng.randrange(len(pool)))


class _Sites(cst.CSTVisitor):
    """Collects what may be changed: numbers and comparisons (`found`), operators and extremes (`logic`). An index is
    structure, not a quantity."""

    def __init__(self, line: Callable[[cst.CSTNode], int]) -> None:
        self.line = line
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
    return _scaled(site, math.exp(rng.gauss(0.0, 0.5)))


def _scaled(site: cst.Integer | cst.Float, factor: float) -> Site:
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


Draw = Callable[[_Sites], list[tuple[Site, Site]]]  # what to put in which place


class _Replace(cst.CSTTransformer):
    def __init__(self, replacements: dict[cst.CSTNode, cst.CSTNode]) -> None:
        self._replacements = replacements

    def on_leave(self, original_node: cst.CSTNode, updated_node: cst.CSTNode) -> cst.CSTNode:  # type: ignore[override]
        return self._replacements.get(original_node, updated_node)
