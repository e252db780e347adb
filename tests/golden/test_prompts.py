"""Prompts of our own searches as they were sent: a change of any word shows as a diff.

The requests are those of ``python -m benchmarks.prompts``. After a change that is meant, write the new texts with
``python -m tests.golden.test_prompts``, and read the diff.
"""

from __future__ import annotations

import difflib
import json
from pathlib import Path

import pytest
from benchmarks.prompts import as_text
from google.protobuf import json_format

from quintain.generator.v1 import generator_pb2
from quintain.plugins.backend import Task
from quintain_generator.config import GeneratorSettings
from quintain_generator.prompt.builder import build_prompt
from quintain_generator.rpc.from_proto import task_from

FOLDER = Path(__file__).parent / "prompts"
NAMES = sorted(file.stem for file in FOLDER.glob("*.json"))
BUDGET: int = GeneratorSettings.model_fields["prompt_tokens"].default


def task_of(name: str) -> Task:
    request = generator_pb2.GenerateRequest()
    json_format.ParseDict(json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8")), request)
    return task_from(request.task)


def prompt_of(name: str) -> str:
    messages = build_prompt(task_of(name), BUDGET)
    return as_text([{"role": m.role, "content": m.content, "cache_breakpoint": m.cache_breakpoint} for m in messages])


def test_there_are_prompts_of_two_simulators() -> None:
    assert len(NAMES) == 3
    assert len({task_of(name).simulator.name for name in NAMES}) == 2


@pytest.mark.parametrize("name", NAMES)
def test_a_prompt_is_made_as_it_was(name: str) -> None:
    before, now = (FOLDER / f"{name}.txt").read_text(encoding="utf-8"), prompt_of(name)
    changes = difflib.unified_diff(before.splitlines(), now.splitlines(), "before", "now", lineterm="", n=1)
    assert before == now, "\n" + "\n".join(changes)


@pytest.mark.parametrize("name", NAMES)
def test_a_prompt_names_no_held_out_scenario_and_each_scenario_has_facts(name: str) -> None:
    task = task_of(name)
    text = prompt_of(name)
    assert task.simulator.hints == ""
    for scenario in task.scenarios:
        assert scenario.notes
        assert f"{scenario.name}: {task.objective.metric} of the baseline {scenario.baseline:.6g}" in text


def main() -> None:
    for name in NAMES:
        (FOLDER / f"{name}.txt").write_text(prompt_of(name), encoding="utf-8")


if __name__ == "__main__":
    main()
