"""The names that a policy file finds in scope, and the modules it finds under ``eudoxia``.

None of these modules is in ``sys.modules``: a policy gets its own ``__import__``.
"""

from __future__ import annotations

import builtins
import typing
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

from quintain_faas.guest import objects
from quintain_faas.guest.cluster import Clock, Executor
from quintain_faas.guest.known import POLICY_MODULE
from quintain_faas.guest.summation import policy_sum


class Registry:
    """What the decorators of a policy file registered."""

    def __init__(self) -> None:
        self.inits: dict[str, Callable[..., Any]] = {}
        self.schedulers: dict[str, Callable[..., Any]] = {}

    def register_scheduler_init(self, key: str) -> Callable[[Any], Any]:
        return _registering(self.inits, key)

    def register_scheduler(self, key: str) -> Callable[[Any], Any]:
        return _registering(self.schedulers, key)

    def only_pair(self) -> tuple[str, Callable[..., Any], Callable[..., Any]]:
        """The key, the init function and the scheduler. Raises ValueError unless exactly one pair is registered."""
        if not self.schedulers and not self.inits:
            raise ValueError(
                "nothing is registered: a policy needs a function under @register_scheduler_init(key=...) and one "
                "under @register_scheduler(key=...), with the same key"
            )
        keys = sorted({*self.schedulers, *self.inits}, key=str)
        if len(keys) > 1:
            raise ValueError(f"exactly one key may be registered, found {', '.join(map(repr, keys))}")
        key = keys[0]
        if key not in self.inits:
            raise ValueError(f"key {key!r} has no function under @register_scheduler_init")
        if key not in self.schedulers:
            raise ValueError(f"key {key!r} has no function under @register_scheduler")
        return key, self.inits[key], self.schedulers[key]


def _registering(table: dict[str, Callable[..., Any]], key: str) -> Callable[[Any], Any]:
    def register(function: Any) -> Any:
        if key in table:
            raise KeyError(f"key {key!r} is already registered")
        table[key] = function
        return function

    return register


def _modules(registry: Registry) -> dict[str, ModuleType]:
    status = {
        "PipelineRuntimeStatus": objects.PipelineRuntimeStatus,
        "OperatorState": objects.OperatorState,
        "ASSIGNABLE_STATES": objects.ASSIGNABLE_STATES,
        "VALID_TRANSITIONS": objects.VALID_TRANSITIONS,
    }
    workload = {
        "Pipeline": objects.Pipeline,
        "Operator": objects.Operator,
        "Segment": objects.Segment,
        **status,
    }
    assignment = {
        "Assignment": objects.Assignment,
        "Suspend": objects.Suspend,
        "ExecutionResult": objects.ExecutionResult,
    }
    decorators = {
        "register_scheduler_init": registry.register_scheduler_init,
        "register_scheduler": registry.register_scheduler,
        "INIT_ALGOS": registry.inits,
        "SCHEDULING_ALGOS": registry.schedulers,
    }
    waiting_queue = {"WaitingQueueJob": objects.WaitingQueueJob, "RetryStats": objects.RetryStats}
    utils = {
        "Priority": objects.Priority,
        "DagShape": objects.DagShape,
        "EudoxiaException": objects.EudoxiaException,
        "DISK_SCAN_GB_SEC": objects.DISK_SCAN_GB_SEC,
    }
    estimator = {"Estimate": objects.Estimate}
    contents: Mapping[str, Mapping[str, Any]] = {
        "eudoxia": {},
        "eudoxia.workload": workload,
        "eudoxia.workload.runtime_status": status,
        "eudoxia.workload.pipeline": workload,
        "eudoxia.executor": {**assignment, "Executor": Executor},
        "eudoxia.executor.assignment": assignment,
        "eudoxia.utils": utils,
        "eudoxia.utils.consts": utils,
        "eudoxia.clock": {"SimClock": Clock, "Clock": Clock},
        "eudoxia.estimator": estimator,
        "eudoxia.estimator.estimator": estimator,
        "eudoxia.scheduler": {**decorators, **waiting_queue},
        "eudoxia.scheduler.decorators": decorators,
        "eudoxia.scheduler.waiting_queue": waiting_queue,
    }
    modules = {}
    for name, names in contents.items():
        modules[name] = ModuleType(name)
        modules[name].__dict__.update(names)
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(modules[parent], child, modules[name])
    return modules


def namespace(registry: Registry) -> dict[str, Any]:
    """A fresh namespace for one policy file."""
    modules = _modules(registry)

    def import_name(
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        if level:
            package = POLICY_MODULE.split(".")[:-level]
            name = ".".join([*package, name] if name else package)
        if name != "eudoxia" and not name.startswith("eudoxia."):
            return builtins.__import__(name, globals, locals, fromlist or (), 0)
        if name not in modules:
            raise ModuleNotFoundError(f"No module named {name!r}; there are: {', '.join(modules)}", name=name)
        return modules[name] if fromlist else modules["eudoxia"]

    scope: dict[str, Any] = {
        "__name__": POLICY_MODULE,
        "__package__": POLICY_MODULE.rpartition(".")[0],
        "__builtins__": {**vars(builtins), "__import__": import_name, "sum": policy_sum},
    }
    for module in ("eudoxia.workload", "eudoxia.executor.assignment", "eudoxia.utils", "eudoxia.scheduler"):
        scope.update((name, value) for name, value in vars(modules[module]).items() if not name.startswith("__"))
    scope.update(List=typing.List, Tuple=typing.Tuple, Dict=typing.Dict)  # noqa: UP006
    return scope
