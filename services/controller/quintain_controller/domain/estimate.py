"""What a budget is good for, before anything is spent: an estimate, what is doubtful about it, and when it is none."""

from __future__ import annotations

from dataclasses import dataclass, replace

from quintain.plugins.strategy import Role
from quintain_controller.domain.model import AGENT, NANO, BackendProfile, Charge, SearchSpec

# Before anything is known of a model's habits: an input of the bounded prompt's size, and an answer.
_FIRST_INPUT_TOKENS = 16_000
_FIRST_OUTPUT_TOKENS = 16_000
# From so many requests on, habits are known. What is reserved by them has a quarter of room above the highest.
ENOUGH_MEASURED = 3
_FEW_CANDIDATES = 10


@dataclass(frozen=True, slots=True)
class Habits:
    """The most that a request of one backend has cost within this search, and of how many."""

    count: int = 0
    usd_nano: int = 0

    def told(self, charge: Charge) -> Habits:
        return Habits(self.count + 1, max(self.usd_nano, charge.usd_nano + charge.at_risk_usd_nano))


def converses(backend: BackendProfile, spec: SearchSpec) -> bool:
    """Whether the backend's candidates are made in conversations."""
    return spec.agent is not None and AGENT in backend.operators


def bound_usd(backend: BackendProfile, spec: SearchSpec) -> int | None:
    """The most that one request may cost; None if nobody knows."""
    if not backend.priced:
        return spec.assume_usd_nano
    bound = backend.max_request_cost_usd_nano
    if bound is not None and spec.agent is not None and converses(backend, spec):
        bound *= spec.agent.max_turns
    if bound is not None and spec.allowance.max_cost_usd is not None:
        bound = min(bound, round(spec.allowance.max_cost_usd * NANO))
    return bound


def reserved_usd(backend: BackendProfile, spec: SearchSpec, habits: Habits) -> int:
    """What is reserved for one request: by what requests of this backend have cost, in this search or before it; the
    most that it may cost while that is not known, and never more."""
    bound = bound_usd(backend, spec) or 0
    if not backend.priced:
        return bound
    if habits.count >= ENOUGH_MEASURED:
        return min(bound, _with_room(habits.usd_nano))
    known = backend.measured_requests >= ENOUGH_MEASURED and not converses(backend, spec)  # of single answers
    if known and backend.high_cost_usd_nano is not None:
        return min(bound, _with_room(max(backend.high_cost_usd_nano, habits.usd_nano)))
    return bound


def reserved_tokens(backend: BackendProfile, spec: SearchSpec, most_tokens: int) -> int:
    """An estimate: `most_tokens` is the longest answer so far, with its prompt."""
    if most_tokens:
        return _with_room(most_tokens)
    if backend.priced and bound_usd(backend, spec) == 0:
        return 0  # free, so most often not a model that counts tokens
    if backend.measured_requests >= ENOUGH_MEASURED and backend.high_tokens and not converses(backend, spec):
        return _with_room(backend.high_tokens)
    first = _FIRST_INPUT_TOKENS + (spec.allowance.max_output_tokens or _FIRST_OUTPUT_TOKENS)
    return first * spec.agent.max_turns if spec.agent is not None and converses(backend, spec) else first


def _with_room(most: int) -> int:
    return most * 5 // 4


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds that a candidate took in earlier searches of the same kind, all in parallel; `searches`: how many."""

    seconds: float
    searches: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """Of a whole search. None: nothing is known to estimate it by. `warnings` are whole sentences."""

    candidates: int | None
    usd_nano: int | None
    seconds: float | None
    warnings: tuple[str, ...] = ()


def estimate(spec: SearchSpec, backends: tuple[BackendProfile, ...], pace: Pace | None) -> Estimate:
    """What the budget will do, by the backends' habits. Of several backends the dearest counts."""
    budget = spec.budget
    typical = _typical_usd(spec, backends)
    counts = [
        budget.candidates,
        None if budget.verifications is None else max(0, budget.verifications - len(spec.seed_policies)),
        None if budget.usd_nano is None or not typical else budget.usd_nano // typical,
        None if budget.wall_seconds is None or pace is None else int(budget.wall_seconds / pace.seconds),
    ]
    known = [count for count in counts if count is not None]
    candidates = min(known) if known else None
    usd = None if candidates is None or typical is None else candidates * typical
    seconds = None if candidates is None or pace is None else candidates * pace.seconds
    if budget.wall_seconds is not None:
        seconds = min(seconds, budget.wall_seconds) if seconds is not None else budget.wall_seconds
    made = Estimate(candidates, usd, seconds)
    return replace(made, warnings=tuple(_warnings(spec, backends, made)))


