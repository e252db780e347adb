"""Proof that a policy does nothing on an idle tick.

The scheduler function is evaluated symbolically for empty results and empty pipelines: straight through, with known
empties, constants and one unknown. If that reaches a return of two empty lists without any statement that might have an
effect, the policy need not be called on ticks without results and arrivals. Whatever is not understood is no proof.
"""

from __future__ import annotations

import ast
import operator
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

UNKNOWN: Final = object()
_parsing = threading.Lock()

_PURE_ON_EMPTY: dict[str, Callable[[], Any]] = {
    "len": lambda: 0,
    "bool": lambda: False,
    "any": lambda: False,
    "all": lambda: True,
    "sum": lambda: 0,
    "list": lambda: Empty("list"),
    "set": lambda: Empty("set"),
    "dict": lambda: Empty("dict"),
    "tuple": lambda: Empty("tuple"),
    "sorted": lambda: Empty("list"),
}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


class Empty:
    """A collection known to be empty; `kind` is its type's name."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __bool__(self) -> bool:
        return False


class _NoProof(Exception):
    pass


class _Returned(Exception):
    def __init__(self, value: Any) -> None:
        self.value = value


def parse(source: str) -> ast.Module:
    """One thread at a time: CPython (3.11 does) may count the depth of all threads' trees in one number, and fails if
    they take turns."""
    with _parsing:
        return ast.parse(source)


def is_guarded(source: str) -> bool:
    """Whether the one scheduler function of `source` provably does nothing on idle ticks. `source` must compile."""
    tree = parse(source)
    bound = bound_names(tree)
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and _is_scheduler(node)]
    if len(functions) != 1 or "register_scheduler" in bound:
        return False
    (function,) = functions
    inner = list(ast.walk(function))
    if any(isinstance(node, ast.Yield | ast.YieldFrom | ast.Await | ast.Global | ast.Nonlocal) for node in inner):
        return False
    if any(isinstance(node, ast.ClassDef) and has_hidden_calls(node) for node in ast.walk(tree)):
        return False
    try:
        _Evaluation(function, bound).run(function.body)
    except _Returned as end:
        value = end.value
        return isinstance(value, tuple) and len(value) == 2 and all(isinstance(part, Empty) for part in value)
    except _NoProof:
        return False
    return False


def _is_scheduler(function: ast.FunctionDef) -> bool:
    """Whether it is decorated by @register_scheduler and nothing else."""
    if len(function.decorator_list) != 1:
        return False
    decorator = function.decorator_list[0]
    return (
        isinstance(decorator, ast.Call)
        and isinstance(decorator.func, ast.Name)
        and decorator.func.id == "register_scheduler"
    )


def bound_names(tree: ast.AST) -> set[str]:
    """All names that are bound anywhere, in any scope, except by importing them from eudoxia: not surely builtins."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
            names.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").split(".")[0] == "eudoxia"):
            names.update(alias.asname for alias in node.names if alias.asname)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names.update((alias.asname or alias.name).split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            names.add(node.name)
        elif isinstance(node, ast.MatchMapping) and node.rest:
            names.add(node.rest)
    return names


# Special methods that even where they are called unseen do nothing but what they say.
_HARMLESS_METHODS = frozenset({"__init__", "__post_init__", "__repr__", "__str__", "__lt__", "__eq__", "__hash__"})


def has_hidden_calls(node: ast.ClassDef) -> bool:
    """Whether instances of a class may run code where no call is seen (operators, properties), or pass for a list."""
    for member in ast.walk(node):
        if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef):
            special = member.name.startswith("__") and member.name.endswith("__")
            if member.decorator_list or (special and member.name not in _HARMLESS_METHODS) or member.name == "extend":
                return True
    return False


