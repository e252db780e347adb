"""From a request to a plan, with the words a caller needs when it is wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.verifier import PERFECT
from tiny_simulator.plugin import TinySimulator

from quintain.plugins.simulator import Aggregation, InvalidInput, Part
from quintain.service.settings import ConfigError, load_settings
from quintain_verifier.config import VerifierSettings
from quintain_verifier.sandbox.limits import DEFAULT_LIMITS, MAX_LIMITS, Limits
from quintain_verifier.usecases.planning import InlineScenario, RunPlanner, VerifyRequest

PLANNER = RunPlanner({"tiny": TinySimulator()}, {"broken": "it cannot be loaded"}, MAX_LIMITS)
ORDER = VerifyRequest(simulator="tiny", source=PERFECT, suite="smoke")
INLINE = InlineScenario("mine", {"scenario.json": b'{"steps": 5, "seed": 9}'})


def test_a_suite_brings_its_objective_aggregation_and_parts() -> None:
    plan = PLANNER.plan(ORDER).plan
    assert [(s.name, s.part) for s in plan.scenarios] == [
        ("long", Part.TRAIN),
        ("short", Part.TRAIN),
        ("secret", Part.HELD_OUT),
    ]
    assert (plan.objective.name, plan.aggregation) == ("hits", Aggregation.MEAN_NORMALIZED)


def test_parts_select() -> None:
    plan = PLANNER.plan(replace(ORDER, parts=frozenset({Part.HELD_OUT}))).plan
    assert [s.name for s in plan.scenarios] == ["secret"]


def test_defaults_spelt_out_mean_the_same_request() -> None:
    spelt = replace(ORDER, objective="hits", aggregation=Aggregation.MEAN_NORMALIZED, parts=frozenset(Part))
    assert PLANNER.plan(spelt).plan.digest == PLANNER.plan(ORDER).plan.digest
    assert PLANNER.plan(replace(ORDER, parent_digest="x")).plan.digest == PLANNER.plan(ORDER).plan.digest


def test_a_policy_can_come_with_its_own_scenario() -> None:
    planned = PLANNER.plan(replace(ORDER, suite="", inline_scenarios=(INLINE,)))
    assert [(s.name, s.part) for s in planned.plan.scenarios] == [("mine", Part.TRAIN)]
    assert planned.files == {"mine": INLINE.files}


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"simulator": "nope"}, "simulator", "known are: tiny"),
        ({"suite": "nope"}, "suite", "known are: smoke"),
        ({"suite": "", "scenarios": ("nope",)}, "scenario", "known are: long"),
        ({"scenarios": ("nope",)}, "scenarios", "suite smoke has no 'nope'; it has, in these parts: long"),
        ({"inline_scenarios": (INLINE,)}, "suite", "exactly one of"),
        ({"suite": ""}, "suite", "exactly one of"),
        ({"suite": "", "scenarios": ("long", "long")}, "scenarios", "'long' is named more than once"),
        ({"suite": "", "scenarios": ("long",), "parts": frozenset({Part.TRAIN})}, "parts", "only a suite has parts"),
        ({"suite": "", "inline_scenarios": (InlineScenario("x", {"a": b""}),)}, "files", "must be scenario.json"),
        ({"objective": "nope"}, "objective", "known are: hits, misses"),
        ({"calling_mode": "nope"}, "calling_mode", "known are: one_by_one, all_at_once"),
        ({"source": " \n"}, "policy.source", "is empty"),
        ({"source": "#" * 300_000}, "policy.source", "has 300000 bytes; the limit is 262144"),
        ({"limits": Limits(cpu_seconds=10**6)}, "limits.cpu_seconds", "(the maximum)"),
        ({"limits": Limits(scenarios=2)}, "scenarios", "found 3; one request may have 2"),
        ({"stop_below_score": float("nan")}, "stop_below_score", "must be a finite number"),
    ],
)
def test_a_wrong_request_says_what_would_be_right(change: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(InvalidInput) as error:
        PLANNER.plan(replace(ORDER, **change))
    assert error.value.field == field
    assert words in error.value.message


# ------------------------------------------------------------------------------------------------------- configuration


def settings(tmp_path: Path, text: str) -> VerifierSettings:
    file = tmp_path / "verifier.toml"
    file.write_text(text)
    return load_settings(VerifierSettings, str(file), "QUINTAIN_TEST__")


def test_a_lower_maximum_lowers_the_default(tmp_path: Path) -> None:
    lowered = settings(tmp_path, "[maximum_limits]\ncpu_seconds = 5\n")
    assert lowered.limits_default.cpu_seconds == 5
    assert lowered.limits_default.memory_bytes == DEFAULT_LIMITS.memory_bytes


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("production = true\ninsecure_dev = true\n", "insecure_dev is refused in production"),
        ("worker = 3\n", "worker"),
        ("[default_limits]\ncpu_seconds = 20\n[maximum_limits]\ncpu_seconds = 5\n", "limits.cpu_seconds"),
        ("[maximum_limits]\nmemory_bytes = 99999999999999\n", "limits.memory_bytes"),
    ],
)
def test_a_wrong_configuration_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        settings(tmp_path, text)
