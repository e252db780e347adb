"""What a run is parametrised by: the cluster, the limits, the estimator and the random workload."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any

from quintain.plugins.simulator import InvalidInput, JsonValue

# Eudoxia's keys that choose its own scheduler or a remote one: accepted in a mapping, without meaning here. A policy
# sees the remote one's defaults.
REMOTE_DEFAULTS: Mapping[str, JsonValue] = {"rest_scheduler_addr": "localhost:8080", "rest_poll_interval": 1.0}
IGNORED_KEYS = frozenset({"scheduler_algo", *REMOTE_DEFAULTS})

MAX_CAPACITY = 10**9
MAX_POOLS = 100_000
MAX_TICKS = 10**9
MAX_GENERATED = 10**6  # pipelines at once, operators in a pipeline (on average)


@dataclass(frozen=True, slots=True)
class Params:
    """Parameters by Eudoxia's names and defaults. Seconds and GB are as given (an int stays an int: it matters to the
    last bit). `policy_params` are a policy's own, which it finds among the others. Raises InvalidInput with the field
    ``params.<name>``.
    """

    duration: int | float = 600
    ticks_per_second: int = 1000
    num_pools: int = 8
    cpus_per_pool: int | float = 64
    ram_gb_per_pool: int | float = 256
    multi_operator_containers: bool = True
    allow_memory_overcommit: bool = False
    max_job_seconds: int | float = 0
    estimator_algo: str = ""
    noisy_estimator_sigma: int | float = 0.0
    random_seed: int = 42
    waiting_seconds_mean: int | float = 10.0
    num_pipelines: int = 4
    num_operators: int | float = 5
    num_segs: int = 1
    interactive_prob: int | float = 0.3
    query_prob: int | float = 0.1
    batch_prob: int | float = 0.6
    dag_linear_prob: int | float = 1.0
    dag_branch_in_prob: int | float = 0.0
    dag_branch_out_prob: int | float = 0.0
    cpu_io_ratio: int | float = 0.5
    policy_params: tuple[tuple[str, JsonValue], ...] = ()

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.name != "policy_params":
                _check_type(field.name, str(field.type), getattr(self, field.name))
        _check_range("duration", self.duration, above=0)
        _check_range("ticks_per_second", self.ticks_per_second, at_least=1)
        if self.duration * self.ticks_per_second > MAX_TICKS:
            raise InvalidInput("params.duration", f"more than {MAX_TICKS} ticks; a run is that long at most")
        _check_range("num_pools", self.num_pools, at_least=1, at_most=MAX_POOLS)
        _check_range("cpus_per_pool", self.cpus_per_pool, above=0, at_most=MAX_CAPACITY)
        _check_range("ram_gb_per_pool", self.ram_gb_per_pool, above=0, at_most=MAX_CAPACITY)
        _check_range("max_job_seconds", self.max_job_seconds, at_least=0, at_most=MAX_TICKS)
        _check_range("noisy_estimator_sigma", self.noisy_estimator_sigma, at_least=0, at_most=100)
        _check_range("random_seed", self.random_seed, at_least=0)
        _check_range("num_pipelines", self.num_pipelines, at_least=0, at_most=MAX_GENERATED)
        _check_range("num_operators", self.num_operators, at_least=0, at_most=MAX_GENERATED)
        _check_range("waiting_seconds_mean", self.waiting_seconds_mean, at_least=0, at_most=MAX_TICKS)
        _check_range("cpu_io_ratio", self.cpu_io_ratio, at_least=0, at_most=1)
        if self.estimator_algo not in ("", "noisy"):
            raise InvalidInput("params.estimator_algo", f"{self.estimator_algo!r} is unknown; known: '', 'noisy'")
        if self.num_segs != 1:
            raise InvalidInput("params.num_segs", f"{self.num_segs} is not supported; an operator has 1 segment")
        for name in ("interactive_prob", "query_prob", "batch_prob"):
            _check_range(name, getattr(self, name), at_least=0)
        if self.interactive_prob + self.query_prob + self.batch_prob != 1:
            raise InvalidInput(
                "params.interactive_prob", "interactive_prob + query_prob + batch_prob must be exactly 1"
            )
        dag = (self.dag_linear_prob, self.dag_branch_in_prob, self.dag_branch_out_prob)
        if min(dag) < 0 or sum(dag) <= 0:
            raise InvalidInput("params.dag_linear_prob", "the dag_*_prob must be >= 0 with a positive sum")

    @classmethod
    def from_mapping(cls, values: Mapping[str, object]) -> Params:
        """Keys that are no parameters are the policy's own, as in Eudoxia. Raises InvalidInput for one that looks like
        a misspelt parameter."""
        known = {field.name for field in fields(cls)} - {"policy_params"}
        own: list[tuple[str, JsonValue]] = []
        for key, value in values.items():
            if key in known or key in IGNORED_KEYS:
                continue
            if close := get_close_matches(key, known, n=1, cutoff=0.75):
                raise InvalidInput(f"params.{key}", f"unknown parameter; did you mean {close[0]}?")
            if not isinstance(value, str | int | float | bool | None):
                raise InvalidInput(f"params.{key}", "is not a number, text or truth value")
            own.append((key, value))
        chosen: dict[str, Any] = {key: value for key, value in values.items() if key in known}
        return cls(**chosen, policy_params=tuple(own))

    @property
    def tick_length_seconds(self) -> float:
        return 1.0 / self.ticks_per_second

    @property
    def max_ticks(self) -> int:
        return int(self.duration * self.ticks_per_second)

    @property
    def max_job_ticks(self) -> int:
        """0: no limit."""
        return int(self.max_job_seconds * self.ticks_per_second)

    def visible_to_policy(self) -> dict[str, JsonValue]:
        """What ``scheduler.params`` holds: all parameters, as in Eudoxia, where only `scheduler_algo` is left out."""
        own = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "policy_params"}
        return own | dict(REMOTE_DEFAULTS) | dict(self.policy_params)


def _check_type(name: str, wanted: str, value: object) -> None:
    allowed: tuple[type, ...] = {
        "bool": (bool,),
        "int": (int,),
        "str": (str,),
        "int | float": (int, float),
    }[wanted]
    if not isinstance(value, allowed) or (isinstance(value, bool) and wanted != "bool"):
        raise InvalidInput(f"params.{name}", f"{value!r} is not of type {wanted}")
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidInput(f"params.{name}", f"{value!r} is not finite")


def _check_range(
    name: str, value: float, *, at_least: float = -math.inf, above: float = -math.inf, at_most: float = math.inf
) -> None:
    if value < at_least:
        raise InvalidInput(f"params.{name}", f"{value!r} is too small; at least {at_least}")
    if value <= above:
        raise InvalidInput(f"params.{name}", f"{value!r} must be above {above}")
    if value > at_most:
        raise InvalidInput(f"params.{name}", f"{value!r} is too large; at most {at_most}")
