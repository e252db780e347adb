"""The one order in which results are told and candidates are asked for, whatever the order work finishes in.

Candidate n is asked for as soon as it may be under way: when all but the last ``window - 1`` results before it were
told. Asking comes before telling wherever both are possible, so the sequence of calls is a function of the results, and
each plan records after how many results it was made. Restoring a search repeats that sequence from the stored
candidates.
"""

from __future__ import annotations

import textwrap
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace

from quintain.plugins.strategy import Ask, Note, Result, Strategy
from quintain_controller.domain.estimate import Habits, converses, reserved_tokens, reserved_usd
from quintain_controller.domain.events import DomainEvent, NewBest, Stagnation
from quintain_controller.domain.ledger import Ledger
from quintain_controller.domain.lifecycle import BUDGET_USED_UP
from quintain_controller.domain.model import (
    AGENT,
    NANO,
    Attempt,
    BackendProfile,
    Budget,
    Candidate,
    CandidateState,
    Charge,
    Generation,
    GenerationOutcome,
    PartScore,
    Plan,
    Screen,
    SearchContext,
    SearchSpec,
    VerdictStatus,
    Verification,
    candidate_seed,
)
from quintain_controller.domain.notebook import Failures, Notebook, compared
from quintain_controller.domain.screening import behavior, refusal, screen_for
from quintain_controller.domain.stop import StopWatch
from quintain_controller.domain.tally import Tally

_SCREENS = 2  # the rules since which decisions are compared before everything is run
_SCORES_KEPT = 256
_IMPROVERS_IN_HISTORY = 20
CHAPTER = 32  # attempts: how prompts group them, for what is cached of them
_RATIONALE_CHARACTERS = 300
_HYPOTHESIS_CHARACTERS = 500
_MOST_PREDICTIONS = 8


class NotReproduced(Exception):
    """The strategy does not repeat a recorded plan: the installed version differs from the one that made it."""

    def __init__(self, number: int, recorded: Plan, made: Plan) -> None:
        super().__init__(f"candidate {number}: recorded {recorded}, the installed strategy makes {made}")
        self.number = number


@dataclass(frozen=True, slots=True)
class Asked:
    candidate: Candidate


@dataclass(frozen=True, slots=True)
class Told:
    candidate: Candidate
    events: tuple[DomainEvent, ...]
    new_best: bool


@dataclass(frozen=True, slots=True)
class Waiting:
    pass


@dataclass(frozen=True, slots=True)
class Done:
    reason: str


