"""A generator and a verifier for a toy problem, over real gRPC, with counters and switches for trouble.

A policy is one line, ``x = 0.25``. On a scenario with target t it scores 1 - |x - t|; the text ``overfit`` in it makes
the train scenarios perfect and the held-out ones worthless, ``raise`` makes it fail.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from quintain.errors import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied, QuintainError
from quintain.generator.v1 import generator_pb2, generator_pb2_grpc
from quintain.service.interceptors import Boundary
from quintain.type.v1 import type_pb2
from quintain.verifier.v1 import verifier_pb2, verifier_pb2_grpc

BASELINE = "x = 0.0\n"
TRAIN = {"t1": 0.70, "t2": 0.75, "t3": 0.80}
HELD_OUT = {"h1": 0.72, "h2": 0.78, "h3": 0.74}


@dataclass
class Backend:
    """One configured backend of the fake generator. `usd` is what every generation costs."""

    name: str = "toy"
    usd: float = 0.0
    tokens: int = 0
    priced: bool = True
    max_request_usd: float = 0.0
    habits: Mapping[str, Any] = field(default_factory=dict)  # fields of the contract's Backend
    # (number of the candidate) -> outcome instead of OK
    outcomes: Mapping[int, int] = field(default_factory=dict)
    # (number of the candidate) -> source instead of the toy's mutation
    sources: Mapping[int, str] = field(default_factory=dict)
    claims: bool = False  # each answer has a hypothesis, and predicts more on t1 and in the mean
    # What its model does in a conversation: (number of the candidate, turn from 1) -> tools to call as (name, arguments
    # as JSON); none: it submits. Without a script it can have no conversation.
    script: Callable[[int, int], list[tuple[str, str]]] | None = None


class FakeGenerator(generator_pb2_grpc.GeneratorServicer):
    def __init__(self, *backends: Backend) -> None:
        self.backends = {b.name: b for b in (backends or (Backend(),))}
        self.records: dict[str, generator_pb2.Generation] = {}
        self.calls: Counter[str] = Counter()  # by request id: calls of the "provider"
        self.turns: dict[str, list[list[generator_pb2.ToolCall]]] = {}  # by request id: the tools of each answer
        self.requests: dict[str, generator_pb2.GenerateRequest] = {}
        self.failures: list[QuintainError] = []  # raised first, one for each rpc
        self.late_failures: list[QuintainError] = []  # raised after the gate
        self.gate = asyncio.Event()  # generations wait for it
        self.gate.set()
        self.in_flight = self.most_in_flight = 0

    async def Generate(
        self, request: generator_pb2.GenerateRequest, context: Any
    ) -> AsyncIterator[generator_pb2.GenerateResponse]:
        if self.failures:
            raise self.failures.pop(0)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await self.gate.wait()
        finally:
            self.in_flight -= 1
        if self.late_failures:
            raise self.late_failures.pop(0)
        if request.request_id not in self.records:
            self.requests[request.request_id] = request
            wanted = self._converse(request)
            if wanted:
                spend = generator_pb2.Spend(calls=self.calls[request.request_id], spent_usd=self._spent(request))
                yield generator_pb2.GenerateResponse(tool_calls=generator_pb2.ToolCalls(calls=wanted, spend=spend))
                return
            self.records[request.request_id] = self._make(request)
        yield generator_pb2.GenerateResponse(progress=generator_pb2.GenerateProgress(stage="calling"))
        yield generator_pb2.GenerateResponse(result=self.records[request.request_id])

    def _converse(self, request: generator_pb2.GenerateRequest) -> list[generator_pb2.ToolCall]:
        """One turn of the "provider", unless it was taken already: the tools that it wants now."""
        script, turns = self.backends[request.backend].script, self.turns.setdefault(request.request_id, [])
        answered = {result.call_id: result for result in request.tool_results}
        if not turns or all(call.call_id in answered for call in turns[-1]):
            self.calls[request.request_id] += 1
            number, turn = int(request.request_id.rpartition("/")[2]), len(turns) + 1
            agent = request.task.operator == generator_pb2.OPERATOR_AGENT
            turns.append(
                [
                    generator_pb2.ToolCall(call_id=f"{turn}.{i}", name=name, arguments_json=text)
                    for i, (name, text) in enumerate(script(number, turn) if agent and script else [])
                ]
            )
        return [call for call in turns[-1] if call.call_id not in answered]

    def _spent(self, request: generator_pb2.GenerateRequest) -> float:
        return self.backends[request.backend].usd * self.calls[request.request_id]

    async def GetGeneration(
        self, request: generator_pb2.GetGenerationRequest, context: Any
    ) -> generator_pb2.GetGenerationResponse:
        if request.request_id not in self.records:
            if request.request_id in self.turns:
                spent = self._spent(self.requests[request.request_id])
                told = {"calls": "1", "spent_usd": str(spent), "at_risk_usd": "0"}
                raise FailedPrecondition("no result yet", reason="NO_RESULT_YET", metadata=told)
            raise NotFound(f"no generation {request.request_id}")
        return generator_pb2.GetGenerationResponse(generation=self.records[request.request_id])

    async def ListBackends(
        self, request: generator_pb2.ListBackendsRequest, context: Any
    ) -> generator_pb2.ListBackendsResponse:
        rows = [
            generator_pb2.Backend(
                name=b.name,
                kind="toy",
                is_default=i == 0,
                available=True,
                operators=[
                    generator_pb2.OPERATOR_FULL,
                    generator_pb2.OPERATOR_CROSSOVER,
                    generator_pb2.OPERATOR_REPAIR,
                    *([generator_pb2.OPERATOR_AGENT] if b.script else []),
                ],
                deterministic=True,
                priced=b.priced,
                max_request_cost_usd=b.max_request_usd if b.priced else None,
                **b.habits,
            )
            for i, b in enumerate(self.backends.values())
        ]
        return generator_pb2.ListBackendsResponse(backends=rows)

    def _make(self, request: generator_pb2.GenerateRequest) -> generator_pb2.Generation:
        backend = self.backends[request.backend]
        number = int(request.request_id.rpartition("/")[2])
        outcome = backend.outcomes.get(number, generator_pb2.OUTCOME_OK)
        rng = random.Random(request.task.seed)
        parents = [_x(example.source) for example in request.task.parents]
        value = min(1.0, max(0.0, sum(parents) / len(parents) + rng.gauss(0.0, 0.15)))
        source = backend.sources.get(number, f"x = {value!r}\n")
        return generator_pb2.Generation(
            request_id=request.request_id,
            backend=request.backend,
            model="toy-1",
            outcome=generator_pb2.Outcome.ValueType(outcome),
            source=source if outcome == generator_pb2.OUTCOME_OK else "",
            detail="" if outcome == generator_pb2.OUTCOME_OK else "the toy said no",
            usage=generator_pb2.Usage(output_tokens=backend.tokens),
            hypothesis=f"{value:.3f} is closer than {parents[0]:.3f}" if backend.claims else "",
            predictions=[
                generator_pb2.Prediction(scenario=scenario, change=0.02)
                for scenario in (("t1", "") if backend.claims else ())
            ],
            cost=generator_pb2.Cost(usd=self._spent(request), unpriced=not backend.priced),
        )


class FakeVerifier(verifier_pb2_grpc.VerifierServicer):
    def __init__(self) -> None:
        self.verified: Counter[tuple[str, tuple[int, ...]]] = Counter()
        self.failures: list[QuintainError] = []
        self.seconds = 0.5  # that each verification takes, it says
        self.requests: list[verifier_pb2.VerifyRequest] = []
        self.in_flight = self.most_in_flight = 0
        self.delays: dict[str, asyncio.Event] = {}  # source -> waits until set
        self.train, self.held_out = dict(TRAIN), dict(HELD_OUT)
        self.tells_decisions = False  # the recorded searches of older versions have none
        self.looked_at: list[verifier_pb2.VerifyRequest] = []  # requests that named scenarios
        self.fidelity = type_pb2.FIDELITY_UNSPECIFIED  # of the model that the toy is
        self.fidelity_reason = ""
        self.ignored_caches: list[bool] = []  # what each request said
        self.refused_parts: set[type_pb2.Part.ValueType] = set()  # nobody may verify these
        self.gates = asyncio.Event()  # the determinism check and the confirmation wait for it
        self.gates.set()
        self.at_gates = 0

    async def Verify(
        self, request: verifier_pb2.VerifyRequest, context: Any
    ) -> AsyncIterator[verifier_pb2.VerifyResponse]:
        if self.failures:
            raise self.failures.pop(0)
        if self.refused_parts & set(request.parts):
            raise PermissionDenied("nobody may verify that")
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if request.check_determinism or request.confirm:
                self.at_gates += 1
                await self.gates.wait()
            if request.policy.source in self.delays:
                await self.delays[request.policy.source].wait()
            else:
                await asyncio.sleep(0)
        finally:
            self.in_flight -= 1
        self.verified[request.policy.source, tuple(request.parts)] += 1
        self.requests.append(request)
        self.ignored_caches.append(request.ignore_cache)
        if request.scenarios:
            self.looked_at.append(request)
        yield verifier_pb2.VerifyResponse(progress=verifier_pb2.VerifyProgress(scenarios_total=3))
        yield verifier_pb2.VerifyResponse(result=self.result(request))

    async def GetSimulator(
        self, request: verifier_pb2.GetSimulatorRequest, context: Any
    ) -> verifier_pb2.GetSimulatorResponse:
        if request.name != "toy":
            raise NotFound(f"no simulator {request.name!r}; there is toy")
        return verifier_pb2.GetSimulatorResponse(
            simulator=type_pb2.SimulatorDescription(
                name="toy",
                title="A toy",
                build="build-1",
                policy_guide="Write x = NUMBER.",
                hints="The targets lie above 0.6.",
                objectives=[
                    type_pb2.Objective(
                        name="closeness", metric="closeness", direction=type_pb2.DIRECTION_MAXIMIZE, unit=""
                    )
                ],
                suites=["toy"],
                baselines=[type_pb2.Baseline(name="zero", source=BASELINE)],
                descriptors=[type_pb2.Descriptor(metric="x", edges=[0.25, 0.5, 0.75])],
                fidelity=self.fidelity,
                fidelity_reason=self.fidelity_reason,
            )
        )

    async def GetSuite(self, request: verifier_pb2.GetSuiteRequest, context: Any) -> verifier_pb2.GetSuiteResponse:
        described = await self.GetSimulator(verifier_pb2.GetSimulatorRequest(name=request.simulator), context)
        suites = (await self.ListSuites(verifier_pb2.ListSuitesRequest(simulator=request.simulator), context)).suites
        if request.suite not in [suite.name for suite in suites]:
            raise InvalidArgument.of("suite", f"{request.suite!r} is unknown; known are: toy")
        return verifier_pb2.GetSuiteResponse(suite=suites[0], simulator=described.simulator)

    async def ListSuites(
        self, request: verifier_pb2.ListSuitesRequest, context: Any
    ) -> verifier_pb2.ListSuitesResponse:
        if request.simulator != "toy":
            raise NotFound(f"no simulator {request.simulator!r}; there is toy")
        entries = [
            type_pb2.SuiteEntry(
                scenario=name,
                part=part,
                description=f"target of {name}",
                notes=f"- lies at {self.train[name]}" if part == type_pb2.PART_TRAIN else "",
            )
            for part, names in ((type_pb2.PART_TRAIN, self.train), (type_pb2.PART_HELD_OUT, self.held_out))
            for name in names
        ]
        suite = type_pb2.Suite(
            name="toy",
            description="three and three",
            objective="closeness",
            aggregation=type_pb2.AGGREGATION_MEAN_NORMALIZED,
            entries=entries,
        )
        return verifier_pb2.ListSuitesResponse(suites=[suite])

    def result(self, request: verifier_pb2.VerifyRequest) -> verifier_pb2.VerifyResult:
        source, failed = request.policy.source, "raise" in request.policy.source
        parts = list(request.parts) or [type_pb2.PART_TRAIN, type_pb2.PART_HELD_OUT]
        name = f"{source}|{parts}|{request.check_determinism}|{request.confirm}" + "|".join(request.scenarios)
        name += f"|{request.stop_below_score!r}" if request.HasField("stop_below_score") else ""
        verdict = verifier_pb2.Verdict(
            digest=hashlib.sha256(name.encode()).hexdigest(),
            policy_digest=hashlib.sha256(source.encode()).hexdigest(),
            simulator="toy",
            simulator_build="build-1",
            status=verifier_pb2.VERDICT_STATUS_POLICY_FAILED if failed else verifier_pb2.VERDICT_STATUS_OK,
            objective="closeness",
            aggregation=type_pb2.AGGREGATION_MEAN_NORMALIZED,
            direction=type_pb2.DIRECTION_MAXIMIZE,
            behavior_digest=hashlib.sha256(f"{source}|{parts}".encode()).hexdigest(),
            determinism_checked=request.check_determinism,
            confirmed=request.confirm,
        )
        for part, targets, score in (
            (type_pb2.PART_TRAIN, self.train, verdict.train),
            (type_pb2.PART_HELD_OUT, self.held_out, verdict.held_out),
        ):
            targets = {n: t for n, t in targets.items() if not request.scenarios or n in request.scenarios}
            if part in parts and targets:
                _score(verdict, part, targets, score, source, failed)
        for scenario in verdict.scenarios if self.tells_decisions else ():
            decided = f"{scenario.scenario} {_x(source):.1f}"  # the toy decides by the first digit
            scenario.decisions_digest = hashlib.sha256(decided.encode()).hexdigest()
        if failed:
            verdict.failure.kind = verifier_pb2.FAILURE_KIND_RAISED
            verdict.failure.message = "ValueError: the policy raised"
            verdict.failure.line = 1
        feedback = verifier_pb2.Feedback(text=f"against {request.parent_digest[:8] or 'nobody'}")
        execution = verifier_pb2.Execution(wall_seconds=self.seconds)
        return verifier_pb2.VerifyResult(verdict=verdict, feedback=feedback, execution=execution)


def _score(
    verdict: verifier_pb2.Verdict,
    part: type_pb2.Part.ValueType,
    targets: dict[str, float],
    score: verifier_pb2.PartScore,
    source: str,
    failed: bool,
) -> None:
    x = _x(source)
    values = {name: 0.0 if failed else 1.0 - abs(x - target) for name, target in targets.items()}
    if "overfit" in source:
        values = dict.fromkeys(values, 1.0 if part == type_pb2.PART_TRAIN else 0.0)
    baselines = {name: 1.0 - abs(_x(BASELINE) - target) for name, target in targets.items()}
    for name, value in values.items():
        verdict.scenarios.add(
            scenario=name,
            part=part,
            ran=True,
            value=value,
            normalized=value,
            baseline=baselines[name],
            bound=1.0,
            metrics=[type_pb2.Metric(name="x", value=x)],
        )
    mean = sum(values.values()) / len(values)
    score.score = score.normalized = mean
    score.baseline_score = sum(baselines.values()) / len(baselines)
    score.bound_score = 1.0
    score.scenarios = len(values)


def _x(source: str) -> float:
    found = re.search(r"x = ([0-9.e-]+)", source)
    return float(found[1]) if found else 0.0


@asynccontextmanager
async def serving(add: Any, servicer: Any, address: str = "127.0.0.1:0") -> AsyncIterator[str]:
    server = grpc.aio.server(interceptors=[Boundary("fake")])
    add(servicer, server)
    port = server.add_insecure_port(address)
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)