class _Evaluation:
    def __init__(self, function: ast.FunctionDef, bound: set[str]) -> None:
        arguments = function.args
        names = [argument.arg for argument in arguments.posonlyargs + arguments.args]
        if len(names) != 3 or arguments.vararg or arguments.kwarg or arguments.kwonlyargs:
            raise _NoProof
        self._scheduler = names[0]
        self._known: dict[str, Any] = {names[0]: UNKNOWN, names[1]: Empty("list"), names[2]: Empty("list")}
        self._bound = bound

    # ------------------------------------------------------------------------------------------------- statements

    def run(self, body: Sequence[ast.stmt]) -> None:
        for statement in body:
            self._run_one(statement)

    def _run_one(self, statement: ast.stmt) -> None:
        match statement:
            case ast.Pass() | ast.Expr(value=ast.Constant()):
                return
            case ast.Return(value=None):
                raise _Returned(None)
            case ast.Return(value=ast.expr() as value):
                raise _Returned(self._value(value))
            case ast.Assign(targets=targets, value=value) if all(isinstance(t, ast.Name) for t in targets):
                result = self._value(value)
                for target in targets:
                    assert isinstance(target, ast.Name)
                    self._known[target.id] = result
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                self._known[name] = self._value(value)
            case ast.For(iter=iterated, orelse=orelse):
                if not isinstance(self._value(iterated), Empty):
                    raise _NoProof
                self.run(orelse)
            case ast.If(test=test, body=then, orelse=otherwise):
                decided = self._value(test)
                if decided is UNKNOWN:
                    raise _NoProof
                self.run(then if decided else otherwise)
            case ast.Expr(value=ast.Call(func=ast.Attribute(attr="extend", value=target), args=[item], keywords=[])):
                self._extend(target, item)
            case ast.AugAssign(target=ast.Attribute() as target, op=ast.Add(), value=item):
                self._extend(target, item)
            case _:
                raise _NoProof

    def _extend(self, target: ast.expr, item: ast.expr) -> None:
        """A list of the scheduler's extended by nothing stays as it is."""
        if not isinstance(self._value(item), Empty):
            raise _NoProof
        while isinstance(target, ast.Attribute):
            target = target.value
        if not isinstance(target, ast.Name) or target.id != self._scheduler:
            raise _NoProof

    # ------------------------------------------------------------------------------------------------ expressions

    def _value(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name):
                return self._known.get(name, UNKNOWN)
            case ast.List(elts=[]):
                return Empty("list")
            case ast.Dict(keys=[]):
                return Empty("dict")
            case ast.Tuple(elts=parts) if not any(isinstance(part, ast.Starred) for part in parts):
                return tuple(self._value(part) for part in parts)
            case ast.List(elts=parts) | ast.Set(elts=parts) if not any(isinstance(p, ast.Starred) for p in parts):
                for part in parts:
                    self._value(part)
                return UNKNOWN
            case ast.ListComp(generators=[first, *_]):
                return self._comprehension(first, "list")
            case ast.SetComp(generators=[first, *_]):
                return self._comprehension(first, "set")
            case ast.DictComp(generators=[first, *_]):
                return self._comprehension(first, "dict")
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                value = self._value(operand)
                return UNKNOWN if value is UNKNOWN else not value
            case ast.BoolOp(op=op, values=values):
                return self._logic(isinstance(op, ast.And), values)
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                return self._comparison(self._value(left), op, self._value(right))
            case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]):
                return self._call(name, argument)
            case ast.Attribute(value=owner):
                self._value(owner)
                return UNKNOWN  # reading an attribute of the mirror has no effect
            case _:
                raise _NoProof

    def _comprehension(self, first: ast.comprehension, kind: str) -> Empty:
        if first.is_async or not isinstance(self._value(first.iter), Empty):
            raise _NoProof
        return Empty(kind)

    def _logic(self, conjunction: bool, values: Sequence[ast.expr]) -> Any:
        value: Any = UNKNOWN
        for index, operand in enumerate(values):
            value = self._value(operand)
            if value is UNKNOWN:
                for rest in values[index + 1 :]:  # may be evaluated or not: must be harmless, and decides nothing
                    self._value(rest)
                return UNKNOWN
            if bool(value) is not conjunction:
                return value
        return value

    def _comparison(self, left: Any, op: ast.cmpop, right: Any) -> Any:
        if left is UNKNOWN or right is UNKNOWN:
            return UNKNOWN
        if isinstance(op, ast.Is | ast.IsNot) and (left is None or right is None):
            same = left is None and right is None
            return same if isinstance(op, ast.Is) else not same
        if isinstance(left, Empty) and isinstance(right, Empty) and isinstance(op, ast.Eq | ast.NotEq):
            return (left.kind == right.kind) is isinstance(op, ast.Eq)
        compare = _COMPARISONS.get(type(op))
        numbers = isinstance(left, int | float) and isinstance(right, int | float)
        return compare(left, right) if compare is not None and numbers else UNKNOWN

    def _call(self, name: str, argument: ast.expr) -> Any:
        if name in self._bound or name not in _PURE_ON_EMPTY:
            raise _NoProof
        if isinstance(argument, ast.GeneratorExp) and name not in ("len", "bool"):
            self._comprehension(argument.generators[0], "generator")
        elif not isinstance(self._value(argument), Empty):
            raise _NoProof
        return _PURE_ON_EMPTY[name]()
