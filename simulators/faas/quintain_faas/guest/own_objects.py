"""Which names of a function hold only objects that the function itself has made: what is done to them is its own."""

from __future__ import annotations

import ast
from collections.abc import Iterator

_NEW_BY_CALL = frozenset(
    {"abs", "bool", "dict", "float", "frozenset", "int", "len", "list", "range", "round", "set", "sorted", "str", "sum",
     "tuple"}
)  # fmt: skip
_NEW_BY_SYNTAX = (
    ast.List, ast.Dict, ast.Set, ast.Tuple, ast.ListComp, ast.DictComp, ast.SetComp, ast.Constant, ast.JoinedStr,
)  # fmt: skip
_NEW_CONTAINERS = (ast.List, ast.Dict, ast.ListComp, ast.DictComp)
_CHANGERS = frozenset({"append", "appendleft", "add", "extend", "insert", "setdefault", "update"})


def own_nodes(function: ast.FunctionDef) -> Iterator[ast.AST]:
    """The nodes of a function without those of functions and classes inside it."""
    stack: list[ast.AST] = list(function.body)
    while stack:
        node = stack.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Lambda):
            stack.extend(ast.iter_child_nodes(node))


def is_new(value: ast.expr, bound: set[str]) -> bool:
    """Whether the expression makes a new object. `bound`: names that are surely no builtins."""
    if isinstance(value, ast.Call):
        name = value.func.id if isinstance(value.func, ast.Name) else ""
        may_give_its_start = name == "sum" and len(value.args) + len(value.keywords) > 1
        return name in _NEW_BY_CALL and name not in bound and not may_give_its_start
    return isinstance(value, _NEW_BY_SYNTAX)


def holds_new_containers(value: ast.expr) -> bool:
    """Whether the expression makes a list or dict whose elements are lists and dicts that it makes too."""
    match value:
        case ast.ListComp(elt=element) | ast.DictComp(value=element):
            return isinstance(element, _NEW_CONTAINERS)
        case ast.List(elts=elements) | ast.Dict(values=elements):
            return all(isinstance(element, _NEW_CONTAINERS) for element in elements)
        case _:
            return False


class OwnObjects:
    """`new`: the names; `nested`: those of them whose elements are new lists and dicts only. `rebound`: names that an
    inner function binds too; `bound`: all names that the module binds anywhere."""

    def __init__(self, function: ast.FunctionDef, rebound: set[str], bound: set[str]) -> None:
        good: set[str] = set()
        bad = {argument.arg for argument in ast.walk(function.args) if isinstance(argument, ast.arg)} | rebound
        values: dict[str, list[ast.expr]] = {}
        assigned: set[int] = set()
        for node in own_nodes(function):
            pairs: list[tuple[ast.expr, ast.expr]] = []
            if isinstance(node, ast.Assign):
                pairs = [(target, node.value) for target in node.targets]
            elif isinstance(node, ast.AnnAssign) and node.value is not None:
                pairs = [(node.target, node.value)]
            for target, value in pairs:
                if isinstance(target, ast.Name):
                    assigned.add(id(target))
                    values.setdefault(target.id, []).append(value)
                    (good if is_new(value, bound) else bad).add(target.id)
            if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
                assigned.add(id(node.target))  # a new list stays the same one; a new number gives another number
                if not isinstance(node.op, ast.Add | ast.Sub | ast.BitOr | ast.BitAnd):
                    bad.add(node.target.id)
            if isinstance(node, ast.Global | ast.Nonlocal):
                bad.update(node.names)
        for node in own_nodes(function):  # every other way of binding a name
            if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load) and id(node) not in assigned:
                bad.add(node.id)
            elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar | ast.FunctionDef | ast.ClassDef):
                bad.update([node.name] if node.name else [])
            elif isinstance(node, ast.Import | ast.ImportFrom):
                bad.update((alias.asname or alias.name).split(".")[0] for alias in node.names)
            elif isinstance(node, ast.MatchMapping) and node.rest:
                bad.add(node.rest)
        self.new = good - bad
        self.nested = {name for name in self.new if all(holds_new_containers(value) for value in values[name])}
        self.nested -= set(_with_other_elements(function))

    def holds(self, owner: ast.expr) -> bool:
        match owner:
            case ast.Name(id=name):
                return name in self.new
            case ast.Subscript(value=ast.Name(id=name), slice=key):
                return name in self.nested and not isinstance(key, ast.Slice)
            case _:
                return False


def _with_other_elements(function: ast.FunctionDef) -> Iterator[str]:
    """Names whose elements are (or may be) replaced by something that is not a new container."""
    for node in own_nodes(function):
        if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign | ast.For | ast.NamedExpr | ast.With):
            plain = isinstance(node, ast.Assign) and isinstance(node.value, _NEW_CONTAINERS)
            for inner in ast.walk(node):
                stored = isinstance(inner, ast.Subscript) and isinstance(inner.ctx, ast.Store)
                if stored and not plain and isinstance(inner, ast.Subscript) and isinstance(inner.value, ast.Name):
                    yield inner.value.id
            if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
                yield node.target.id
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _CHANGERS:
            owner = node.func.value
            if isinstance(owner, ast.Name) and not all(isinstance(a, _NEW_CONTAINERS) for a in node.args):
                yield owner.id