class Planner:
    """State of one search between the store and the strategy. Not thread safe."""

    def __init__(self, spec: SearchSpec, context: SearchContext, strategy: Strategy, history: int) -> None:
        self._spec, self._context, self._strategy = spec, context, strategy
        self._backends = {backend.name: backend for backend in context.backends}
        self._settled: dict[int, Candidate] = {}
        self._history = history
        self._recent: deque[int] = deque(maxlen=history + CHAPTER - 1 if history and self._chapters else history)
        self._improvers: deque[int] = deque(maxlen=_IMPROVERS_IN_HISTORY)
        self._scores: dict[int, PartScore] = {}  # of the latest candidates that ran to the end
        self._same: dict[str, int] = {}  # the first candidate that decides so everywhere
        self._behaviors: dict[str, int] = {}  # the first candidate that decides so where a look is taken
        self._failures = Failures()
        self._most_tokens = 0
        self._habits: dict[str, Habits] = {}
        self._tally = Tally()
        self._attempts: dict[int, Attempt] = {}
        self._stop_watch = StopWatch(spec.stop, context)
        self.ledger = Ledger()
        self.asked = 0
        self.told = 0
        self.best: Candidate | None = None
        self.new_bests: list[int] = []
        self._first: Candidate | None = None
        self._notebook = Notebook()
        self.ranking: list[tuple[tuple[float, ...], int]] = []  # of candidates that a gate may look at

    def begin(self) -> list[Candidate]:
        """The seed policies as candidates, ready to be verified."""
        seeds = [
            Candidate(number, CandidateState.GENERATED, None, summary="seed policy")
            for number in range(len(self._spec.seed_policies))
        ]
        for seed in seeds:
            self.record(seed)
        self.asked = len(seeds)
        return seeds

    def record(self, candidate: Candidate) -> None:
        """A candidate came further on its way (or got its request's digest)."""
        self.ledger.record(candidate)
        if candidate.state.settled:
            self._settled[candidate.number] = candidate

    def next(self, budget: Budget) -> Asked | Told | Waiting | Done:
        """The next step; call again until it is `Waiting` or `Done`."""
        refusal = ""
        if self.told >= len(self._spec.seed_policies) and self.asked < self.told + self._spec.window:
            asked = self._ask(budget)
            if isinstance(asked, Asked):
                return asked
            refusal = asked
        return self.tell_next() or (Waiting() if self.told < self.asked else Done(refusal + self._tally.what_came()))

    def tell_next(self) -> Told | None:
        """Tell the next result if it is there, without asking for more."""
        candidate = self._settled.pop(self.told, None)
        return self._tell(candidate) if candidate is not None else None

    def restore(self, candidates: Iterable[Candidate]) -> None:
        """Repeat what was recorded, in order of number. Raises NotReproduced."""
        for candidate in candidates:
            if candidate.plan is not None:
                self.tell_up_to(candidate.plan.after)
                if candidate.plan.narrowed:
                    self._strategy.narrow(candidate.plan.narrowed)
                made = self._plan(candidate.number, candidate.plan.narrowed)
                # The words of lessons belong to the version that wrote them down.
                if replace(made, lessons=candidate.plan.lessons) != candidate.plan:
                    raise NotReproduced(candidate.number, candidate.plan, made)
            self.asked = candidate.number + 1
            self.record(candidate)

    def tell_up_to(self, count: int) -> None:
        """Tell recorded results until `count` are told."""
        while self.told < count:
            if self.tell_next() is None:
                raise ValueError(f"candidate {self.told} is not settled, but its result was told")

    @property
    def _chapters(self) -> bool:
        """Whether a digest begins with a whole chapter of attempts, so that what a prompt says of it stays cached."""
        return self._context.request_version >= 1

    def attempts(self, plan: Plan) -> tuple[Attempt, ...]:
        return tuple(self._attempts[number] for number in plan.history)

    def lessons(self, plan: Plan) -> tuple[str, ...]:
        """What the request of the plan that was just made says of earlier candidates."""
        return (*plan.lessons, *self._notebook.texts(plan.notebook))

    @property
    def first(self) -> Candidate:
        """Candidate 0 with its verdict. Nothing is asked for before it was told."""
        assert self._first is not None, "nothing was told yet"
        return self._first

    def rank(self) -> list[int]:
        """Candidates with a finished train verdict that were not seeds, best first."""
        return [number for fitness, number in sorted(self.ranking, key=lambda r: (r[0], -r[1]), reverse=True)]

    def result(self, candidate: Candidate) -> Result:
        """What the strategy is told of a candidate."""
        train = candidate.train
        finished = candidate.status is VerdictStatus.OK and train is not None
        return Result(
            number=candidate.number,
            fitness=(self._context.greater_is_better(train.score), train.normalized) if finished and train else None,
            failed=candidate.state is CandidateState.VERIFIED
            and not finished
            and candidate.status is not VerdictStatus.STOPPED_EARLY,
            values=tuple(train.values.get(name, 0.0) for name in self._context.train) if train else (),
            metrics=candidate.metrics,
            behavior=candidate.behavior,
            cost_usd=candidate.charge.usd_nano / NANO,
            objectives=self._objectives(candidate) if finished else (),
        )

    def _objectives(self, candidate: Candidate) -> tuple[float, ...]:
        """The score and the further objectives, turned so that greater is better; empty unless there are all of
        them."""
        axes, train = self._context.axes, candidate.train
        if not axes or not candidate.further or train is None:
            return ()
        further = (axis.greater_is_better(value) for axis, value in zip(axes, candidate.further, strict=True))
        return (self._context.greater_is_better(train.score), *further)

    # ------------------------------------------------------------------------------------------------------- asking

    def _ask(self, budget: Budget) -> Asked | str:
        stop = self._strategy.stop()
        if stop is not None:
            return f"the strategy stopped: {stop}"
        if self._stop_watch.reason is not None:
            return self._stop_watch.reason
        # The dearest backend that the strategy may choose must fit: the stop must not depend on its choice.
        charges = {backend.name: self._reservation(backend) for backend in self._context.backends}
        charge = Charge(
            usd_nano=max(c.usd_nano for c in charges.values()),
            tokens=max(c.tokens for c in charges.values()),
            tool_runs=max(c.tool_runs for c in charges.values()),
            tool_seconds=max(c.tool_seconds for c in charges.values()),
        )
        shortage = self.ledger.fits(charge, budget)
        narrowed: tuple[str, ...] = ()
        if shortage is not None:
            narrowed = tuple(name for name, own in charges.items() if self.ledger.fits(own, budget) is None)
            if not narrowed or not self._strategy.narrow(narrowed):
                return f"{BUDGET_USED_UP}: {shortage.bound}: {shortage.detail}"
        number = self.asked
        plan = self._plan(number, narrowed)
        self.asked += 1
        reserved = self._reservation(self._backends[plan.backend])
        candidate = Candidate(number, CandidateState.REQUESTED, plan, reserved=reserved)
        self.record(candidate)
        return Asked(candidate)

    def _plan(self, number: int, narrowed: tuple[str, ...]) -> Plan:
        seed = candidate_seed(self._spec.seed, number)
        ask = self._strategy.ask(number, seed)
        unknown = [n for n in (*ask.parents, *ask.inspirations) if not 0 <= n < self.told]
        if unknown or not ask.parents or ask.backend not in (narrowed or self._backends):
            raise ValueError(f"strategy {self._spec.strategy} asked for candidate {number} in a way nobody can: {ask}")
        begin = max(0, self.told - self._history) // CHAPTER * CHAPTER if self._chapters else 0
        history = tuple(sorted({*(n for n in self._recent if n >= begin), *self._improvers}))
        return Plan(
            backend=ask.backend,
            operator=AGENT if converses(self._backends[ask.backend], self._spec) else ask.operator.value,
            parents=ask.parents,
            inspirations=ask.inspirations,
            island=ask.island,
            seed=seed,
            after=self.told,
            history=history,
            lessons=self._failures.texts(),
            best=self.best.number if self.best else None,
            narrowed=narrowed,
            notebook=self._notebook.chosen(),
            screen=self._screen(ask),
        )

    def _screen(self, ask: Ask) -> Screen | None:
        """None for a parent that was told too long ago as well."""
        parent = self._scores.get(ask.parents[0]) if ask.only_if_better else None
        return screen_for(self._context.train, parent) if parent is not None else None

    def with_twin(self, candidate: Candidate) -> Candidate:
        """The verified candidate; one that decides everywhere as an earlier one says so in its line."""
        if self._context.rules < _SCREENS or candidate.plan is None or candidate.status is not VerdictStatus.OK:
            return candidate
        twin = self._same.get(candidate.behavior) if candidate.behavior else None
        if twin is None or twin >= candidate.plan.after:
            return candidate
        scored = _scored(candidate.train) if candidate.train is not None else ""
        said = candidate.summary.removeprefix(scored).lstrip()
        return replace(candidate, summary=f"{scored} The same decisions everywhere as candidate {twin}: {said}".strip())

    def refusal(self, candidate: Candidate, seen: Verification) -> str:
        """Why the candidate is not run on more scenarios than those that were looked at; empty if it is."""
        plan = candidate.plan
        assert plan is not None
        assert plan.screen is not None, "only a candidate with a screen is looked at"
        twin = self._behaviors.get(behavior(self._context.train, seen.decisions), plan.after)
        # Who was told after this candidate was planned may be known here or not, as it happens.
        return refusal(plan.screen, seen, plan.parents[0], twin if twin < plan.after else None)

    def _reservation(self, backend: BackendProfile) -> Charge:
        """What is held of the budget for a request until its result is told: a function of the told results."""
        agent = self._spec.agent if converses(backend, self._spec) else None
        return Charge(
            usd_nano=reserved_usd(backend, self._spec, self._habits.get(backend.name, Habits())),
            tokens=reserved_tokens(backend, self._spec, self._most_tokens),
            tool_runs=agent.max_runs if agent else 0,
            tool_seconds=agent.max_seconds if agent else 0.0,
        )

    # ------------------------------------------------------------------------------------------------------ telling

    def _tell(self, candidate: Candidate) -> Told:
        self.told += 1
        self.ledger.tell(candidate.number)
        self._most_tokens = max(self._most_tokens, candidate.charge.tokens)
        self._tally.tell(candidate)
        if candidate.plan is not None and _was_answered(candidate):
            backend = candidate.plan.backend
            self._habits[backend] = self._habits.get(backend, Habits()).told(candidate.charge)
        if candidate.screened:
            self._behaviors.setdefault(candidate.screened, candidate.number)
        result = self.result(candidate)
        if result.fitness is not None and candidate.behavior:
            self._same.setdefault(candidate.behavior, candidate.number)
        if result.fitness is not None and candidate.train is not None:
            self._scores[candidate.number] = candidate.train
            if len(self._scores) > _SCORES_KEPT:
                del self._scores[next(iter(self._scores))]
        if candidate.number == 0:
            self._first = candidate
        events: list[DomainEvent] = []
        new_best = result.fitness is not None and (
            self.best is None or result.fitness > (self.result(self.best).fitness or ())
        )
        if new_best:
            previous = self.best.train.score if self.best and self.best.train else None
            self.best = candidate
            self.new_bests.append(candidate.number)
            self._tally.improved(candidate)
            self._improvers.append(candidate.number)
            events.append(NewBest(candidate, previous))
        self._stop_watch.tell(candidate, new_best)
        if result.fitness is not None and candidate.plan is not None:
            self.ranking.append((result.fitness, candidate.number))
        if result.failed:
            self._failures.tell(candidate)
        self._remember(candidate)
        self._notebook.tell(candidate)
        note: Note | None = self._strategy.tell(result)
        if note is not None:
            events.append(Stagnation(note.candidates_without_improvement, note.action))
        return Told(candidate, tuple(events), new_best)

    def _remember(self, candidate: Candidate) -> None:
        self._attempts[candidate.number] = attempt(candidate, self._context.request_version)
        self._recent.append(candidate.number)
        if len(self._attempts) > 2 * (_IMPROVERS_IN_HISTORY + (self._recent.maxlen or 0) + 1):
            kept = {*self._recent, *self._improvers}
            self._attempts = {number: a for number, a in self._attempts.items() if number in kept}


