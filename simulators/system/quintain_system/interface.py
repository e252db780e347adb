"""What models and policies are written with. Standard library only: it lives in their processes."""

import sys
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any


class Record:
    """One thing that happened or was decided: a `kind` and that kind's fields as attributes.

    What a policy is told has `time` as well (seconds of simulated time).
    """

    kind: str

    def __init__(self, kind: str, /, **fields: Any) -> None:
        fields["kind"] = kind
        self.__dict__ = fields

    def __getattr__(self, name: str) -> Any:
        known = ", ".join(k for k in self.__dict__ if not k.startswith("_"))
        raise AttributeError(f"{self.__dict__.get('kind', '?')!r} has no field {name!r}; it has: {known}")

    def __repr__(self) -> str:
        shown = ", ".join(f"{k}={v!r}" for k, v in self.__dict__.items() if k != "kind" and not k.startswith("_"))
        return f"{type(self).__name__}({self.__dict__.get('kind')!r}, {shown})"


class Named(SimpleNamespace):
    """A model's `config` and `parameters`, a policy's `config`: values by their declared names."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"there is no {name!r}; declared are: {', '.join(vars(self)) or 'none'}")


class _Said(Record):
    """A record that remembers the line that made it, so that an error can name it."""

    def __init__(self, kind: str, /, **fields: Any) -> None:
        fields["kind"] = kind
        fields["_line"] = sys._getframe(1).f_lineno
        self.__dict__ = fields


class Event(_Said):
    """What a model says has happened: ``Event("finished", request=7, server=2)``."""


class Decision(_Said):
    """What a policy decides: ``Decision("route", request=7, server=2)``."""


class Rejected(Exception):
    """Raised by a model's `on_decision` for a decision that the system would refuse. The policy has then failed; `rule`
    is a stable lower_snake_case name of what it broke."""

    def __init__(self, rule: str, message: str = "") -> None:
        super().__init__(f"{rule}: {message}" if message else rule)
        self.rule = rule
        self.message = message


@dataclass(frozen=True)
class Parameter:
    """A number that a model leaves open, between `low` and `high`, in `unit`. `default` None: the middle."""

    low: float
    high: float
    unit: str = ""
    default: float | None = None

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"Parameter({self.low:g}, {self.high:g}): low is above high")

    @property
    def value(self) -> float:
        return (self.low + self.high) / 2 if self.default is None else self.default
