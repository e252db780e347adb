"""The cheap gate before any verification: does it parse, define the entry points, fit, and is it new?

The sandbox is the boundary; nothing here is a security check, and what the sandbox forbids is only a hint.
"""

from __future__ import annotations

import ast
import hashlib
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from quintain.plugins.simulator import RequiredDefinition

_USELESS_MODULES = {
    "asyncio", "ctypes", "http", "multiprocessing", "os", "pathlib", "requests", "shutil", "signal", "socket",
    "subprocess", "tempfile", "threading", "urllib",
}  # fmt: skip
_USELESS_CALLS = {"open", "input", "eval", "exec", "compile", "__import__", "breakpoint"}
_UNSTABLE_CALLS = {
    ("time", "time"), ("time", "monotonic"), ("time", "perf_counter"), ("time", "sleep"), ("datetime", "now"),
    ("datetime", "utcnow"), ("random", "random"), ("random", "choice"), ("random", "shuffle"), ("uuid", "uuid4"),
}  # fmt: skip
_MAX_HINTS = 20

# Doubtful escapes and comparisons are the policy's own business, not a warning of this process.
_FILENAME = "quintain_candidate.py"
# CPython (3.11 does) may count the depth of all threads' trees in one number, and fails if they take turns.
_parsing = threading.Lock()
warnings.filterwarnings("ignore", module="quintain_candidate")


class Unparsable(ValueError):
    """Not Python; the message says where. `line` is 1 if nobody knows."""

    def __init__(self, message: str, line: int = 1) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True, slots=True)
class Checked:
    """What the gate found. `problem` is empty if the source may be verified."""

    problem: str
    ast_digest: str
    hints: tuple[str, ...]


def check(source: str, required: Iterable[RequiredDefinition], max_bytes: int) -> Checked:
    size = len(source.encode())
    if size > max_bytes:
        return Checked(f"the policy has {size} bytes; at most {max_bytes} are allowed", "", ())
    try:
        tree = parse(source)
        digest = _digest(tree)
    except Unparsable as error:
        return Checked(str(error), "", ())
    missing = _missing(tree, required)
    if missing:
        names = "; ".join(f"a {d.kind} {d.name!r} ({d.description})" for d in missing)
        return Checked(f"the policy does not define {names} at its top level", digest, ())
    return Checked("", digest, tuple(_hints(tree))[:_MAX_HINTS])


def defines_policy(source: str, required: Iterable[RequiredDefinition], max_bytes: int) -> bool:
    """Whether `check` would find no problem and there is more than a sketch of the interface; for trying out many
    sources."""
    if len(source.encode()) > max_bytes:
        return False
    try:
        tree = parse(source)
    except Unparsable:
        return False
    return not _missing(tree, required) and not _is_sketch(tree)


def is_excerpt(part: str, whole: str) -> bool:
    """Whether `part` uses what it does not define and `whole` does; both parse."""
    used, bound = set[str](), set[str]()
    for node in ast.walk(parse(part)):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.alias):
            bound.add(node.asname or node.name.split(".")[0])
    return not (used - bound).isdisjoint(_module_names(parse(whole)))


def ast_digest(source: str) -> str:
    """Hex sha256 of the AST without docstrings, comments and layout; empty for source that does not parse."""
    try:
        return _digest(parse(source))
    except Unparsable:
        return ""


def parse(source: str) -> ast.Module:
    """Raises Unparsable for whatever the parser cannot take: syntax, null bytes, nesting beyond its stack."""
    try:
        with _parsing:
            return ast.parse(source, _FILENAME)
    except SyntaxError as error:
        line = max(error.lineno or 1, 1)
        raise Unparsable(f"syntax error in line {line}: {error.msg}", line) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise Unparsable(f"not parsable: {error or type(error).__name__}") from None


def syntax_error_line(source: str) -> int:
    """The line (from 1) where `source` stops being Python; 0 if it is all Python."""
    try:
        parse(source)
    except Unparsable as error:
        return error.line
    return 0


def has_statements(source: str) -> bool:
    """Whether `source`, which parses, does more than hold comments and strings."""
    try:
        body = parse(source).body
    except Unparsable:
        return False
    return any(not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)) for node in body)


def _digest(tree: ast.Module) -> str:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body
            if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
                node.body = [statement for statement in body[1:]] or [ast.Pass()]  # noqa: C416 - a new list
    try:
        return hashlib.sha256(ast.dump(tree).encode("utf-8", "surrogatepass")).hexdigest()
    except RecursionError:
        raise Unparsable("not parsable: expressions are nested too deeply") from None
    except ValueError:
        raise Unparsable("not parsable: an integer of too many digits") from None


def _is_sketch(tree: ast.Module) -> bool:
    """Whether all functions are left out: their bodies hold nothing but `...`, `pass` and texts."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return bool(functions) and all(
        isinstance(statement, ast.Pass)
        or (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
        for function in functions
        for statement in function.body
    )


def _missing(tree: ast.Module, required: Iterable[RequiredDefinition]) -> list[RequiredDefinition]:
    decorators = {
        _name(d.func if isinstance(d, ast.Call) else d)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        for d in node.decorator_list
    }
    names = _module_names(tree)
    return [d for d in required if (decorators if d.kind == "decorator" else names).isdisjoint(d.name.split("|"))]


def _module_names(tree: ast.Module) -> set[str]:
    """What is bound at the top level, in whatever way. An import from beyond the standard library binds nothing: it is
    how an example uses the policy, and fails in the sandbox."""
    names = {name for node in ast.walk(tree) if isinstance(node, ast.Global) for name in node.names}
    left: list[ast.AST] = [tree]
    while left:
        node = left.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Import):
            names.update(a.asname or a.name for a in node.names if a.name.split(".")[0] in sys.stdlib_module_names)
        elif isinstance(node, ast.ImportFrom):
            if (node.module or "").split(".")[0] in sys.stdlib_module_names:
                names.update(a.asname or a.name for a in node.names)
        elif not isinstance(node, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            left.extend(ast.iter_child_nodes(node))
    return names


def _name(node: ast.expr) -> str:
    """The last name of a dotted expression: ``register`` for ``policy.register``."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _hints(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            for module in modules:
                if module.split(".")[0] in _USELESS_MODULES:
                    yield f"line {node.lineno}: import of {module} does not work in the sandbox"
        if isinstance(node, ast.Call):
            yield from _call_hints(node)


def _call_hints(node: ast.Call) -> Iterator[str]:
    if isinstance(node.func, ast.Name) and node.func.id in _USELESS_CALLS:
        yield f"line {node.lineno}: {node.func.id}() does not work in the sandbox"
    if isinstance(node.func, ast.Attribute) and (_name(node.func.value), node.func.attr) in _UNSTABLE_CALLS:
        yield f"line {node.lineno}: {_name(node.func.value)}.{node.func.attr}() makes the policy non-deterministic"
