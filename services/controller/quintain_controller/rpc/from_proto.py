"""Messages of the contract into what the use cases work with."""

from __future__ import annotations

from typing import Literal

from google.protobuf import json_format

from quintain.controller.v1 import controller_pb2 as pb
from quintain.errors import InvalidArgument
from quintain.plugins.simulator import files_digest
from quintain_controller.domain.model import (
    NANO,
    AgentOptions,
    Allowance,
    Budget,
    Limits,
    SearchSpec,
    StopRules,
    WinnerRule,
)
from quintain_controller.domain.records import Labels
from quintain_controller.rpc.to_proto import encode_spec

# Fields of a fork's spec that are taken whole, not merged into the original's.
_GIVEN_WHOLE: tuple[Literal["budget", "strategy_options", "limits", "allowance", "stop"], ...] = (
    "budget",
    "strategy_options",
    "limits",
    "allowance",
    "stop",
)


# ------------------------------------------------------------------------------------------------------------- inwards


def decode_budget(budget: pb.Budget) -> Budget:
    return Budget(
        usd_nano=round(budget.usd * NANO) if budget.HasField("usd") else None,
        tokens=budget.tokens if budget.HasField("tokens") else None,
        candidates=budget.candidates if budget.HasField("candidates") else None,
        verifications=budget.verifications if budget.HasField("verifications") else None,
        wall_seconds=budget.wall_seconds if budget.HasField("wall_seconds") else None,
        tool_seconds=budget.tool_seconds if budget.HasField("tool_seconds") else None,
    )


def decode_spec(spec: pb.SearchSpec) -> SearchSpec:
    """As given: what is empty is filled in by the use case. `window` is 0."""
    limits, allowance = spec.limits, spec.allowance
    return SearchSpec(
        simulator=spec.simulator,
        suite=spec.suite,
        objective=spec.objective,
        strategy=spec.strategy,
        strategy_options=json_format.MessageToDict(spec.strategy_options),
        backends=tuple(spec.backends),
        budget=decode_budget(spec.budget),
        seed=spec.seed,
        seed_policies=tuple(policy.source for policy in spec.seed_policies),
        parallel_generations=spec.parallel_generations,
        parallel_verifications=spec.parallel_verifications,
        window=0,
        limits=Limits(
            limits.wall_seconds,
            limits.cpu_seconds,
            limits.memory_bytes,
            limits.decision_bytes,
            limits.output_bytes,
            limits.source_bytes,
        ),
        allowance=Allowance(
            allowance.max_output_tokens,
            allowance.max_cost_usd if allowance.HasField("max_cost_usd") else None,
            allowance.effort,
        ),
        assume_usd_nano=round(spec.assume_usd_per_generation * NANO)
        if spec.HasField("assume_usd_per_generation")
        else None,
        title=spec.title,
        suite_digest=spec.suite_files.digest,
        stop=_decode_stop(spec.stop),
        hints=spec.hints,
        carried_lessons=tuple(" ".join(lesson.split()) for lesson in spec.carried_lessons),
        agent=_decode_agent(spec.agent) if spec.HasField("agent") else None,
        winner_rule=WinnerRule(spec.winner_rule or pb.WINNER_RULE_BEST_TRAIN),
        further_objectives=tuple(spec.further_objectives),
        backend_roles={
            name: pb.BackendRole.Name(role).removeprefix("BACKEND_ROLE_").lower()
            for name, role in sorted(spec.backend_roles.items())
        },
    )


def _decode_stop(rules: pb.StopRules) -> StopRules:
    since = rules.candidates_without_improvement
    return StopRules(
        near_bound=rules.near_bound if rules.HasField("near_bound") else None,
        score=rules.score if rules.HasField("score") else None,
        candidates_without_improvement=since if rules.HasField("candidates_without_improvement") else None,
    )


def _decode_agent(agent: pb.AgentOptions) -> AgentOptions:
    default = AgentOptions()
    return AgentOptions(
        max_turns=agent.max_turns or default.max_turns,
        max_runs=agent.max_runs or default.max_runs,
        max_seconds=agent.max_seconds or default.max_seconds,
    )


def decode_labels(request: pb.UpdateSearchRequest) -> Labels:
    return Labels(
        title=request.title if request.HasField("title") else None,
        notes=request.notes if request.HasField("notes") else None,
        add_tags=frozenset(request.add_tags),
        remove_tags=frozenset(request.remove_tags),
    )


def with_suite_digest(spec: pb.SearchSpec) -> pb.SearchSpec:
    """`spec` with the digest of the suite's files, if it brings some. Raises InvalidArgument for a wrong one."""
    if not spec.HasField("suite_files") or not spec.suite_files.files:
        return spec
    found = files_digest({file.name: file.content for file in spec.suite_files.files})
    if spec.suite_files.digest not in ("", found):
        raise InvalidArgument.of("spec.suite_files.digest", f"is {spec.suite_files.digest!r}, the files have {found}")
    complete = pb.SearchSpec()
    complete.CopyFrom(spec)
    complete.suite_files.digest = found
    return complete


def merge_spec(original: SearchSpec, given: pb.SearchSpec) -> pb.SearchSpec:
    """`given` with its empty fields taken from `original`; seed policies are not."""
    merged = encode_spec(original)
    del merged.seed_policies[:]
    if given.carried_lessons:
        del merged.carried_lessons[:]
    if given.backends:
        del merged.backends[:]
        merged.backend_roles.clear()
    if given.objective or given.further_objectives:
        del merged.further_objectives[:]
    for field in _GIVEN_WHOLE:
        if given.HasField(field):
            merged.ClearField(field)
    if given.strategy and given.strategy != original.strategy:
        merged.ClearField("strategy_options")
    merged.MergeFrom(given)
    return merged
