"""CPU scaling laws: (cpus, seconds on one cpu) -> seconds. numpy where Eudoxia has numpy: its log is not math.log."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np


def _const(cpus: float, base: float) -> float:
    return base


def _linear3(cpus: float, base: float) -> float:
    return base / cpus if cpus < 3 else base / 3


def _linear7(cpus: float, base: float) -> float:
    return base / cpus if cpus < 7 else base / 7


def _log(cpus: float, base: float) -> float:
    return float(base / (np.log(cpus) + 1))


def _sqrt(cpus: float, base: float) -> float:
    return float(base / np.sqrt(cpus))


def _squared(cpus: float, base: float) -> float:
    return float(base / np.power(cpus, 2))


def _exp(cpus: float, base: float) -> float:
    return float(base / np.power(2, cpus)) if cpus < 4 else base / 16


SCALING_LAWS: Mapping[str, Callable[[float, float], float]] = {
    "const": _const,
    "linear3": _linear3,
    "linear7": _linear7,
    "log": _log,
    "sqrt": _sqrt,
    "squared": _squared,
    "exp": _exp,
}

_PLAIN_LAWS = ("const", "linear3", "linear7")  # without numpy, whose warnings cost more to silence than the law itself


def cpu_seconds(law: str, cpus: float, base: float) -> float:
    """May be infinite or NaN (``log`` at cpus = 1/e)."""
    if law in _PLAIN_LAWS:
        return SCALING_LAWS[law](cpus, base)
    with np.errstate(all="ignore"):
        return SCALING_LAWS[law](cpus, base)
