"""Arithmetic in a package: ``3 * late + 0.1 * machine_seconds``. Numbers, names, + - * / and min, max, abs, sqrt."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping

_BINARY: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_FUNCTIONS: Mapping[str, Callable[..., float]] = {"min": min, "max": max, "abs": abs, "sqrt": math.sqrt}
MAX_CHARACTERS = 1000


class Formula:
    """A parsed formula. `names`: what it refers to. Raises ValueError for anything that is not one."""

    def __init__(self, text: str | float) -> None:
        self.text = str(text)
        if len(self.text) > MAX_CHARACTERS:
            raise ValueError(f"a formula has at most {MAX_CHARACTERS} characters")
        try:
            self._tree = ast.parse(self.text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise ValueError(f"{self.text!r} is not a formula: {error}") from None
        self.names: set[str] = set()
        self._check(self._tree)

    def _check(self, node: ast.expr) -> None:
        match node:
            case ast.Constant(value=bool()):
                raise ValueError(f"{self.text!r}: {ast.unparse(node)} is not a number")
            case ast.Constant(value=int() | float()):
                pass
            case ast.Name(id=name):
                self.names.add(name)
            case ast.UnaryOp(op=ast.USub(), operand=inner):
                self._check(inner)
            case ast.BinOp(op=op, left=left, right=right) if type(op) in _BINARY:
                self._check(left)
                self._check(right)
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS and args:
                for argument in args:
                    self._check(argument)
            case _:
                raise ValueError(
                    f"{self.text!r}: {ast.unparse(node)!r} is not allowed; a formula has numbers, names, + - * / and "
                    f"{', '.join(_FUNCTIONS)}"
                )

    def value(self, names: Mapping[str, float]) -> float | None:
        """None if a name has no value, or the result is no finite number (a division by zero)."""
        try:
            result = self._value(self._tree, names)
        except (KeyError, ZeroDivisionError, OverflowError, ValueError):
            return None
        return result if math.isfinite(result) else None

    def _value(self, node: ast.expr, names: Mapping[str, float]) -> float:
        match node:
            case ast.Constant(value=number):
                return float(number)  # type: ignore[arg-type]
            case ast.Name(id=name):
                return names[name]
            case ast.UnaryOp(operand=inner):
                return -self._value(inner, names)
            case ast.BinOp(op=op, left=left, right=right):
                return _BINARY[type(op)](self._value(left, names), self._value(right, names))
            case ast.Call(func=ast.Name(id=name), args=args):
                return float(_FUNCTIONS[name](*(self._value(a, names) for a in args)))
        raise AssertionError("checked when it was parsed")
