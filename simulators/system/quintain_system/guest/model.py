"""Beside a model: runs its events and inputs in order of time until a policy must be asked.

Message: ``{"decisions": [[kind, field, ...], ...], "inputs": [[time, kind, field, ...], ...], "more": whether there are
inputs after these}``. The decisions are made now, the inputs come when their time has come. Answer::

    "log":  what happened, in order: 0 for the next input, [time, kind, field, ...] for an event
    "time": until when
    "stop": "call" (a policy must be asked; "observation" is what it may see), "inputs" (more are needed), "full" (the
            answer is long enough) or "end"

``{"rejected": [number of the decision, rule, message]}``, or ``{"wrong": [line, message]}`` for an event that is none.
At one instant the events come before the inputs, and the policy is asked after all of them. ``{"lines": true}`` asks
for the lines in which the last answer's events were made, ``{"line_of": name}`` for the one where a method begins.
"""

import random
from collections import deque
from collections.abc import Callable
from typing import Any

from quintain_system.guest.loading import SOURCE_FILENAME, Kinds, Wrong, line_of, load_module
from quintain_system.interface import Named, Parameter, Rejected

MAX_STEPS_AT_ONE_TIME = 100_000
MAX_LOG = 1_000  # entries of one answer, or a little more
_NEVER = float("inf")


class Session:
    """One loaded model and its clock."""

    def __init__(self, source: str, setup: Any) -> None:
        self._inputs_kinds = Kinds("an input", setup["inputs"])
        self._decisions = Kinds("a decision", setup["decisions"])
        self._events = Kinds("an event", setup["events"])
        self._calls_inputs = frozenset(setup["calls_inputs"])
        self._calls_events = frozenset(setup["calls_events"])
        self._every: float | None = setup["every"]
        self._duration: float = setup["duration"]
        module = load_module(source, "model")
        if not callable(getattr(module, "Model", None)):
            raise TypeError("the model must define a class Model(config, parameters, random)")
        declared, values = declared_parameters(getattr(module, "PARAMETERS", {}), setup["parameters"])
        self.info = {"parameters": declared}
        self._model = module.Model(Named(**setup["config"]), Named(**values), random.Random(setup["seed"]))
        for name in ("on_input", "on_decision", "next_event_time", "advance", "observe"):
            if not callable(getattr(self._model, name, None)):
                raise TypeError(f"class Model has no method {name}; see the model interface")
        self._now = 0.0
        self._inputs: deque[Any] = deque()
        self._call_due = True  # a policy is asked once before anything happens
        self._next_tick = self._every or _NEVER
        self._said: list[Any] = []  # the events of the last answer

    def answer(self, message: Any) -> Any:
        if "lines" in message:
            return [line_of(event) for event in self._said]
        if "line_of" in message:
            return self._line_of(message["line_of"])
        model, now = self._model, self._now
        for number, values in enumerate(message["decisions"]):
            try:
                model.on_decision(now, self._decisions.decode(values))
            except Rejected as refusal:
                return {"rejected": [number, str(refusal.rule), str(refusal.message)]}
        self._inputs.extend(message["inputs"])
        log: list[Any] = []
        self._said = []
        try:
            stop = self._run(log, message["more"])
        except Wrong as wrong:
            return {"wrong": [wrong.line, wrong.message]}
        answer = {"log": log, "time": self._now, "stop": stop}
        if stop == "call":
            self._call_due = False
            answer["observation"] = model.observe()
        return answer

    def _run(self, log: list[Any], more: bool) -> str:
        model, inputs, duration = self._model, self._inputs, self._duration
        next_event_time = model.next_event_time
        steps, now = 0, self._now
        while True:
            if more and not inputs:
                return "inputs"
            if len(log) >= MAX_LOG:
                return "full"
            event_time = next_event_time()
            if event_time is None:
                event_time = _NEVER
            elif type(event_time) is not float or not event_time >= now:
                event_time = self._checked(event_time, now)
            input_time = inputs[0][0] if inputs else _NEVER
            time = min(event_time, input_time, self._next_tick)
            if time > now:
                if self._call_due:
                    return "call"
                if time > duration:
                    self._now = duration
                    return "end"
                self._now = now = time
                steps = 0
            steps += 1
            if steps > MAX_STEPS_AT_ONE_TIME:
                raise self._wrong_clock(f"time stands still at {now}: {MAX_STEPS_AT_ONE_TIME} steps without moving on")
            if event_time <= now:
                self._advance(log, now)
            elif input_time <= now:
                values = inputs.popleft()
                model.on_input(now, self._inputs_kinds.decode(values[1:]))
                log.append(0)
                if values[1] in self._calls_inputs:
                    self._call_due = True
            else:
                assert self._every is not None
                self._next_tick = now + self._every
                self._call_due = True

    def _advance(self, log: list[Any], now: float) -> None:
        encode, said, calls = self._events.encode, self._said, self._calls_events
        for event in self._model.advance(now) or ():
            values = encode(event)
            if values[0] in calls:
                self._call_due = True
            values.insert(0, now)
            log.append(values)
            said.append(event)

    def _checked(self, time: Any, now: float) -> float:
        if isinstance(time, bool) or not isinstance(time, (int, float)) or time != time:
            raise self._wrong_clock(f"next_event_time() returned {time!r:.100}; must be seconds or None")
        if time < now:
            raise self._wrong_clock(f"next_event_time() returned {time}, before now, {now}: time must not run back")
        return float(time)

    def _wrong_clock(self, message: str) -> Wrong:
        return Wrong(self._line_of("next_event_time"), message)

    def _line_of(self, method: str) -> int | None:
        code = getattr(getattr(self._model, method, None), "__code__", None)
        return code.co_firstlineno if code is not None and code.co_filename == SOURCE_FILENAME else None


def declared_parameters(declared: Any, given: Any) -> tuple[dict[str, Any], dict[str, float]]:
    """(name -> [low, high, unit, value], name -> value). Raises TypeError and ValueError: what would be right."""
    described, values = {}, {}
    for name, parameter in declared.items():
        if not isinstance(parameter, Parameter):
            raise TypeError(f"PARAMETERS[{name!r}] is {parameter!r:.100}; must be Parameter(low, high, unit)")
        value = float(given.get(name, parameter.value))
        if not parameter.low <= value <= parameter.high:
            raise ValueError(f"parameter {name} is {value}; must be between {parameter.low} and {parameter.high}")
        described[name] = [parameter.low, parameter.high, parameter.unit, value]
        values[name] = value
    for name in given:
        if name not in declared:
            raise ValueError(f"parameter {name!r} is not declared by the model; it declares {sorted(declared)}")
    return described, values


def load(source: str, setup: Any, query: Callable[[Any], Any]) -> Session:
    return Session(source, setup)
