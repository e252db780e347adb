"""Whether iterators may live on in a policy: then an iteration may change what the next one finds."""

from __future__ import annotations

import ast

_MAKERS = frozenset({"enumerate", "filter", "iter", "map", "reversed", "zip"})
# Calls that use up on the spot what they are given.
_CONSUMERS = frozenset(
    {"all", "any", "dict", "enumerate", "filter", "frozenset", "list", "map", "max", "min", "next", "reversed", "set",
     "sorted", "sum", "tuple", "zip"}
)  # fmt: skip
_CONSUMING_METHODS = frozenset({"difference", "extend", "intersection", "issubset", "join", "union", "update"})
# Nothing in these makes an iterator.
_WITHOUT_ITERATORS = frozenset(
    {"__future__", "abc", "bisect", "collections", "copy", "dataclasses", "datetime", "decimal", "enum", "eudoxia",
     "fractions", "functools", "json", "logging", "math", "numbers", "operator", "random", "statistics", "string",
     "sys", "time", "typing", "uuid", "warnings"}
)  # fmt: skip


def living_iterators(tree: ast.Module, bound: set[str]) -> bool:
    """False only if every iterator of the source is used up where it is made: as the iterable of a loop, or as an
    argument of a consumer."""
    modules = {alias.name for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names}
    modules |= {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and not n.level}
    from_heapq = {
        a.name for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) for a in n.names if n.module == "heapq"
    }
    if {name.split(".")[0] for name in modules} - _WITHOUT_ITERATORS - {"heapq"} or "merge" in from_heapq:
        return True
    generators = {f.name for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) and _yields(f)}
    consumed = _consumed_nodes(tree, bound)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in ("merge", "__iter__", "__reversed__"):
            return True
        makes = isinstance(node, ast.GeneratorExp)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            makes = node.id in _MAKERS or node.id in generators
        elif isinstance(node, ast.Attribute):
            makes = node.attr in generators
        elif isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if name in generators or (isinstance(node.func, ast.Name) and name in _MAKERS):
                consumed.add(id(node.func))  # the name itself is fine as the function of a call ...
                makes = True  # ... whose value has to be consumed
        if makes and id(node) not in consumed:
            return True
    return False


def _yields(function: ast.FunctionDef) -> bool:
    return any(isinstance(node, ast.Yield | ast.YieldFrom) for node in ast.walk(function))


def _consumed_nodes(tree: ast.Module, bound: set[str]) -> set[int]:
    consumed: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.For | ast.comprehension):
            consumed.add(id(node.iter))
        elif isinstance(node, ast.Starred | ast.YieldFrom):
            consumed.add(id(node.value))
        elif isinstance(node, ast.Compare):
            consumed.update(id(comparator) for comparator in node.comparators)
        elif isinstance(node, ast.Call) and _consumes(node, bound):
            consumed.update(id(argument) for argument in node.args)
    return consumed


def _consumes(call: ast.Call, bound: set[str]) -> bool:
    if isinstance(call.func, ast.Name):
        return call.func.id in _CONSUMERS and call.func.id not in bound
    return isinstance(call.func, ast.Attribute) and call.func.attr in _CONSUMING_METHODS
