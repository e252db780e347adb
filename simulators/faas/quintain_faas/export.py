"""A policy file that Eudoxia loads as it is.

Here a policy finds many names without importing them; in Eudoxia a file outside its package finds none. So every such
name that the policy uses is imported explicitly.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence

EXTRA_NAMES = {"List": "typing", "Tuple": "typing", "Dict": "typing"}
HOMES: dict[str, str] = {
    **dict.fromkeys(("Pipeline", "Operator", "Segment", "OperatorState", "ASSIGNABLE_STATES"), "eudoxia.workload"),
    **dict.fromkeys(("PipelineRuntimeStatus", "VALID_TRANSITIONS"), "eudoxia.workload.runtime_status"),
    **dict.fromkeys(("Assignment", "Suspend", "ExecutionResult"), "eudoxia.executor.assignment"),
    **dict.fromkeys(("Priority", "DagShape", "EudoxiaException", "DISK_SCAN_GB_SEC"), "eudoxia.utils"),
    **dict.fromkeys(
        ("register_scheduler_init", "register_scheduler", "INIT_ALGOS", "SCHEDULING_ALGOS"),
        "eudoxia.scheduler.decorators",
    ),
    **dict.fromkeys(("WaitingQueueJob", "RetryStats"), "eudoxia.scheduler.waiting_queue"),
    **EXTRA_NAMES,
}


# Eudoxia registers these itself and refuses a key twice.
TAKEN_KEYS = frozenset({"naive", "overbook", "priority", "priority-est", "priority-pool", "rest", "sjf"})
DECORATORS = ("register_scheduler_init", "register_scheduler")


def to_eudoxia(source: str, header: Sequence[str]) -> str:
    """`source` with the imports it lacks, under `header` as a comment that also names the scheduler's key.

    The module's docstring and ``from __future__`` imports keep their place at the top. Raises SyntaxError if `source`
    does not parse.
    """
    source = _with_free_key(source)
    tree = ast.parse(source)
    imports = _missing_imports(tree)
    lines = source.splitlines()
    at = _end_of_preamble(tree)
    comment = [f"# {line}" for line in header]
    comment.append(f"# In Eudoxia: import this file, then run with scheduler_algo = {registration_key(tree)!r}")
    body = [*lines[:at], *imports, *lines[at:]]
    return "\n".join([*comment, "", *body]).rstrip("\n") + "\n"


def registration_key(tree: ast.Module) -> str:
    """The key under which the policy registers its scheduler; empty if it is not a literal."""
    return next((str(constant.value) for constant in _keys(tree)), "")


def _keys(tree: ast.Module) -> list[ast.Constant]:
    """The literal keys in the registering decorators."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _called(node) in DECORATORS]
    values = [value for call in calls for value in (*(k.value for k in call.keywords if k.arg == "key"), *call.args)]
    return [value for value in values if isinstance(value, ast.Constant)]


def _with_free_key(source: str) -> str:
    """`source` registered under another key if Eudoxia has one of that name already."""
    lines = source.splitlines()
    constants = [constant for constant in _keys(ast.parse(source)) if constant.value in TAKEN_KEYS]
    for constant in sorted(constants, key=lambda c: (c.lineno, c.col_offset), reverse=True):
        line = lines[constant.lineno - 1].encode()  # ast counts columns in bytes
        new = repr(f"quintain-{constant.value!s}").encode()
        lines[constant.lineno - 1] = (line[: constant.col_offset] + new + line[constant.end_col_offset :]).decode()
    return "\n".join(lines) + "\n"


def _called(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")


def _missing_imports(tree: ast.Module) -> list[str]:
    used = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    missing = sorted((used & HOMES.keys()) - _bound_at_top(tree.body))
    by_module: dict[str, list[str]] = {}
    for name in missing:
        by_module.setdefault(HOMES[name], []).append(name)
    return [f"from {module} import {', '.join(names)}" for module, names in sorted(by_module.items())]


def _bound_at_top(body: Sequence[ast.stmt]) -> set[str]:
    """Names that the module itself binds, also within its top-level ifs, tries and loops."""
    bound: set[str] = set()
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.add(node.name)
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            bound |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
            continue
        bound |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        for inner in ast.walk(node):
            if isinstance(inner, ast.Import | ast.ImportFrom):
                bound |= {(alias.asname or alias.name).partition(".")[0] for alias in inner.names}
    return bound


def _end_of_preamble(tree: ast.Module) -> int:
    """Number of lines up to the end of the docstring and the ``__future__`` imports."""
    end = 0
    for index, node in enumerate(tree.body):
        docstring = index == 0 and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        future = isinstance(node, ast.ImportFrom) and node.module == "__future__"
        if not (docstring or future):
            break
        end = node.end_lineno or end
    return end
