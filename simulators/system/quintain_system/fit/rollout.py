"""Rollouts of a jailed model over recorded inputs and decisions: its word checked, event by event."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from quintain.plugins.simulator import FailureKind, JsonValue, Policy, PolicyError, PolicyFailure
from quintain_system.engine.invariants import Invariants
from quintain_system.engine.records import Ids, kinds
from quintain_system.fit.episode import Episode, Kinds, Step, kinds_by_number
from quintain_system.form.spec import SystemSpec
from quintain_system.guest.rollout import MadeIds
from quintain_system.interface import Parameter

SENT_AT_ONCE = 500  # entries in one message
EVENTS_FOR_ONE = 20  # a model may say so many events for each that was recorded
EVENTS_AT_LEAST = 1_000
MAX_PARAMETERS = 100


class WrongModel(Exception):
    """A rollout that no model may give: it raised, or said what breaks the declared kinds or invariants."""

    def __init__(self, failure: PolicyFailure) -> None:
        super().__init__(failure.message)
        self.failure = failure


@dataclass
class Rollout:
    """What a model said: `history` as in an Episode, without the decisions that it refused, which `refused` counts by
    rule."""

    history: list[Step]
    refused: Counter[str] = field(default_factory=Counter)


class Rollouts:
    """One model's process. Episodes are sent when they are first run. One thread. `limits`: hold it to the package's
    invariants (a floor that knows no capacity would break them)."""

    def __init__(self, spec: SystemSpec, numbers: Kinds, model: Policy, *, limits: bool = True) -> None:
        self._limits = limits
        self._spec, self._numbers, self._model = spec, numbers, model
        self._sent: dict[str, int] = {}
        self.parameters = _declared(model.info)

    def run(self, episode: Episode, values: Mapping[str, float], seed: int) -> Rollout:
        """Raises WrongModel, and what the process's limits raise."""
        number = self._send(episode)
        message: JsonValue = {
            "run": number,
            "parameters": dict(values),
            "seed": seed,
            "duration": episode.recording.duration,
            "most": EVENTS_FOR_ONE * episode.events + EVENTS_AT_LEAST,
        }
        reader = _Reader(self._spec, self._numbers, episode, limits=self._limits)
        for entry in self._log(message):
            reader.take(entry)
        return reader.end()

    def runs(self, episode: Episode, values: Mapping[str, float], most: int, seed: int = 0) -> list[Rollout]:
        """Up to `most` rollouts, with seeds from `seed` on; one, if the second says the same: then nothing is drawn."""
        found = [self.run(episode, values, seed)]
        for other in range(seed + 1, seed + most):
            found.append(self.run(episode, values, other))
            if found[0].history == found[-1].history:
                return found[:1]
        return found

    def _log(self, message: JsonValue) -> Iterator[Any]:
        while True:
            answer = self._model.ask(message)
            if not isinstance(answer, dict) or not isinstance(answer.get("log"), list):
                raise _protocol(f"its process answered {answer!r:.200}")
            if "failed" in answer:
                _raised(answer["failed"])
            yield from answer["log"]
            if not answer.get("more"):
                return
            message = {"next": True}

    def _send(self, episode: Episode) -> int:
        if episode.digest not in self._sent:
            script = episode.script
            config = {k: list(v) if isinstance(v, tuple) else v for k, v in episode.recording.config.items()}
            for start in range(0, max(1, len(script)), SENT_AT_ONCE):
                part = list(script[start : start + SENT_AT_ONCE])
                self._model.ask({"add": part, "new": config if start == 0 else None})
            self._sent[episode.digest] = len(self._sent)
        return self._sent[episode.digest]


def setup_of(spec: SystemSpec) -> JsonValue:
    """What the guest of a fitted model is told at the beginning."""
    numbers = kinds_by_number(spec)
    return {
        "inputs": [[name, list(kind.fields)] for name, kind in spec.inputs.items()],
        "decisions": [[name, list(kind.fields)] for name, kind in spec.decisions.items()],
        "events": [[name, list(kind.fields)] for name, kind in spec.events.items()],
        "made": [list(places) if places else None for places in numbers.told_of_made],
        "refers": [list(places) for places in numbers.refers_to_made],
    }


