"""Messages of the contract into what the use cases and backends work with."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable

from quintain.errors import InvalidArgument
from quintain.generator.v1 import generator_pb2 as pb
from quintain.plugins.backend import Allowance, Attempt, Example, Operator, ScenarioFacts, Task, Tool, ToolResult
from quintain.plugins.simulator import Description, Objective
from quintain.type.v1 import type_pb2
from quintain.wire.simulator_messages import DIRECTIONS, description_from
from quintain_generator.domain.conversation import SUBMIT, Conversation
from quintain_generator.rpc.to_proto import OPERATORS
from quintain_generator.usecases.generate import GenerationRequest

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/-]{1,128}")
_TOOL_NAME = re.compile(r"[a-z0-9_]{1,64}")
_MOST_TURNS = 100
_EFFORTS = ("", "low", "medium", "high")
_OPERATORS_BACK = {message: operator for operator, message in OPERATORS.items()}
_PARENTS_NEEDED = {Operator.DIFF: 1, Operator.REPAIR: 1, Operator.CROSSOVER: 2}


# ---------------------------------------------------------------------------------------------------------- requests


def request_from(request: pb.GenerateRequest) -> GenerationRequest:
    """Raises InvalidArgument naming the field."""
    request_id = checked_request_id(request.request_id)
    allowance = request.allowance
    if allowance.max_output_tokens < 0:
        raise InvalidArgument.of("allowance.max_output_tokens", "must not be negative; 0 is the backend's default")
    if allowance.HasField("max_cost_usd") and not 0.0 <= allowance.max_cost_usd < math.inf:
        raise InvalidArgument.of("allowance.max_cost_usd", "must be a finite number that is not negative")
    if allowance.effort not in _EFFORTS:
        raise InvalidArgument.of("allowance.effort", "must be low, medium, high or empty")
    nameless = pb.GenerateRequest()
    nameless.CopyFrom(request)
    nameless.request_id = ""
    del nameless.tool_results[:]
    return GenerationRequest(
        request_id=request_id,
        backend=request.backend,
        task=task_from(request.task),
        allowance=Allowance(
            allowance.max_output_tokens,
            allowance.max_cost_usd if allowance.HasField("max_cost_usd") else None,
            allowance.effort,
        ),
        task_digest=hashlib.sha256(nameless.SerializeToString(deterministic=True)).hexdigest(),
        conversation=_conversation_from(request),
    )


def _conversation_from(request: pb.GenerateRequest) -> Conversation | None:
    agent = request.task.operator == pb.OPERATOR_AGENT
    if request.HasField("conversation") != agent:
        raise InvalidArgument.of("conversation", "goes with task.operator AGENT, and only with it")
    if not agent:
        return None
    if not 1 <= request.conversation.max_turns <= _MOST_TURNS:
        raise InvalidArgument.of("conversation.max_turns", f"must be 1 to {_MOST_TURNS}")
    names: set[str] = {SUBMIT.name}
    tools = []
    for number, tool in enumerate(request.conversation.tools):
        field = f"conversation.tools[{number}]"
        if not _TOOL_NAME.fullmatch(tool.name) or tool.name in names:
            raise InvalidArgument.of(
                f"{field}.name", "must be 1 to 64 characters of [a-z0-9_], no other tool, not submit"
            )
        names.add(tool.name)
        try:
            parameters = json.loads(tool.parameters_json)
        except (ValueError, RecursionError):
            parameters = None
        if not isinstance(parameters, dict) or parameters.get("type") != "object":
            raise InvalidArgument.of(f"{field}.parameters_json", "must be a JSON Schema of type object")
        tools.append(Tool(tool.name, tool.description, parameters))
    results = {r.call_id: ToolResult(r.call_id, r.content, r.failed) for r in request.tool_results}
    return Conversation(tuple(tools), request.conversation.max_turns, results)


def checked_request_id(request_id: str) -> str:
    if not _REQUEST_ID.fullmatch(request_id):
        raise InvalidArgument.of("request_id", "must be 1 to 128 characters of A-Z, a-z, 0-9 and . _ : / -")
    return request_id


def task_from(task: pb.Task) -> Task:
    operator = _OPERATORS_BACK.get(task.operator)
    if operator is None:
        raise InvalidArgument.of("task.operator", "must be one of FULL, DIFF, CROSSOVER, REPAIR, AGENT")
    needed = _PARENTS_NEEDED.get(operator, 0)
    if len(task.parents) < needed:
        message = f"operator {operator.value} needs at least {needed}, {len(task.parents)} given"
        raise InvalidArgument.of("task.parents", message)
    for number, parent in enumerate(task.parents):
        if not parent.source:
            raise InvalidArgument.of(f"task.parents[{number}].source", "must not be empty")
    if not task.simulator.name:
        raise InvalidArgument.of("task.simulator", "must be the description of a simulator")
    return Task(
        simulator=_description_from(task.simulator),
        objective=_objective_from(task.objective, "task.objective"),
        suite_description=task.suite_description,
        operator=operator,
        seed=task.seed,
        parents=tuple(_example_from(e) for e in task.parents),
        inspirations=tuple(_example_from(e) for e in task.inspirations),
        history=tuple(
            Attempt(
                a.number,
                a.candidate_id,
                a.score if a.HasField("score") else None,
                a.summary,
                _metrics(a.scenario_values),
            )
            for a in task.history
        ),
        lessons=tuple(task.lessons),
        best_score=task.best_score if task.HasField("best_score") else None,
        bound_score=task.bound_score if task.HasField("bound_score") else None,
        scenarios=tuple(
            ScenarioFacts(
                s.name,
                s.notes,
                s.baseline if s.HasField("baseline") else None,
                s.bound if s.HasField("bound") else None,
                _metrics(s.floors),
            )
            for s in task.scenarios
        ),
        number=task.number,
        carried_lessons=tuple(task.carried_lessons),
    )


def _metrics(metrics: Iterable[type_pb2.Metric]) -> dict[str, float]:
    return {metric.name: metric.value for metric in metrics}


def _example_from(example: pb.Example) -> Example:
    return Example(
        candidate_id=example.candidate_id,
        source=example.source,
        score=example.score if example.HasField("score") else None,
        normalized=example.normalized if example.HasField("normalized") else None,
        feedback=example.feedback,
        scenario_values=_metrics(example.scenario_values),
    )


def _objective_from(objective: type_pb2.Objective, field: str) -> Objective:
    _check_direction(objective, field)
    (direction,) = (d for d, message in DIRECTIONS.items() if message == objective.direction)
    return Objective(objective.name, objective.metric, objective.unit, direction, objective.description)


def _check_direction(objective: type_pb2.Objective, field: str) -> None:
    if objective.direction not in DIRECTIONS.values():
        raise InvalidArgument.of(f"{field}.direction", "must be MAXIMIZE or MINIMIZE")


def _description_from(simulator: type_pb2.SimulatorDescription) -> Description:
    for number, objective in enumerate(simulator.objectives):
        _check_direction(objective, f"task.simulator.objectives[{number}]")
    return description_from(simulator)
