"""`sum` as Python 3.12 and later have it (compensated for floats), for policies on an older Python."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable, Iterable
from math import isfinite
from typing import Any


def _compensated_sum(iterable: Iterable[Any], /, start: Any = 0) -> Any:
    if isinstance(start, str | bytes | bytearray):
        raise TypeError(f"sum() can't sum {type(start).__name__} [use join instead]")
    items = iter(iterable)
    total = start
    if type(total) is int:
        for item in items:
            total = total + item
            if type(total) is not int:
                break
    if type(total) is float:
        compensation = 0.0
        for item in items:
            if type(item) is float:
                new = total + item
                compensation += (total - new) + item if abs(total) >= abs(item) else (item - new) + total
                total = new
            elif type(item) is int or type(item) is bool:
                total += float(item)
            else:
                total = _compensate(total, compensation) + item
                compensation = 0.0
                break
        total = _compensate(total, compensation)
    for item in items:
        total = total + item
    return total


def _compensate(total: float, compensation: float) -> float:
    return total + compensation if compensation and isfinite(compensation) else total


policy_sum: Callable[..., Any] = builtins.sum if sys.version_info >= (3, 12) else _compensated_sum
