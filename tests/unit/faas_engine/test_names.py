"""Policies in Eudoxia's own style find what they rely on."""

from __future__ import annotations

from pathlib import Path

import pytest

from quintain.plugins.simulator import InvalidInput
from quintain_faas import Params, simulate
from quintain_faas.workload import Workload

from .policies import PARAMS, TWO_STEPS, policy, simulate_on

USES_EVERY_NAME = Path(__file__).parents[2] / "golden" / "policies" / "uses_every_name.py"


@pytest.mark.parametrize("calling_mode", ["fixed_point", "every_tick"])
def test_every_name_of_the_policy_interface_is_there_and_means_what_it_should(calling_mode: str) -> None:
    result = simulate_on(USES_EVERY_NAME.read_text(), calling_mode=calling_mode)
    assert result.failure is None
    assert result.stats.containers_completed == 2
    result = simulate(
        USES_EVERY_NAME,
        Params(duration=30, ticks_per_second=10, num_pools=2, ram_gb_per_pool=200, max_job_seconds=20),
        calling_mode=calling_mode,
    )
    assert result.failure is None
    assert result.stats.containers_completed > 0
    assert set(result.stats.failure_error_counts) == {"OOM", "timeout"}


def test_parameters_of_the_policys_own_are_passed_through_to_it() -> None:
    source = policy("return [], []", init="assert s.params['share'] == 0.25")
    values = {"duration": 2, "ticks_per_second": 10, "share": 0.25, "scheduler_algo": "test"}
    assert simulate(source, values, Workload.from_trace_text(TWO_STEPS)).failure is None
    assert simulate_on(source, params=PARAMS).failure is not None


EUDOXIAS_PARAMETERS = {
    "duration", "ticks_per_second", "waiting_seconds_mean", "num_pipelines", "num_operators", "num_segs",
    "interactive_prob", "query_prob", "batch_prob", "dag_linear_prob", "dag_branch_in_prob", "dag_branch_out_prob",
    "cpu_io_ratio", "rest_scheduler_addr", "rest_poll_interval", "num_pools", "cpus_per_pool", "ram_gb_per_pool",
    "multi_operator_containers", "allow_memory_overcommit", "random_seed", "max_job_seconds", "estimator_algo",
    "noisy_estimator_sigma",
}  # fmt: skip


def test_a_policy_finds_all_parameters_but_the_schedulers_name() -> None:
    source = policy(
        "return [], []",
        init=f"""
        assert set(s.params) == {EUDOXIAS_PARAMETERS!r}
        assert s.params["duration"] == 20 and type(s.params["duration"]) is int
        """,
    )
    result = simulate_on(source)
    assert result.failure is None


def test_what_looks_like_a_misspelt_parameter_is_refused() -> None:
    with pytest.raises(InvalidInput, match="num_pools"):
        Params.from_mapping({"num_poools": 1})
    with pytest.raises(InvalidInput, match="not a number, text or truth value"):
        Params.from_mapping({"share": object()})


AS_A_MODULE = """\
from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, get_type_hints

from eudoxia.scheduler.decorators import register_scheduler, register_scheduler_init


@dataclass
class State:
    kind: ClassVar[str] = "state"
    seen: dict[str, int] = field(default_factory=dict)
    best: "int | None" = None


class Size(NamedTuple):
    cpu: "int"
    ram: float


STATE = State()


@register_scheduler_init(key="mine")
def start(scheduler):
    scheduler.state = State()
    assert get_type_hints(State)["best"] == int | None
    assert get_type_hints(Size) == {"cpu": int, "ram": float}


@register_scheduler(key="mine")
def decide(scheduler, results, pipelines):
    STATE.seen["calls"] = STATE.seen.get("calls", 0) + 1
    return [], []
"""


def test_annotations_may_be_text_as_in_any_module() -> None:
    for calling_mode in ("", "every_tick"):
        result = simulate_on(AS_A_MODULE, calling_mode=calling_mode)
        assert result.failure is None
