"""The FaaS scheduling simulator: exact, event-driven, usable as a library.

    from quintain_faas import Params, simulate

Nothing is imported until it is asked for: the guest (`quintain_faas.guest`) lives in the policy's process, where
neither the engine nor numpy may be loaded.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quintain_faas.library import Result, simulate
    from quintain_faas.params import Params
    from quintain_faas.run import RunResult, Timeline
    from quintain_faas.statistics import ClassStatistics, Statistics
    from quintain_faas.workload import OperatorSpec, PipelineSpec, Workload

__all__ = [
    "ClassStatistics",
    "OperatorSpec",
    "Params",
    "PipelineSpec",
    "Result",
    "RunResult",
    "Statistics",
    "Timeline",
    "Workload",
    "simulate",
]

_HOME = {
    "ClassStatistics": "statistics",
    "OperatorSpec": "workload",
    "Params": "params",
    "PipelineSpec": "workload",
    "Result": "library",
    "RunResult": "run",
    "Statistics": "statistics",
    "Timeline": "run",
    "Workload": "workload",
    "simulate": "library",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
