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


def to_eudoxia(source: str, header: Sequence[str]) -> str:
    """`source` with the imports it lacks, under `header` as a comment that also names the scheduler's key.

    The module's docstring and ``from __future__`` imports keep their place at the top. Raises SyntaxError if `source`
    does not parse.
    """
    tree = ast.parse(source)
    imports = _missing_imports(tree)
    lines = source.splitlines()
    at = _end_of_preamble(tree)
    key = registration_key(tree)
    comment = [f"# {line}" for line in header]
    comment.append(f"# In Eudoxia: import this file, then run with scheduler_algo = {key!r}")
    body = [*lines[:at], *imports, *lines[at:]] if imports else lines
    return "\n".join([*comment, "", *body]).rstrip("\n") + "\n"


def registration_key(tree: ast.Module) -> str:
    """The key under which the policy registers its scheduler; empty if it is not a literal."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _called(node) == "register_scheduler":
            values = [*(k.value for k in node.keywords if k.arg == "key"), *node.args]
            if values and isinstance(values[0], ast.Constant):
                return str(values[0].value)
    return ""


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
