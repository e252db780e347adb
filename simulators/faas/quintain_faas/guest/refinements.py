"""Effects that turn out to be none when a statement runs.

Policies like to rebuild their queues on every call (``s.queue = [p for p in s.queue if ...]``), to sort them, to take
in what arrived (``s.queue.extend(pipelines)``). On an idle tick none of this changes anything; a mark on the statement
would keep the policy from ever coming to rest. So these statements leave a note instead of a mark.

A list or dict that is stored must be one that this very call made. Then the store gives the place a new object on this
call and on each repetition of it: what is aliased with what after one call is so after many. Since the source never
tells lists apart by identity (`tells_lists_apart`), a place that holds an equal new list is as good as untouched. Old
and new are compared when the call has ended, because until then it may change its new list.
"""

from __future__ import annotations

import ast
from typing import Any

COUNTER_NAME = "__fx__"
VALUE_NAME = "__fx_value__"

MAX_NOTES = 256  # in one call; a call with more has an effect

_SCALARS = (int, float, str, bool, type(None))


class EffectCounter:
    """Counts the marks that a policy passes (`n`); the other public names are for the instrumented source."""

    __slots__ = ("_notes", "n")

    ANY_ERROR = Exception

    def __init__(self) -> None:
        self.n = 0
        self._notes: list[tuple[Any, Any]] = []  # containers that shall have the same elements when the call ends

    def begin(self) -> int:
        """A call begins. Returns the count to compare with."""
        self._notes.clear()
        return self.n

    def since(self, count: int) -> bool:
        """Whether the call that began at `count` had an effect."""
        return self.n != count or not all(_same_elements(old, new) for old, new in self._notes)

    def store(self, old: Any, new: Any, is_new: bool) -> None:
        """`new` is about to take the place of `old`; `is_new`: if it is a container, this call made it."""
        if type(new) in (list, dict):
            self._note(old, new, is_new and type(old) is type(new))
        else:
            self.n += not _same(old, new)

    def sort(self, items: Any) -> None:
        self._note(list(items), items, type(items) is list)

    @staticmethod
    def is_empty(added: Any) -> bool:
        return type(added) in (list, tuple, dict, set) and not added

    def _note(self, old: Any, new: Any, comparable: bool) -> None:
        if comparable and len(self._notes) < MAX_NOTES:
            self._notes.append((old, new))
        else:
            self.n += 1


def _same_elements(old: Any, new: Any) -> bool:
    if len(old) != len(new) or not all(map(_same, old, new)):
        return False
    return type(new) is list or all(map(_same, old.values(), new.values()))


def _same(old: Any, new: Any) -> bool:
    """The same object, or scalars of one type that no operation tells apart."""
    if old is new:
        return True
    return type(old) is type(new) and type(new) in _SCALARS and old == new and repr(old) == repr(new)


# --------------------------------------------------------------------------------------------------------------- source


def tells_lists_apart(tree: ast.Module, bound: set[str]) -> bool:
    """Whether the source may ask if two lists are the same object."""
    for node in ast.walk(tree):
        match node:
            case ast.Compare(ops=ops, comparators=comparators):
                for op, right in zip(ops, comparators, strict=True):
                    if isinstance(op, ast.Is | ast.IsNot) and not _is_no_list(right, bound):
                        return True
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name):
                if name in ("id", "is_", "is_not") and not (isinstance(node, ast.Attribute) and name == "id"):
                    return True
    return False


def _is_no_list(node: ast.expr, bound: set[str]) -> bool:
    match node:
        case ast.Constant():
            return True
        case ast.Attribute(value=ast.Name(id="OperatorState" | "Priority" as name)):
            return name not in bound
        case _:
            return False


def note_store(
    statement: ast.stmt, target: ast.Attribute | ast.Subscript, value: ast.expr, is_new: bool
) -> list[ast.stmt]:
    """``target = value``, with the old value and the new one noted in between."""
    value_name = ast.Name(VALUE_NAME, ast.Load())
    note = ast.Call(_counter("store"), [_as_load(target), value_name, ast.Constant(is_new)], [])
    nothing_there = ast.ExceptHandler(_counter("ANY_ERROR"), None, [mark()])
    made: list[ast.stmt] = [
        ast.Assign([ast.Name(VALUE_NAME, ast.Store())], value),
        ast.Try([ast.Expr(note)], [nothing_there], [], []),
        ast.Assign([target], value_name),
    ]
    return [ast.copy_location(each, statement) for each in made]


def note_sort(statement: ast.stmt, target: ast.expr) -> ast.stmt:
    return ast.copy_location(ast.Expr(ast.Call(_counter("sort"), [target], [])), statement)


def note_extension(statement: ast.stmt, added: str) -> ast.stmt:
    """A mark unless `added` is an empty collection."""
    empty = ast.Call(_counter("is_empty"), [ast.Name(added, ast.Load())], [])
    marks = ast.AugAssign(_counter("n", ast.Store()), ast.Add(), ast.UnaryOp(ast.Not(), empty))
    return ast.copy_location(marks, statement)


def mark() -> ast.stmt:
    return ast.AugAssign(_counter("n", ast.Store()), ast.Add(), ast.Constant(1))


def _counter(attribute: str, context: ast.expr_context | None = None) -> ast.Attribute:
    return ast.Attribute(ast.Name(COUNTER_NAME, ast.Load()), attribute, context or ast.Load())


def _as_load(target: ast.Attribute | ast.Subscript) -> ast.expr:
    if isinstance(target, ast.Attribute):
        return ast.Attribute(target.value, target.attr, ast.Load())
    return ast.Subscript(target.value, target.slice, ast.Load())
