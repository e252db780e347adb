"""The interface between a search and a strategy: what to ask for next, and from which parents.

A strategy is found by the entry point group ``quintain.strategies``; the entry point loads a `StrategyPlugin`. Plain
data and pydantic for the options; no grpc, no protobuf, no clock, no store.

A strategy is a state machine. The search calls `ask` and `tell` from one thread in an order that is a function of the
recorded candidates alone: results are told strictly in order of number, and `ask(n)` comes at a point that is recorded
with candidate n. The strategy must be a deterministic function of (problem, options, that sequence of calls): all
randomness comes from the seed that `ask` is given. Then a search that was killed is continued, and a finished one
replayed, by telling the stored results again. No call may take time that grows with the number of candidates.
"""

from __future__ import annotations

import abc
import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from quintain.plugins.backend import Operator
from quintain.plugins.simulator import Descriptor

__all__ = [
    "RULES",
    "Ask",
    "BackendInfo",
    "Note",
    "Operator",
    "Options",
    "Problem",
    "Result",
    "Role",
    "Strategy",
    "StrategyPlugin",
]

RULES = 3
"""The version of the rules by which searches go that begin now: see `Problem.rules`."""


class Role(enum.Enum):
    """What a backend is for, in a search that has several."""

    MAIN = "main"  # writes and changes policies, most of the time
    STRONG = "strong"  # dear: for rare new ideas
    SWEEP = "sweep"  # free: changes the constants of what the others wrote


@dataclass(frozen=True, slots=True)
class BackendInfo:
    """A backend that may be asked. `operators` in the backend's order; `max_cost_usd` None: unpriced, 0: free."""

    name: str
    operators: tuple[Operator, ...]
    max_cost_usd: float | None = None
    role: Role = Role.MAIN


@dataclass(frozen=True, slots=True)
class Problem:
    """What is known before the search begins, the same for its whole life.

    `seeds` candidates (numbers 0..seeds-1) are given; the first `ask` is for number `seeds`, after all of them were
    told. `scenarios` are the train scenarios in order; `Result.values` has one entry for each. `planned` is how many
    candidates the first budget allows (None: no bound that counts candidates).

    `rules` is the `RULES` of the version with which the search began. A strategy that changes what it asks for raises
    nothing in old searches if it asks by the old rules there: they are continued and replayed by their recorded plans.
    """

    backends: tuple[BackendInfo, ...]
    scenarios: tuple[str, ...]
    descriptors: tuple[Descriptor, ...]
    seeds: int
    planned: int | None
    rules: int = RULES


@dataclass(frozen=True, slots=True)
class Result:
    """What came of candidate `number`. Greater `fitness` is better, whatever the objective's direction.

    `fitness` is None without a verdict that finished on every train scenario: the policy `failed` (it can be
    repaired; `values` tell how far it came), or nothing could be verified at all (`failed` is False: refused, no
    code, duplicate).
    `values`: normalised value (0 worst, 1 bound) by train scenario, empty without a verdict. `metrics`: mean over the
    train scenarios, for the descriptors. `behavior`: digest of all decisions; equal behaviour means equal values.
    `objectives`: score and further objectives, greater is better, in a search that has several and if all have a value.
    """

    number: int
    fitness: tuple[float, ...] | None
    failed: bool = False
    values: tuple[float, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    behavior: str = ""
    cost_usd: float = 0.0
    objectives: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: `parents` (at least one) and `inspirations` are candidate numbers that were told already.

    `only_if_better`: the candidate is of use only if it is better than its parent, so if a look at some scenarios says
    that it is not, it is told without fitness, and has not failed.
    """

    backend: str
    operator: Operator
    parents: tuple[int, ...]
    inspirations: tuple[int, ...] = ()
    island: int = 0
    only_if_better: bool = False


@dataclass(frozen=True, slots=True)
class Note:
    """Said by `tell`: nothing better came for a while, and what the strategy does about it."""

    candidates_without_improvement: int
    action: str


class Options(BaseModel):
    """Base of a strategy's options: unknown keys are refused. The field descriptions are the user's documentation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    window: int | None = Field(
        None,
        ge=1,
        le=256,
        description="How many candidates may be under way at once; a request sees all results but the last window - 1. "
        "Unset: 4, or as many as the search runs in parallel. Results depend on it, never on how many workers there "
        "are.",
    )
    stop_after_stagnation: int | None = Field(
        None, ge=1, description="End the search after so many candidates without improvement. Unset: never."
    )
    history: int = Field(40, ge=0, le=1000, description="Latest attempts in the digest that an LLM is shown.")


class Strategy(abc.ABC):
    """State of one search's strategy. Not thread safe."""

    @abc.abstractmethod
    def tell(self, result: Result) -> Note | None:
        """Take the next result in order of number."""

    @abc.abstractmethod
    def ask(self, number: int, seed: int) -> Ask:
        """Say how candidate `number` is to be made. `seed` (64 bits) is this candidate's randomness."""

    def narrow(self, backends: tuple[str, ...]) -> bool:
        """The next `ask` may name these backends only, because the budget has no room for a request of the others.
        Returns whether there is something to ask of them. False, which is what a strategy says that knows nothing of
        this, ends the search when nothing is under way any more. `ask` then follows with no call between."""
        return False

    @abc.abstractmethod
    def stop(self) -> str | None:
        """Why the search should end before its budget is used up, or None. Asked before every `ask`."""


OptionsT = TypeVar("OptionsT", bound=Options)


class StrategyPlugin(abc.ABC, Generic[OptionsT]):
    """A way to search. `max_window` bounds the window (1: each request needs the result before it; None: any).

    `uses_roles`: whether it minds `BackendInfo.role`; for one that does not, every backend is MAIN.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    options: type[OptionsT]
    max_window: ClassVar[int | None] = None
    uses_roles: ClassVar[bool] = False

    @abc.abstractmethod
    def create(self, problem: Problem, options: OptionsT) -> Strategy:
        """A fresh state. Raises ValueError if the problem cannot be searched this way."""
