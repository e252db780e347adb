"""One run: what happens goes from the model to the policy, what is decided goes back, and everything is checked.

The model's process runs its own events and inputs until the policy must be asked, so a message carries everything of
one instant, and of all instants between two calls. Both processes are untrusted: the model's words are checked against
the declared kinds, the clock, the inputs and the invariants (ModelFault), the policy's against the decisions' kinds
(PolicyError).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from quintain.plugins.simulator import (
    FailureKind,
    JsonValue,
    ModelFault,
    OpenPolicy,
    OpenProgram,
    Policy,
    PolicyError,
    PolicyFailure,
    Program,
    RunOptions,
)
from quintain_system.engine.invariants import Invariants
from quintain_system.engine.metrics import Metrics
from quintain_system.engine.records import Check, Ids, check_field, kinds, number_of
from quintain_system.engine.timeline import Timeline
from quintain_system.form.package import OWN_MODEL, Package, model_file

INPUTS_IN_ONE_MESSAGE = 256
MAX_EVENTS = 20_000_000  # in one run
MAX_CALLS_AT_ONE_TIME = 1_000
MAX_TOLD_LOG = 20_000  # calls of which is known what the policy was told
MAX_LOG = 2_000  # decisions that can be looked at afterwards
_compact = json.JSONEncoder(separators=(",", ":")).encode
_STOPS = ("call", "inputs", "full", "end")


@dataclass(slots=True)
class SystemRun:
    """What happened, up to the end or the policy's failure."""

    metrics: Metrics
    timeline: Timeline
    time: float = 0.0
    calls: int = 0
    decided: int = 0
    log: list[str] = field(default_factory=list)
    told_log: list[str] = field(default_factory=list)
    digest: str = ""
    failure: PolicyFailure | None = None
    parameters: JsonValue = None


