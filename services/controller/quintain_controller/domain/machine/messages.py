"""What the machine of a search is told, and what it wants done. Plain data."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from quintain.errors import QuintainError
from quintain_controller.domain.model import Attempt, Candidate, Charge, Generation, Plan, ToolUse, Verification
from quintain_controller.domain.records import Batch, Control


@dataclass(frozen=True, slots=True)
class Instant:
    """When something came: `monotonic` seconds for durations, `epoch` seconds for what people read."""

    monotonic: float
    epoch: float


class CallKind(enum.Enum):
    """What a call of another service is for; the values name the stages in the metrics."""

    GENERATE = "generate"
    VERIFY = "verify"
    HELD_OUT = "held_out"
    GATE = "gates"


@dataclass(frozen=True, slots=True)
class Call:
    """One call of another service, with its repetitions. `serial` is never used twice within a machine."""

    serial: int
    kind: CallKind
    number: int


# ------------------------------------------------------------------------------------------------------------ inputs


@dataclass(frozen=True, slots=True)
class Restored:
    """All that the store holds, in order of number, with the requests that were not answered. The first input."""

    candidates: tuple[Candidate, ...]
    requests: Mapping[int, bytes]


@dataclass(frozen=True, slots=True)
class RequestMade:
    """The answer to `MakeRequest`."""

    request: bytes
    digest: str


@dataclass(frozen=True, slots=True)
class Generated:
    """The backend's answer."""

    call: Call
    generation: Generation


@dataclass(frozen=True, slots=True)
class ToolsUsed:
    """The backend's answer called tools, which were run: all of the conversation so far. It goes on when they are
    written down."""

    call: Call
    spent: Charge | None
    uses: tuple[ToolUse, ...]


@dataclass(frozen=True, slots=True)
class Postponed:
    """The answer is made in a provider's batch: it is to be asked for again after so many seconds. `spent`: what the
    request has cost so far, where it is known."""

    call: Call
    seconds: float
    spent: Charge | None


@dataclass(frozen=True, slots=True)
class Verified:
    """A verdict; `parent` is whom a candidate's is compared with (None but for `CallKind.VERIFY`)."""

    call: Call
    verification: Verification
    parent: Candidate | None = None


@dataclass(frozen=True, slots=True)
class Troubled:
    """A call has failed; it may be repeated. `by_verifier`: a generation whose tool the verifier could not run."""

    call: Call
    error: QuintainError
    by_verifier: bool = False


@dataclass(frozen=True, slots=True)
class Spent:
    """What a generation has cost so far, all its calls of the provider together; it may never get a result."""

    call: Call
    charge: Charge


@dataclass(frozen=True, slots=True)
class Progressed:
    """A verification goes on: scenarios that are done, and in all."""

    call: Call
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Recalled:
    """The answer to `Recall` for a call that was not sent yet, and will not be."""

    call: Call


@dataclass(frozen=True, slots=True)
class Due:
    """The time of a `Wait` is over."""

    call: Call


@dataclass(frozen=True, slots=True)
class LookedUp:
    """The answer to `LookUp`: what was recorded of a request. None: no result; `known` says that it never was seen,
    `spent` what it has cost so far, where the generator can say it."""

    number: int
    generation: Generation | None
    known: bool
    spent: Charge | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """The answer to `Load`."""

    candidates: Mapping[int, Candidate]


@dataclass(frozen=True, slots=True)
class Written:
    """The batch is durable; `control` is what the store says since."""

    control: Control


@dataclass(frozen=True, slots=True)
class ControlChanged:
    """Somebody may have changed the search. A word that a later one has overtaken on the way is ignored."""

    control: Control


@dataclass(frozen=True, slots=True)
class Drain:
    """This process ends: start nothing, finish what is paid for."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


Input = (
    Restored
    | RequestMade
    | Generated
    | ToolsUsed
    | Postponed
    | Verified
    | Troubled
    | Spent
    | Progressed
    | Recalled
    | Due
    | LookedUp
    | Loaded
    | Written
    | ControlChanged
    | Drain
    | Tick
)


# ------------------------------------------------------------------------------------------------------ instructions


@dataclass(frozen=True, slots=True)
class MakeRequest:
    """Make a candidate's generation request from its plan; answer with `RequestMade`. One at a time."""

    candidate: Candidate
    history: tuple[Attempt, ...]
    lessons: tuple[str, ...]
    first: Candidate  # number 0, verified
    best_score: float | None


@dataclass(frozen=True, slots=True)
class Send:
    """Send a generation request as soon as there is a place among all searches."""

    call: Call
    plan: Plan
    request: bytes


@dataclass(frozen=True, slots=True)
class Verify:
    """Verify a candidate as soon as there is a place. `parent` is whom its verdict is compared with. `scenarios`: only
    these, the cheap ones first, until their score can no longer reach `stop_below`."""

    call: Call
    parts: tuple[str, ...]
    check_determinism: bool = False
    confirm: bool = False
    parent: int | None = None
    scenarios: tuple[str, ...] = ()
    stop_below: float | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Answer with `Due` after at least so long."""

    call: Call
    seconds: float


@dataclass(frozen=True, slots=True)
class Recall:
    """Do not send a call that waits for its place: answer with `Recalled`. One that was sent goes on."""

    call: Call


@dataclass(frozen=True, slots=True)
class Abandon:
    """Nobody wants this call's answer any more, nor the end of its wait; none must come."""

    call: Call


@dataclass(frozen=True, slots=True)
class LookUp:
    """Ask what was recorded of a request, calling no backend; answer with `LookedUp`."""

    number: int


@dataclass(frozen=True, slots=True)
class Load:
    """Read candidates; answer with `Loaded`."""

    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Remember:
    """A candidate has its verdict; requests may need its texts before they are written."""

    candidate: Candidate
    feedback: str


@dataclass(frozen=True, slots=True)
class Write:
    """Write a batch durably; answer with `Written`. One at a time."""

    batch: Batch


@dataclass(frozen=True, slots=True)
class Finish:
    """Nothing is left to do here: give the search back."""


Instruction = MakeRequest | Send | Verify | Wait | Recall | Abandon | LookUp | Load | Remember | Write | Finish