def _was_answered(candidate: Candidate) -> bool:
    """Whether a backend's answer was recorded: what it cost says something of the next one."""
    none = (GenerationOutcome.NONE, GenerationOutcome.UNKNOWN, GenerationOutcome.CANCELLED)
    return candidate.outcome not in none


def attempt(candidate: Candidate, request_version: int) -> Attempt:
    """The candidate's line in the run's digest."""
    train = candidate.train
    if train is None:
        return Attempt(candidate.number, None, candidate.summary)
    score = train.score if candidate.status is VerdictStatus.OK else None
    summary = candidate.summary
    if request_version >= 1:
        summary = summary.removeprefix(_scored(train)).lstrip()
    return Attempt(candidate.number, score, summary, train.values)


def answered(candidate: Candidate, generation: Generation, assume_usd_nano: int | None) -> Candidate:
    """The candidate with its backend's answer. `assume_usd_nano` is what an answer without a price is taken to cost;
    else what was reserved, if the backend had a price when the search began, is the most that it can have cost."""
    charge = generation.charge
    if charge.unpriced and assume_usd_nano is not None:
        charge = replace(charge, usd_nano=assume_usd_nano)
    elif charge.unpriced:
        charge = replace(charge, at_risk_usd_nano=max(charge.at_risk_usd_nano, candidate.reserved.usd_nano))
    charge = charge.with_tools_of(candidate.charge)
    usable = generation.outcome is GenerationOutcome.OK
    problem = f"{generation.outcome.name.lower()}: {generation.detail}".rstrip(": ")
    return replace(
        candidate,
        state=CandidateState.GENERATED if usable else CandidateState.REJECTED,
        outcome=generation.outcome,
        charge=charge,
        summary=_first_words((generation.hypothesis or generation.rationale) if usable else problem),
        hypothesis=textwrap.shorten(generation.hypothesis, _HYPOTHESIS_CHARACTERS, placeholder=" ..."),
        predictions=generation.predictions[:_MOST_PREDICTIONS],
    )