class SystemLoop:
    """One run of a policy in a scenario with its `config` and `inputs`. Not reusable."""

    def __init__(
        self,
        package: Package,
        config: Mapping[str, Any],
        inputs: list[list[Any]],
        duration: float,
        seed: int,
        *,
        options: RunOptions,
        model: str = OWN_MODEL,
    ) -> None:
        spec = package.spec
        self._package, self._config, self._inputs = package, config, inputs
        self._duration, self._seed, self._model_name = duration, seed, model
        ids: Ids = {}
        self._seen = kinds(spec.inputs, config, ids) + kinds(spec.events, config, ids)
        self._input_kinds = len(spec.inputs)
        self._event_kinds = self._seen[self._input_kinds :]
        self._decisions = kinds(spec.decisions, config, ids)
        self._observed: dict[str, Check] = {n: check_field(f, config) for n, f in spec.observation.items()}
        self._checked_in_it = {n: check for n, check in self._observed.items() if spec.observation[n].type != "any"}
        self._called = {n for n, kind in enumerate(self._seen) if kind.name in spec.policy.calls}
        self._next_input = 0  # the next one that will happen
        self._sent = 0  # inputs that the model's process has
        self._time = 0.0
        self._events = 0
        self._sha = hashlib.sha256()
        self._told = hashlib.sha256() if options.told_log else None
        metrics = Metrics(spec, config, duration)
        self._result = SystemRun(metrics, Timeline(spec, config, whole=options.timeline))
        invariants = Invariants(spec, config, duration)
        self._watched = [(kind, tuple(invariants.of(kind.name)), metrics.ear(kind.name)) for kind in self._seen]
        self._hear_decisions = [metrics.ear(kind.name) for kind in self._decisions]
        self._model: Policy

    def run(self, open_policy: OpenPolicy, open_program: OpenProgram) -> SystemRun:
        """Raises ModelFault; a PolicyError becomes `failure`."""
        result = self._result
        self._model = open_program(self._program(), self._model_setup())
        result.parameters = self._model.info
        try:
            policy = open_policy(self._policy_setup())
            self._loop(policy)
        except PolicyError as error:
            result.failure = self._located(error.failure)
        if result.failure is None:
            self._note_told(result.metrics.values())
        result.digest = self._sha.hexdigest()
        result.time = self._time
        return result

    # ------------------------------------------------------------------------------------------------------ setup

    def _program(self) -> Program:
        file, source = model_file(self._model_name), self._package.models[self._model_name]
        return Program(file, source, "quintain_system.guest.model", self._seed)

    def _model_setup(self) -> JsonValue:
        spec = self._package.spec
        return {
            "config": dict(self._config),
            "parameters": dict(spec.parameters),
            "seed": self._seed,
            "duration": self._duration,
            "inputs": [[k.name, list(k.fields)] for k in self._seen[: self._input_kinds]],
            "events": [[k.name, list(k.fields)] for k in self._seen[self._input_kinds :]],
            "decisions": [[k.name, list(k.fields)] for k in self._decisions],
            "calls_inputs": [n for n in sorted(self._called) if n < self._input_kinds],
            "calls_events": [n - self._input_kinds for n in sorted(self._called) if n >= self._input_kinds],
            "every": spec.policy.every,
        }

    def _policy_setup(self) -> JsonValue:
        spec = self._package.spec
        return {
            "config": {n: v for n, v in self._config.items() if not spec.config[n].hidden},
            "seen": [[k.name, list(k.shown_fields)] for k in self._seen],
            "decisions": [[k.name, list(k.fields)] for k in self._decisions],
        }

    # ------------------------------------------------------------------------------------------------------- loop

    def _loop(self, policy: Policy) -> None:
        happened: list[JsonValue] = []
        decisions: list[Any] = []
        called_at, calls_now = -1.0, 0
        while True:
            answer = self._ask_model(decisions)
            decisions = []
            stop = self._take(answer, happened)
            if stop == "end":
                return
            if stop != "call":
                continue
            calls_now = calls_now + 1 if self._time == called_at else 1
            called_at = self._time
            if calls_now > MAX_CALLS_AT_ONE_TIME:
                raise self._rejected("time_stands_still", f"{MAX_CALLS_AT_ONE_TIME} calls at {self._time:g} s", None)
            decisions = self._ask_policy(policy, answer["observation"], happened)
            happened = []

    def _ask_model(self, decisions: list[Any]) -> dict[str, Any]:
        inputs: list[Any] = []
        if self._next_input == self._sent:
            inputs = self._inputs[self._sent : self._sent + INPUTS_IN_ONE_MESSAGE]
            self._sent += len(inputs)
        answer = self._model.ask({"decisions": decisions, "inputs": inputs, "more": self._sent < len(self._inputs)})
        if not isinstance(answer, dict):
            self._fault("protocol", f"its process answered {answer!r:.200}")
        if "wrong" in answer:
            line, message = _wrong(answer)
            self._fault("event", message, line=line)
        if "rejected" in answer:
            self._refused(answer["rejected"], decisions)
        return answer

    def _refused(self, rejected: Any, decisions: list[Any]) -> NoReturn:
        match rejected:
            case [int(number), str(rule), str(message)] if 0 <= number < len(decisions):
                kind = self._decisions[decisions[number][0]]
                shown = _shown(kind.name, kind.fields, decisions[number])
                raise self._rejected(rule[:100], f"{shown}: {message[:1000]}" if message else shown, number)
        self._fault("protocol", f"its process answered with a refusal that is none: {rejected!r:.200}")

    def _take(self, answer: dict[str, Any], happened: list[JsonValue]) -> str:
        """Check and count what happened; `happened` gets what a policy may see of it."""
        log, until, stop = answer.get("log"), answer.get("time"), answer.get("stop")
        if not isinstance(log, list) or not isinstance(until, int | float) or stop not in _STOPS:
            self._fault("protocol", f"its process answered {answer!r:.200}")
        if not self._time <= until <= self._duration:
            self._fault("clock", f"its clock says {until}; it was {self._time} and ends at {self._duration}")
        hear_timeline = self._result.timeline.hear
        event = 0
        for entry in log:
            if type(entry) is list:
                number = self._check_event(entry, until, event)
                time, record = entry[0], entry[1:]
                event += 1
            elif entry == 0 and type(entry) is int:
                entry = self._take_input(until)
                time, record = entry[0], entry[1:]
                number = record[0]
            else:
                self._fault("protocol", f"an event is [time, kind, field, ...], not {entry!r:.200}")
            kind, invariants, hear_metrics = self._watched[number]
            for name, wrong in invariants:
                if message := wrong(record):
                    self._fault(f"invariant {name}", message, event - 1)
            hear_timeline(kind, time, record, hear_metrics(time, record))
            self._time = time
            if kind.shown_whole:
                happened.append(entry)
            elif not kind.hidden:
                happened.append([time, number, *[record[place] for place in kind.visible]])
        self._events += event
        if self._events > MAX_EVENTS:
            self._fault("events", f"more than {MAX_EVENTS} events in one run", event - 1)
        if self._next_input < self._sent and self._inputs[self._next_input][0] < until:
            self._fault("clock", f"its clock is at {until}, and it has not taken an input of an earlier time")
        if stop == "end" and self._next_input < len(self._inputs):
            self._fault("clock", "it ended before all inputs had come")
        self._time = until
        return str(stop)

    def _take_input(self, until: float) -> list[Any]:
        if self._next_input >= self._sent:
            self._fault("inputs", "it took an input that it does not have")
        record = self._inputs[self._next_input]
        if record[0] > until or record[0] < self._time:
            self._fault("clock", f"it took an input of {record[0]} between {self._time} and {until}")
        self._next_input += 1
        self._seen[record[1]].introduce(record[2:])
        return record

    def _check_event(self, entry: list[Any], until: float, event: int) -> int:
        """The number of its kind among all that is seen, which `entry` has from then on."""
        if len(entry) < 2 or type(entry[0]) not in (float, int):
            self._fault("protocol", f"an event is [time, kind, field, ...], not {entry!r:.200}")
        time, number = entry[0], entry[1]
        if type(number) is not int or not 0 <= number < len(self._event_kinds):
            self._fault("protocol", f"an event of no kind: {entry[1:]!r:.200}")
        if not self._time <= time <= until:
            self._fault("clock", f"an event at {time}, between {self._time} and {until}: time never runs back", event)
        entry[0] = float(time)
        entry[1] = seen = number + self._input_kinds
        problem = self._event_kinds[number].problem(entry[1:])
        if problem is not None:
            self._fault(problem[0], problem[1], event)
        return seen

    # ----------------------------------------------------------------------------------------------------- policy

    def _ask_policy(self, policy: Policy, observation: Any, happened: list[JsonValue]) -> list[Any]:
        self._check_observation(observation)
        self._result.timeline.observed(observation)
        self._result.calls += 1
        message = {"time": self._time, "observation": observation, "happened": happened}
        self._note_told(message)
        answer = policy.ask(message)
        if isinstance(answer, dict) and "wrong" in answer:
            line, text = _wrong(answer)
            raise self._rejected("decision", text, None, line)
        if not isinstance(answer, list):
            raise _protocol(f"expected a list of decisions, got {answer!r:.200}")
        for position, decision in enumerate(answer):
            number = number_of(decision, self._decisions)
            if number is None:
                raise _protocol(f"expected [kind, field, ...], got {decision!r:.200}")
            problem = self._decisions[number].problem(decision)
            if problem is not None:
                raise self._rejected(problem[0], problem[1], position, _line(policy, position))
            self._hear_decisions[number](self._time, decision)
            self._result.timeline.decided(self._decisions[number], self._time, decision)
        if answer:
            self._record(answer)
        return answer

    def _check_observation(self, observation: Any) -> None:
        if not isinstance(observation, dict):
            self._wrong_observation(f"returned {observation!r:.200}; must be a dict of what is declared")
        if observation.keys() != self._observed.keys():
            for name in observation:
                if name not in self._observed:
                    known = ", ".join(self._observed) or "none"
                    self._wrong_observation(f"has {name!r:.100}, which is not declared; declared are: {known}")
            missing = next(name for name in self._observed if name not in observation)
            self._wrong_observation(f"lacks {missing!r}")
        for name, check in self._checked_in_it.items():
            if message := check(observation[name]):
                self._wrong_observation(f"gives {name!r} that {message}")

    def _wrong_observation(self, message: str) -> NoReturn:
        line = _asked_line(self._model, {"line_of": "observe"})
        self._fault("observation", f"observe() {message}", line=line)

    def _note_told(self, what: JsonValue) -> None:
        if self._told is not None and len(self._result.told_log) < MAX_TOLD_LOG:
            self._told.update(json.dumps(what).encode())
            self._result.told_log.append(f"{self._told.hexdigest()[:12]} {self._sha.hexdigest()[:12]}")

    def _record(self, decisions: list[Any]) -> None:
        self._result.decided += len(decisions)
        text = _compact([self._time, decisions])
        self._sha.update(text.encode() + b"\n")
        if len(self._result.log) < MAX_LOG:
            self._result.log.append(text[:500])

    # --------------------------------------------------------------------------------------------------- failures

    def _fault(self, rule: str, message: str, event: int | None = None, line: int | None = None) -> NoReturn:
        """The model is wrong. `event`: the number of the event in its last answer, whose line is asked for."""
        if event is not None and event >= 0:
            line = _line(self._model, event)
        failure = PolicyFailure(
            FailureKind.REJECTED, f"{message} (at {self._time:g} s)", rule, time_seconds=self._time, line=line
        )
        raise ModelFault(model_file(self._model_name), failure)

    def _rejected(self, rule: str, message: str, position: int | None, line: int | None = None) -> PolicyError:
        where = "" if position is None else f"decision {position + 1} of this call: "
        return PolicyError(PolicyFailure(FailureKind.REJECTED, where + message, rule=rule, line=line))

    def _located(self, failure: PolicyFailure) -> PolicyFailure:
        if self._result.calls == 0:
            return failure
        return replace(failure, step=self._result.calls, time_seconds=self._time)


def _line(peer: Policy, number: int) -> int | None:
    """The line in which the other side says that it made a record of its last answer."""
    return _asked_line(peer, {"lines": True}, number)


def _asked_line(peer: Policy, question: JsonValue, number: int = 0) -> int | None:
    """A line, or one of several, as the other side says."""
    try:
        answer = peer.ask(question)
    except (PolicyError, ModelFault):
        return None
    lines: list[Any] = answer if isinstance(answer, list) else [answer]
    return lines[number] if number < len(lines) and type(lines[number]) is int else None


def _wrong(answer: Mapping[str, Any]) -> tuple[int | None, str]:
    """Line and message of what the other side says was no record. Its word, in a checked shape."""
    match answer["wrong"]:
        case [int() | None as line, str(message)]:
            return line, message[:1000]
    return None, f"its process answered {answer!r:.200}"


def _protocol(message: str) -> PolicyError:
    return PolicyError(PolicyFailure(FailureKind.PROTOCOL, message))


def _shown(name: str, fields: tuple[str, ...], record: list[Any]) -> str:
    return f"{name}({', '.join(f'{f}={v!r}' for f, v in zip(fields, record[1:], strict=True))})"
