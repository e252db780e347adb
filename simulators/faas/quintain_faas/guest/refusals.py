"""What marks on statements would not see: sources that are not instrumented at all."""

from __future__ import annotations

import ast

from quintain_faas.guest.guard import has_hidden_calls
from quintain_faas.guest.refinements import COUNTER_NAME, VALUE_NAME

# Calls of their functions count as effects, and no method of their objects by a name in _PURE_METHODS has one.
_MODULES = frozenset(
    {"__future__", "bisect", "collections", "copy", "dataclasses", "enum", "eudoxia", "functools", "heapq", "logging",
     "math", "operator", "typing"}
)  # fmt: skip
# Calls that make iterators, and calls that use one up on the spot.
_ITERATOR_MAKERS = frozenset({"enumerate", "filter", "iter", "map", "reversed", "zip"})
_CONSUMERS = frozenset(
    {"all", "any", "dict", "enumerate", "filter", "frozenset", "list", "map", "max", "min", "next", "reversed", "set",
     "sorted", "sum", "tuple", "zip"}
)  # fmt: skip
_CONSUMING_METHODS = frozenset({"difference", "extend", "intersection", "issubset", "join", "union", "update"})
# What changes from tick to tick in the mirror without being counted as a read.
_UNCOUNTED_READS = frozenset({"_tick", "reads"})
_FORBIDDEN_NAMES = frozenset(
    {"__builtins__", "__import__", "compile", "delattr", "eval", "exec", "globals", "input", "locals", "open",
     "setattr", "super", "vars"}
)  # fmt: skip


class NotInstrumentable(Exception):
    """Says why marks would not see every effect of this source."""


def refuse(tree: ast.Module, bound: set[str]) -> None:
    """Raises NotInstrumentable."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=aliases):
                _refuse_modules([alias.name for alias in aliases])
            case ast.ImportFrom(module=module, level=level):
                _refuse_modules(["eudoxia" if level else module or ""])
            case (
                ast.Yield() | ast.YieldFrom() | ast.Await() | ast.AsyncFunctionDef() | ast.AsyncFor() | ast.AsyncWith()
            ):
                raise NotInstrumentable(f"line {node.lineno}: generators and coroutines keep a state of their own")
            case ast.ClassDef() if has_hidden_calls(node) or node.keywords:
                raise NotInstrumentable(f"line {node.lineno}: class {node.name} has special or decorated methods")
            case ast.Name(id=name) if name in _FORBIDDEN_NAMES or name in (COUNTER_NAME, VALUE_NAME):
                raise NotInstrumentable(f"line {node.lineno}: uses {name}")
            case ast.Attribute(attr=name) if name.startswith("__") and name.endswith("__") and name != "__name__":
                raise NotInstrumentable(f"line {node.lineno}: uses {name}")
            case ast.Attribute(attr=name) | ast.Constant(value=name) if name in _UNCOUNTED_READS:
                raise NotInstrumentable(f"line {node.lineno}: uses {name}")
            case _:
                pass
    _refuse_living_iterators(tree, bound)


def _refuse_modules(names: list[str]) -> None:
    for name in names:
        if name.split(".")[0] not in _MODULES:
            raise NotInstrumentable(f"imports {name}")


def _refuse_living_iterators(tree: ast.Module, bound: set[str]) -> None:
    """An iterator must be used up where it is made: as the iterable of a loop, or as an argument of a consumer."""
    consumed: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.For | ast.comprehension):
            consumed.add(id(node.iter))
        elif isinstance(node, ast.Starred):
            consumed.add(id(node.value))
        elif isinstance(node, ast.Compare):
            consumed.update(id(comparator) for comparator in node.comparators)
        elif isinstance(node, ast.Call) and _consumes(node, bound):
            consumed.update(id(argument) for argument in node.args)
    for node in ast.walk(tree):
        makes = isinstance(node, ast.GeneratorExp) or (
            isinstance(node, ast.Name) and node.id in _ITERATOR_MAKERS and isinstance(node.ctx, ast.Load)
        )
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _ITERATOR_MAKERS:
            consumed.add(id(node.func))  # the name itself is fine as the function of a call ...
            makes = True  # ... whose value has to be consumed
        if makes and id(node) not in consumed:
            line = getattr(node, "lineno", 0)
            raise NotInstrumentable(f"line {line}: makes an iterator that may live on")


def _consumes(call: ast.Call, bound: set[str]) -> bool:
    if isinstance(call.func, ast.Name):
        return call.func.id in _CONSUMERS and call.func.id not in bound
    return isinstance(call.func, ast.Attribute) and call.func.attr in _CONSUMING_METHODS