def verified(
    candidate: Candidate, verification: Verification, parent: Candidate | None, context: SearchContext
) -> Candidate:
    """The candidate with its train verdict, and what came of its predictions against its first parent. Its line in the
    digest says what was tried, and what came of it."""
    further = [verification.complete_metrics.get(axis.metric) for axis in context.axes] if context.axes else []
    values = tuple(value for value in further if value is not None)
    train = verification.train
    finished = verification.status is VerdictStatus.OK and train is not None
    if finished and train is not None:
        summary = f"{_scored(train)} {candidate.summary}".rstrip()
    else:
        summary = verification.failure or verification.status.name.lower()
    if candidate.number == 0:
        candidate = replace(candidate, references=verification.references)
    return replace(
        compared(candidate, train if finished else None, parent),
        state=CandidateState.VERIFIED,
        status=verification.status,
        train=train,
        verdict_digest=verification.digest,
        metrics=verification.metrics,
        behavior=verification.behavior,
        summary=summary,
        rule=verification.rule,
        further=values if len(values) == len(further) else (),
        screened=behavior(context.train, verification.decisions) if finished and context.rules >= _SCREENS else "",
    )


def stopped(candidate: Candidate, seen: Verification, why: str) -> Candidate:
    """The candidate after a look that was enough. It has no score: what was seen of it is not the whole."""
    return replace(
        candidate,
        state=CandidateState.VERIFIED,
        status=VerdictStatus.STOPPED_EARLY,
        verdict_digest=seen.digest,
        summary=f"{why}, not run on the others. {candidate.summary}".rstrip(),
    )


def _scored(train: PartScore) -> str:
    return f"score {train.score:.6g}, {train.normalized:.1%} of the bound."


def _first_words(text: str) -> str:
    """Of a rationale, as much as a line of the digest has room for."""
    return textwrap.shorten(text, _RATIONALE_CHARACTERS, placeholder=" ...")
