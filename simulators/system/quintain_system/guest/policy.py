"""Beside a policy: gives it what it may see, and takes its decisions.

Message: ``{"time": seconds, "observation": {...}, "happened": [[time, kind, field, ...], ...]}``; a kind above the
inputs' is an event. Answer: ``[[kind, field, ...], ...]``, or ``{"wrong": [line, message]}``. ``{"lines": true}`` asks
for the lines in which the last answer's decisions were made.
"""

from collections.abc import Callable
from typing import Any

from quintain_system.guest.loading import Kinds, Wrong, line_of, load_module
from quintain_system.interface import Named


class Session:
    """One loaded policy."""

    def __init__(self, source: str, setup: Any) -> None:
        self._seen = Kinds("an event", setup["seen"])
        self._decisions = Kinds("a decision", setup["decisions"])
        self._observation: dict[str, Any] = {}
        self._decided: Any = ()  # in the last answer
        module = load_module(source, "policy")
        config = Named(**setup["config"])
        if callable(getattr(module, "Policy", None)):
            self._decide = module.Policy(config).decide
        elif callable(getattr(module, "decide", None)):
            self._decide = module.decide
            if callable(getattr(module, "start", None)):
                module.start(config)
        else:
            raise TypeError("the policy must define decide(observation, happened), or a class Policy(config) with it")
        self.info = None

    def answer(self, message: Any) -> Any:
        if "lines" in message:
            return [line_of(decision) for decision in self._decided]
        observation = self._observation
        observation.update(message["observation"])
        observation["time"] = message["time"]
        happened = list(map(self._seen.decode_timed, message["happened"]))
        decided = self._decide(observation, happened)
        if decided is None:
            decided = []
        if not isinstance(decided, (list, tuple)):
            raise TypeError(f"decide must return a list of decisions, got {decided!r:.200}")
        self._decided = decided
        encode = self._decisions.encode
        try:
            return [encode(decision) for decision in decided]
        except Wrong as wrong:
            return {"wrong": [wrong.line, wrong.message]}


def load(source: str, setup: Any, query: Callable[[Any], Any]) -> Session:
    return Session(source, setup)
