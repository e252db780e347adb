"""Beside a model that is fitted: whole rollouts over recorded inputs and decisions, many in one process.

A recording is sent once, without its events: ``{"add": [[time, role, kind, field, ...], ...], "new": config or None}``
begins one with its configuration, or goes on with the last; role is 0 for an input, 1 for a decision, 2 for a decision
of the same call as the entry before; decisions name what the system made as `MadeIds` describes it.
``{"run": number, "parameters": {...}, "seed": int, "duration": seconds, "most":
events}`` runs one and answers with its first part, ``{"next": true}`` with the next:

    "log":    what happened, in order: 0 for the next input, 1 for the next decision, [time, kind, field, ...] for an
              event, ["rejected", rule] in the place of a decision that was refused or names what does not exist
    "more":   whether there is another part
    "failed": [exception's name, message, line], if the model raised or did what no model may
"""

import random
import traceback
from collections.abc import Callable
from typing import Any

from quintain_system.guest.loading import SOURCE_FILENAME, Kinds, Wrong, line_of, load_module
from quintain_system.guest.model import declared_parameters
from quintain_system.interface import Named, Rejected

MAX_STEPS_AT_ONE_TIME = 10_000
PART = 500  # entries of one answer
_NEVER = float("inf")
_METHODS = ("on_input", "on_decision", "next_event_time", "advance", "observe")


class Session:
    """One loaded model. Each run makes a new `Model`; what a module keeps between runs is its own mistake."""

    def __init__(self, source: str, setup: Any) -> None:
        self._inputs = Kinds("an input", setup["inputs"])
        self._decisions = Kinds("a decision", setup["decisions"])
        self._events = Kinds("an event", setup["events"])
        self._made: list[list[int] | None] = setup["made"]  # by event kind: see MadeIds
        self._refers: list[list[int]] = setup["refers"]  # by decision kind: places of ids that only events introduce
        module = load_module(source, "model")
        self._class: Any = getattr(module, "Model", None)
        if not callable(self._class):
            raise TypeError("the model must define a class Model(config, parameters, random)")
        self._declared = getattr(module, "PARAMETERS", {})
        if not isinstance(self._declared, dict):
            raise TypeError(f"PARAMETERS must be a dict of name to Parameter, not {type(self._declared).__name__}")
        self.info = {"parameters": declared_parameters(self._declared, {})[0]}
        self._recordings: list[tuple[dict[str, Any], list[Any]]] = []
        self._log: list[Any] = []
        self._sent = 0

    def answer(self, message: Any) -> Any:
        if "add" in message:
            if message["new"] is not None:
                self._recordings.append((message["new"], []))
            self._recordings[-1][1].extend(message["add"])
            return len(self._recordings)
        if "run" in message:
            self._log, self._sent = [], 0
            try:
                self._run(message)
            except Exception as error:  # noqa: BLE001 - a process boundary: whatever a model does ends one run
                return {"log": [], "more": False, "failed": _described(error)}
        part = self._log[self._sent : self._sent + PART]
        self._sent += len(part)
        return {"log": part, "more": self._sent < len(self._log)}

    def _run(self, message: Any) -> None:
        config, entries = self._recordings[message["run"]]
        values = declared_parameters(self._declared, message["parameters"])[1]
        model = self._class(Named(**config), Named(**values), random.Random(message["seed"]))
        for name in _METHODS:
            if not callable(getattr(model, name, None)):
                raise TypeError(f"class Model has no method {name}; see the model interface")
        duration: float = message["duration"]
        run = _Run(model, self._events, MadeIds(self._made), self._log, len(entries) + message["most"])
        inputs, decisions, refers = self._inputs, self._decisions, self._refers
        log = self._log
        for entry in entries:
            time, role = entry[0], entry[1]
            if role != 2:
                run.until(time)
            if role == 0:
                model.on_input(time, inputs.decode(entry[2:]))
                log.append(0)
                continue
            decided = run.made.resolved(entry[2:], refers[entry[2]])
            if decided is None:
                log.append(["rejected", "unknown_id"])
                continue
            try:
                model.on_decision(time, decisions.decode(decided))
            except Rejected as refusal:
                log.append(["rejected", str(refusal.rule)[:100]])
            else:
                log.append(1)
        run.until(duration)


class MadeIds:
    """Things that events introduced, by what was said of them: two systems number them differently, so one is named by
    its kind, its fields, and how many like it were made after it. `places`: by event kind the place of the id and those
    of the fields, or None."""

    def __init__(self, places: list[list[int] | None]) -> None:
        self._places = places
        self._like: dict[Any, list[Any]] = {}  # kind and fields -> ids, in order
        self._where: dict[Any, tuple[Any, int]] = {}  # id -> its key in `_like`, and its place there

    def note(self, event: list[Any]) -> None:
        """Of an event: [its kind's number, field, ...]"""
        places = self._places[event[0]]
        if places is None:
            return
        key = (event[0], tuple(event[place] for place in places[1:]))
        ids = self._like.setdefault(key, [])
        self._where[event[places[0]]] = (key, len(ids))
        ids.append(event[places[0]])

    def described(self, thing: Any) -> Any:
        """None for one that no event introduced."""
        if thing not in self._where:
            return None
        key, place = self._where[thing]
        return [key[0], list(key[1]), len(self._like[key]) - 1 - place]

    def resolved(self, decision: list[Any], places: list[int]) -> list[Any] | None:
        """The decision with ids in these places, which held descriptions; None if there is no such thing."""
        if not places:
            return decision
        found = list(decision)
        for place in places:
            if found[place] is None:
                return None
            number, fields, back = found[place]
            ids = self._like.get((number, tuple(fields)), ())
            if back >= len(ids):
                return None
            found[place] = ids[-1 - back]
        return found


class _Run:
    def __init__(self, model: Any, events: Kinds, made: MadeIds, log: list[Any], most: int) -> None:
        self._model, self._events, self.made = model, events, made
        self._log, self._most = log, most
        self._now = 0.0

    def until(self, time: float) -> None:
        """Let everything happen that happens by `time`."""
        next_event_time, steps = self._model.next_event_time, 0
        while True:
            due = next_event_time()
            if due is None:
                break
            if isinstance(due, bool) or not isinstance(due, (int, float)) or due != due:
                raise TypeError(f"next_event_time() returned {due!r:.100}; must be seconds or None")
            if due > time or due == _NEVER:
                break
            if due < self._now:
                raise ValueError(f"next_event_time() returned {due}, before now, {self._now}: time must not run back")
            steps = 0 if due > self._now else steps + 1
            if steps > MAX_STEPS_AT_ONE_TIME:
                raise RuntimeError(f"time stands still at {due}: {MAX_STEPS_AT_ONE_TIME} steps without moving on")
            self._now = due
            for event in self._model.advance(due) or ():
                values = self._events.encode(event)
                self.made.note(values)
                self._log.append([due, *values])
            if len(self._log) > self._most:
                raise RuntimeError(f"it says far more events than were recorded: more than {self._most}")
        self._now = max(self._now, time)


def _described(error: Exception) -> list[Any]:
    if isinstance(error, Wrong):
        return ["Wrong", error.message, error.line]
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == SOURCE_FILENAME]
    return [type(error).__name__, str(error)[:2000], lines[-1] if lines else line_of(error)]


def load(source: str, setup: Any, query: Callable[[Any], Any]) -> Session:
    return Session(source, setup)
