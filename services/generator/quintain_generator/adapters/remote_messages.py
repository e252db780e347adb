"""Tasks for another generator as messages of the contract, and what it answers as data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from quintain.generator.v1 import generator_pb2 as pb
from quintain.plugins.backend import Example, Task, Tool, ToolResult, Usage
from quintain.type.v1 import type_pb2
from quintain.wire.simulator_messages import description_message, objective_message
from quintain_generator.domain.conversation import SUBMIT
from quintain_generator.domain.generation import GenerationOutcome

_OUTCOMES = {pb.Outcome.Value(f"OUTCOME_{outcome.name}"): outcome for outcome in GenerationOutcome}


def task_message(task: Task) -> pb.Task:
    """Lossless: `rpc.from_proto.task_from` gives the task back."""
    message = pb.Task(
        simulator=description_message(task.simulator),
        objective=objective_message(task.objective),
        suite_description=task.suite_description,
        operator=pb.Operator.Value(f"OPERATOR_{task.operator.name}"),
        parents=[_example(e) for e in task.parents],
        inspirations=[_example(e) for e in task.inspirations],
        lessons=task.lessons,
        seed=task.seed,
        best_score=task.best_score,
        bound_score=task.bound_score,
        number=task.number,
        carried_lessons=task.carried_lessons,
    )
    for a in task.history:
        message.history.add(
            number=a.number,
            candidate_id=a.candidate_id,
            score=a.score,
            summary=a.summary,
            scenario_values=_metrics(a.scenario_values),
        )
    for s in task.scenarios:
        message.scenarios.add(name=s.name, notes=s.notes, baseline=s.baseline, bound=s.bound, floors=_metrics(s.floors))
    return message


def _metrics(values: Mapping[str, float]) -> list[type_pb2.Metric]:
    return [type_pb2.Metric(name=name, value=value) for name, value in values.items()]


def _example(example: Example) -> pb.Example:
    return pb.Example(
        candidate_id=example.candidate_id,
        source=example.source,
        score=example.score,
        normalized=example.normalized,
        feedback=example.feedback,
        scenario_values=_metrics(example.scenario_values),
    )


def conversation_message(tools: Sequence[Tool], max_turns: int) -> pb.Conversation:
    """Without `submit`: the other generator has its own."""
    declared = [
        pb.Tool(name=t.name, description=t.description, parameters_json=json.dumps(dict(t.parameters)))
        for t in tools
        if t.name != SUBMIT.name
    ]
    return pb.Conversation(tools=declared, max_turns=max_turns)


def result_message(result: ToolResult) -> pb.ToolResult:
    return pb.ToolResult(call_id=result.call_id, content=result.content, failed=result.failed)


def outcome_from(message: pb.Outcome.ValueType) -> GenerationOutcome:
    """Raises KeyError for an outcome that this version does not know."""
    return _OUTCOMES[message]


def usage_from(usage: pb.Usage) -> Usage:
    return Usage(
        input_tokens=usage.input_tokens,
        cached_input_tokens=usage.cached_input_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        output_tokens=usage.output_tokens,
        reasoning_tokens=usage.reasoning_tokens,
    )