class _Reader:
    """Puts a model's log and the recorded script together, and checks every event."""

    def __init__(self, spec: SystemSpec, numbers: Kinds, episode: Episode, *, limits: bool) -> None:
        self._limits = limits
        config, ids = episode.recording.config, Ids()
        self._kinds = kinds(spec.inputs, config, ids) + kinds(spec.events, config, ids)
        self._invariants = Invariants(spec, config, episode.recording.duration)
        self._numbers, self._script = numbers, episode.script
        self._duration = episode.recording.duration
        self._next = 0
        self._time = 0.0
        self._made = MadeIds(numbers.told_of_made)
        self._refers = numbers.refers_to_made
        self._rollout = Rollout([])

    def take(self, entry: Any) -> None:
        if type(entry) is list and entry and type(entry[0]) in (int, float):
            self._event(entry)
        elif entry == 0 or entry == 1:
            self._scripted(bool(entry))
        elif type(entry) is list and len(entry) == 2 and entry[0] == "rejected" and isinstance(entry[1], str):
            self._scripted(True, refused=entry[1])
        else:
            raise _protocol(f"its process said {entry!r:.200}")

    def end(self) -> Rollout:
        if self._next < len(self._script):
            raise _protocol("its process ended before all that was recorded had come")
        return self._rollout

    def _scripted(self, decision: bool, refused: str | None = None) -> None:
        if self._next >= len(self._script) or bool(self._script[self._next][1]) != decision:
            raise _protocol("its process took what was not recorded")
        time, _, number, *fields = self._script[self._next]
        self._next += 1
        self._time = time
        if refused is not None:
            self._rollout.refused[refused] += 1
            return
        record = [number + (self._numbers.decisions_from if decision else 0), *fields]
        if decision:
            record = self._made.resolved(record, self._refers[number]) or _lied()
        else:
            self._kinds[number].introduce(fields)
            self._keep_invariants(time, record)
        self._rollout.history.append((time, record))

    def _event(self, entry: list[Any]) -> None:
        time, number = entry[0], entry[1]
        until = self._script[self._next][0] if self._next < len(self._script) else self._duration
        if not self._time <= time <= until:
            self._wrong("clock", time, f"an event at {time}, between {self._time} and {until}")
        if type(number) is not int or not 0 <= number < self._numbers.events:
            raise _protocol(f"its process said an event of no kind: {entry!r:.200}")
        record = [number + self._numbers.inputs, *entry[2:]]
        if problem := self._kinds[record[0]].problem(record):
            self._wrong(problem[0], time, problem[1])
        self._keep_invariants(time, record)
        self._time = time
        self._made.note(entry[1:])
        self._rollout.history.append((float(time), record))

    def _keep_invariants(self, time: float, record: list[Any]) -> None:
        problem = self._invariants.problem(self._kinds[record[0]].name, record) if self._limits else None
        if problem is not None:
            self._wrong(f"invariant {problem[0]}", time, problem[1])

    def _wrong(self, rule: str, time: float, message: str) -> NoReturn:
        text = f"{message} (at {time:g} s)"
        raise WrongModel(PolicyFailure(FailureKind.REJECTED, text, rule, time_seconds=float(time)))


def _lied() -> NoReturn:
    raise _protocol("its process took a decision about what it never made")


def _protocol(message: str) -> PolicyError:
    return PolicyError(PolicyFailure(FailureKind.PROTOCOL, message))


def _raised(failed: Any) -> NoReturn:
    match failed:
        case [str(name), str(message), line] if line is None or type(line) is int:
            kind = FailureKind.REJECTED if name == "Wrong" else FailureKind.RAISED
            text = message if name == "Wrong" else f"{name}: {message}"
            raise WrongModel(PolicyFailure(kind, text[:2000], "event" if name == "Wrong" else "", line=line))
    raise _protocol(f"its process failed with {failed!r:.200}")


def _declared(info: Any) -> dict[str, Parameter]:
    """The parameters as the process says that the model declares them."""
    found: dict[str, Parameter] = {}
    given = info.get("parameters") if isinstance(info, dict) else None
    if not isinstance(given, dict) or len(given) > MAX_PARAMETERS:
        raise _protocol(f"a model has a dict of at most {MAX_PARAMETERS} PARAMETERS")
    for name, values in given.items():
        match values:
            case [int() | float() as low, int() | float() as high, str(unit), int() | float() as value] if (
                low <= value <= high
            ):
                found[str(name)[:64]] = Parameter(float(low), float(high), unit[:40], float(value))
            case _:
                text = f"PARAMETERS[{name!r:.80}] needs low <= default <= high"
                raise PolicyError(PolicyFailure(FailureKind.LOAD, text))
    return found