def too_small(spec: SearchSpec, backends: tuple[BackendProfile, ...]) -> tuple[str, str] | None:
    """The bound of the budget that has no room for a single request, and what would be right."""
    budget = spec.budget
    dearest = max(_mains(backends), key=lambda b: reserved_usd(b, spec, Habits()))
    usd = reserved_usd(dearest, spec, Habits())
    if budget.usd_nano is not None and usd > budget.usd_nano:
        measured = (
            f"requests of {dearest.name} have cost up to {_dollars(dearest.high_cost_usd_nano)}"
            if dearest.measured_requests >= ENOUGH_MEASURED and dearest.high_cost_usd_nano is not None
            else f"nothing is known yet of what {dearest.name} usually costs, and one request may cost up to "
            f"{_dollars(usd)}; most cost far less"
        )
        return "usd", (
            f"{_dollars(budget.usd_nano)} has no room for one request: {measured}. Allow at least {_dollars(usd)}, or "
            "bound a request by allowance.max_cost_usd"
        )
    tokens = max(reserved_tokens(backend, spec, 0) for backend in _mains(backends))
    if budget.tokens is not None and tokens > budget.tokens:
        return "tokens", f"{budget.tokens} has no room for one request, which is counted as {tokens} until one was made"
    return None


def _mains(backends: tuple[BackendProfile, ...]) -> tuple[BackendProfile, ...]:
    """Without those that are asked rarely, or for nothing: the search goes on where the budget has no room for them."""
    return tuple(b for b in backends if b.role == Role.MAIN.value) or backends


def _typical_usd(spec: SearchSpec, backends: tuple[BackendProfile, ...]) -> int | None:
    """What one request usually costs, of the backends that are asked most of the time; None if that is not known of all
    of them."""
    costs: list[int] = []
    for backend in _mains(backends):
        bound = bound_usd(backend, spec)
        measured = backend.measured_requests >= ENOUGH_MEASURED and not converses(backend, spec)
        cost = backend.typical_cost_usd_nano if measured else None
        if not backend.priced or bound == 0:
            cost = bound
        if cost is None:
            return None
        costs.append(cost)
    return max(costs)


def _warnings(spec: SearchSpec, backends: tuple[BackendProfile, ...], made: Estimate) -> list[str]:
    found: list[str] = []
    if made.candidates is not None and made.candidates < _FEW_CANDIDATES:
        found.append(f"the budget is good for about {made.candidates} candidates: hardly a search")
    free = [b.name for b in backends if b.role == Role.SWEEP.value]
    if free and made.candidates is not None and spec.budget.candidates is None and spec.budget.verifications is None:
        found.append(f"that counts answers that cost something; what {', '.join(free)} does for nothing comes on top")
    elif free and spec.budget.usd_nano is None:
        found.append(
            f"what {', '.join(free)} does for nothing counts as well, and will be most of it: bound dollars instead"
        )
    if slow := [b.name for b in backends if b.batch]:
        found.append(
            f"{', '.join(slow)} answers in its provider's batches, at the batch price: an answer may take up to a day, "
            f"and {spec.parallel_generations} are waited for at the same time"
        )
    for backend in backends:
        held = reserved_usd(backend, spec, Habits())
        if backend.role == Role.STRONG.value and spec.budget.usd_nano is not None and held > spec.budget.usd_nano:
            found.append(f"{backend.name} is not asked until its requests are known to cost less than {_dollars(held)}")
    unmeasured = [b.name for b in backends if b.priced and bound_usd(b, spec) and b.measured_requests < ENOUGH_MEASURED]
    if spec.budget.usd_nano is not None and unmeasured:
        reserved = max(reserved_usd(b, spec, Habits()) for b in _mains(backends))
        at_once = spec.budget.usd_nano // reserved if reserved else spec.window
        note = (
            f"what {', '.join(unmeasured)} usually costs is not known yet; each request has {_dollars(reserved)} held"
        )
        if at_once < spec.window:
            note += f", so that {at_once} of {spec.window} go at once until {ENOUGH_MEASURED} were answered"
        found.append(note)
    return found


def _dollars(nano: int | None) -> str:
    return f"{(nano or 0) / NANO:.2f} dollars" if (nano or 0) >= NANO // 100 else f"{(nano or 0) / NANO:.6f} dollars"
