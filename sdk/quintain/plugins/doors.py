"""Every extension point on one page: its entry point group, and what an entry point there must name."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from quintain.plugins.loading import Door
from quintain.plugins.recorder import Recorder
from quintain.plugins.simulator import Simulator
from quintain.plugins.trace import TraceFormat

if TYPE_CHECKING:  # pydantic comes with them, and most who open one door want no other
    from quintain.plugins.backend import Backend
    from quintain.plugins.strategy import StrategyPlugin


def _simulator_problem(loaded: object) -> str:
    if isinstance(loaded, type):
        return "is a class; the entry point must name an instance"
    if not isinstance(loaded, Simulator):
        wanted = [name for name in dir(Simulator) if not name.startswith("_")]
        lacking = [name for name in wanted if not hasattr(loaded, name)]
        return f"is no quintain.plugins.simulator.Simulator: it lacks {', '.join(lacking)}"
    return ""


def _backend_problem(loaded: object) -> str:
    from quintain.plugins.backend import Backend

    if isinstance(loaded, Backend):
        return "is an instance; the entry point must name the class, which is made anew for each configured backend"
    if not (isinstance(loaded, type) and issubclass(loaded, Backend)):
        return "is no subclass of quintain.plugins.backend.Backend"
    missing = sorted(getattr(loaded, "__abstractmethods__", ()))
    return f"does not implement {', '.join(missing)}" if missing else ""


def _function_problem(loaded: object) -> str:
    if isinstance(loaded, type) or not callable(loaded):
        return "is no function"
    return ""


def _strategy_problem(loaded: object) -> str:
    from quintain.plugins.strategy import StrategyPlugin

    if isinstance(loaded, type):
        return "is a class; the entry point must name an instance"
    if not isinstance(loaded, StrategyPlugin):
        return "is no quintain.plugins.strategy.StrategyPlugin"
    lacking = [name for name in ("name", "description", "options") if not hasattr(loaded, name)]
    return f"lacks {', '.join(lacking)}" if lacking else ""


def _trace_problem(loaded: object) -> str:
    if isinstance(loaded, type):
        return "is a class; the entry point must name an instance"
    return "" if isinstance(loaded, TraceFormat) else "is no quintain.plugins.trace.TraceFormat"


def _recorder_problem(loaded: object) -> str:
    if isinstance(loaded, type):
        return "is a class; the entry point must name an instance"
    return "" if isinstance(loaded, Recorder) else "is no quintain.plugins.recorder.Recorder"


def _package_problem(loaded: object) -> str:
    return "" if isinstance(loaded, ModuleType) else "is no Python package with a system package's files"


SIMULATORS: Door[Simulator] = Door("quintain.simulators", "simulator", _simulator_problem)
"""Instances: a simulator of a system."""

BACKENDS: Door[type[Backend]] = Door("quintain.backends", "backend", _backend_problem)
"""Classes, named as the `kind` of a configured backend: a source of candidates."""

STRATEGIES: Door[StrategyPlugin[Any]] = Door("quintain.strategies", "strategy", _strategy_problem)
"""Instances: a way to search."""

PICTURES: Door[Callable[[str, str], Any]] = Door("quintain.pictures", "picture", _function_problem)
"""Functions (detail, title) -> plotly figure, under a simulator's name: a figure of a run from `Outcome.detail`."""

EXPORTS: Door[Callable[[str, list[str]], str]] = Door("quintain.exports", "export", _function_problem)
"""Functions (policy source, lines of provenance) -> text, under a format's name: a policy for another system."""

TRACES: Door[TraceFormat] = Door("quintain.traces", "trace format", _trace_problem)
"""Instances, under a simulator's name: how a recorded log becomes a trace of that simulator."""

RECORDERS: Door[Recorder] = Door("quintain.recorders", "recorder", _recorder_problem)
"""Instances, under a simulator's name: how its runs become recordings of a system package."""

SYSTEMS: Door[ModuleType] = Door("quintain.systems", "system package", _package_problem)
"""Python packages that hold a system package's files (``system.toml``, ``model.py``, ...): suites of `system`."""
