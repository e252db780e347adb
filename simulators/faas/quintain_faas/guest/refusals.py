"""Sources that are not instrumented at all."""

from __future__ import annotations

import ast

from quintain_faas.guest.journal import UNCOUNTED_READS

_FORBIDDEN_NAMES = frozenset({"__builtins__", "__import__", "breakpoint", "compile", "eval", "exec"})
_FORBIDDEN_MODULES = frozenset({"builtins", "gc", "importlib", "inspect", "quintain_faas", "quintain_verifier"})
_FORBIDDEN_METHODS = frozenset(
    {"__class_getitem__", "__del__", "__delattr__", "__getattribute__", "__init_subclass__", "__prepare__",
     "__set_name__", "__setattr__", "__setstate__"}
    | {f"__r{name}__" for name in ("add", "and", "mul", "or", "sub", "xor")}
)  # fmt: skip


class NotInstrumentable(Exception):
    """Says what in the source a journal would not see, with its line."""


def refuse(tree: ast.Module) -> None:
    """Raises NotInstrumentable."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=aliases):
                _refuse_modules(node, [alias.name for alias in aliases])
            case ast.ImportFrom(module=module, level=0):
                _refuse_modules(node, [module or ""])
            case ast.Await() | ast.AsyncFunctionDef() | ast.AsyncFor() | ast.AsyncWith():
                raise NotInstrumentable(f"line {node.lineno}: coroutines keep a state of their own")
            case ast.FunctionDef(name=name) if name in _FORBIDDEN_METHODS:
                raise NotInstrumentable(f"line {node.lineno}: defines {name}, which is called unseen")
            case ast.Name(id=name) if name in _FORBIDDEN_NAMES or name.startswith("__fx"):
                raise NotInstrumentable(f"line {node.lineno}: uses {name}")
            case ast.Attribute(attr=name) | ast.Constant(value=name) if (
                isinstance(name, str) and name in UNCOUNTED_READS
            ):
                raise NotInstrumentable(f"line {node.lineno}: uses {name}, which changes from tick to tick unseen")
            case _:
                pass


def _refuse_modules(node: ast.stmt, names: list[str]) -> None:
    for name in names:
        if name.split(".")[0] in _FORBIDDEN_MODULES:
            raise NotInstrumentable(f"line {node.lineno}: imports {name}")
