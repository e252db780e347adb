"""Replay: run the strategy again on the recorded generations, verify every policy again, compare bit for bit."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from quintain.backoff import Backoff
from quintain.errors import Internal, QuintainError
from quintain_controller.domain import retry
from quintain_controller.domain.model import (
    HELD_OUT,
    TRAIN,
    Aggregation,
    Candidate,
    CandidateState,
    Gate,
    GenerationRequest,
    Screen,
    SearchContext,
    SearchState,
    VerdictStatus,
    Verification,
)
from quintain_controller.domain.planner import NotReproduced, verified
from quintain_controller.domain.promotion import GateAnswer, LoadCandidates, Promotion, promote
from quintain_controller.domain.records import CandidateRecord, SearchRecord
from quintain_controller.ports import Verifier
from quintain_controller.usecases.async_store import AsyncStore
from quintain_controller.usecases.requests import remake_request
from quintain_controller.usecases.strategies import make_planner
from quintain_controller.usecases.tools import Tools

_PAGE = 200
DEFAULT_PARALLEL = 2
_BACKOFF = Backoff(first_seconds=0.5, most_seconds=5.0)
_MOST_TRIES = 8


@dataclass(slots=True)
class ReplayReport:
    """Counts of what was compared and equal; `differences` says each thing that was not, one line each, and `differed`
    heard of each."""

    search_id: str
    differed: Callable[[str], None]
    candidates: int = 0
    plans_equal: int = 0
    requests_equal: int = 0
    requests: int = 0
    verdicts_equal: int = 0
    verdicts: int = 0
    tool_calls: int = 0
    tool_calls_equal: int = 0
    winner_number: int | None = None
    winner_equal: bool = False
    differences: list[str] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        return not self.differences

    def differs(self, what: str) -> None:
        self.differences.append(what)
        self.differed(what)


@dataclass(frozen=True, slots=True)
class Replays:
    """Replays searches of a store with a verifier. `encode` makes a generation request's bytes."""

    store: AsyncStore
    verifier: Verifier
    encode: Callable[[SearchContext, GenerationRequest], bytes]

    async def run(
        self,
        search_id: str,
        *,
        parallel: int = DEFAULT_PARALLEL,
        progress: Callable[[int, int], None] = lambda _done, _total: None,
        differed: Callable[[str], None] = lambda _difference: None,
    ) -> ReplayReport:
        """Compare a search with a fresh run over its recorded generations; calls no generator and writes nothing.

        `parallel` bounds verifications in flight, `progress` is told verifications done and in all, `differed` each
        difference as soon as it is known. A search that is under way is compared as far as it has come, its winner only
        if it is finished. Raises NotFound, and what the verifier raises.
        """
        store, verifier = self.store, _Again(self.verifier)
        record = await store(store.blocking.search, search_id)
        report = ReplayReport(search_id, differed)
        stored: list[CandidateRecord] = []
        while page := await store(store.blocking.candidate_page, search_id, len(stored) - 1, _PAGE):
            for candidate in page:
                stored.append(await store(store.blocking.candidate, search_id, candidate.number))
        report.candidates = len(stored)
        again = await _verify_again(record, stored, verifier, report, parallel, progress)
        await _compare_requests(store, record, stored, self.encode, report)
        await _use_tools_again(store, self.verifier, record, stored, report, parallel)
        await _run_again(record, stored, again, verifier, report)
        return report


class _Again:
    """Really runs policies again: what the verifier has on record proves nothing. Short troubles are waited for."""

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier
        self.decode = verifier.decode

    async def verify(
        self,
        record: SearchRecord,
        source: str,
        parts: Sequence[str],
        *,
        check_determinism: bool = False,
        confirm: bool = False,
        screen: Screen | None = None,
    ) -> Verification:
        failures = internal = 0
        normalized = record.context.aggregation is Aggregation.MEAN_NORMALIZED
        while True:
            try:
                return await self._verifier.verify(
                    record.spec,
                    source,
                    parts,
                    check_determinism=check_determinism,
                    confirm=confirm,
                    ignore_cache=True,
                    scenarios=screen.scenarios if screen is not None else (),
                    stop_below=screen.to_reach if screen is not None and normalized else None,
                )
            except QuintainError as error:
                failures, internal = failures + 1, internal + isinstance(error, Internal)
                decision = retry.after("verifier", error, failures, internal, _BACKOFF)
                if not isinstance(decision, retry.RetryLater) or failures >= _MOST_TRIES:
                    raise
                await asyncio.sleep(decision.seconds)


async def _verify_again(
    record: SearchRecord,
    stored: list[CandidateRecord],
    verifier: _Again,
    report: ReplayReport,
    parallel: int,
    progress: Callable[[int, int], None],
) -> list[Candidate]:
    """The candidates with fresh verdicts, each compared with the recorded one."""
    room = asyncio.Semaphore(parallel)
    work = [(item, part) for item in stored for part in (TRAIN, HELD_OUT) if _record_of(item, part) is not None]
    fresh: dict[tuple[int, str], Verification] = {}

    async def one(item: CandidateRecord, part: str) -> None:
        screen = _screen_of(item.candidate) if part == TRAIN else None
        async with room:
            verification = await verifier.verify(record, item.source or "", [part], screen=screen)
        number = item.candidate.number
        fresh[number, part] = verification
        progress(len(fresh), len(work))
        before = verifier.decode(_record_of(item, part) or b"")
        if part == HELD_OUT and before.train is not None:
            return  # made by a gate together with train: the gates are run again below
        report.verdicts += 1
        if verification.identity == before.identity:
            report.verdicts_equal += 1
        else:
            report.differs(f"candidate {number}: {part} verdict {before.digest} became {verification.digest}")

    await asyncio.gather(*(one(item, part) for item, part in work))
    candidates: list[Candidate] = []
    for item in stored:
        candidate = item.candidate
        train, held_out = fresh.get((candidate.number, TRAIN)), fresh.get((candidate.number, HELD_OUT))
        looked_at = _screen_of(candidate) is not None  # the same verdict of a look means the same end
        if train is not None and candidate.state is CandidateState.VERIFIED and not looked_at:
            parent = candidates[candidate.plan.parents[0]] if candidate.plan is not None else None
            candidate = verified(candidate, train, parent, record.context)
        candidates.append(replace(candidate, held_out=held_out.held_out) if held_out is not None else candidate)
    return candidates


def _screen_of(candidate: Candidate) -> Screen | None:
    """What was looked at of a candidate that was not run on everything."""
    stopped = candidate.status is VerdictStatus.STOPPED_EARLY
    return candidate.plan.screen if stopped and candidate.plan is not None else None


def _record_of(item: CandidateRecord, part: str) -> bytes | None:
    return item.verdict if part == TRAIN else item.held_out


async def _compare_requests(
    store: AsyncStore,
    record: SearchRecord,
    stored: list[CandidateRecord],
    encode: Callable[[SearchContext, GenerationRequest], bytes],
    report: ReplayReport,
) -> None:
    for item in stored:
        if item.candidate.plan is None:
            continue
        report.requests += 1
        wanted = await store(remake_request, store.blocking, record, item.candidate)
        digest = hashlib.sha256(encode(record.context, wanted)).hexdigest()
        if digest == item.candidate.request_digest:
            report.requests_equal += 1
        else:
            report.differs(f"candidate {item.candidate.number}: the request is made differently now")


async def _use_tools_again(
    store: AsyncStore,
    verifier: Verifier,
    record: SearchRecord,
    stored: list[CandidateRecord],
    report: ReplayReport,
    parallel: int,
) -> None:
    """What tools said in conversations, once more; what depended on the time that was left is taken as it is."""
    room = asyncio.Semaphore(parallel)

    async def one(item: CandidateRecord) -> None:
        plan, options = item.candidate.plan, record.spec.agent
        assert plan is not None, "only planned candidates have conversations"
        assert options is not None, "only searches with conversations plan any"
        tools = Tools(store, verifier, record, plan, options, ignore_cache=True, place=room)
        for position, use in enumerate(item.tools):
            if not use.repeatable:
                continue
            report.tool_calls += 1
            again = await tools.use(use.call, item.tools[:position])
            if (again.content, again.failed, again.runs) == (use.content, use.failed, use.runs):
                report.tool_calls_equal += 1
            else:
                which = f"candidate {item.candidate.number}: tool call {use.call.call_id} ({use.call.name})"
                report.differs(f"{which} says something else now")

    await asyncio.gather(*(one(item) for item in stored if item.tools))


async def _run_again(
    record: SearchRecord,
    stored: list[CandidateRecord],
    again: list[Candidate],
    verifier: _Again,
    report: ReplayReport,
) -> None:
    """The strategy from the first result to the last, then the gates."""
    planner = make_planner(record.spec, record.context)
    try:
        planner.restore(again)
    except NotReproduced as error:
        report.differs(f"the strategy plans differently: {error}")
        report.plans_equal = error.number
        return
    report.plans_equal = len(again)
    planner.tell_up_to(record.told)
    best = planner.best.number if planner.best is not None else None
    if best != record.best_number:
        report.differs(f"the best candidate was {record.best_number} and is {best} now")
    if record.state is not SearchState.FINISHED:
        return
    sources = {item.candidate.number: item.source or "" for item in stored}

    promotion = await _promote(record, planner.rank(), planner.new_bests, again, sources, verifier)
    winner = promotion.winner.number if promotion.winner is not None else None
    report.winner_number = winner
    report.winner_equal = winner == record.winner_number
    if not report.winner_equal:
        report.differs(f"the winner was {record.winner_number} and is {winner} now")
    said = {(gate.name, gate.number): gate for gate in record.gates}
    now = {(gate.name, gate.number): gate for gate in promotion.gates}
    for name, number in {**said, **now}:
        before, after = said.get((name, number)), now.get((name, number))
        if before != after:
            report.differs(f"gate {name} of candidate {number}: was {_said(before)}; is {_said(after)} now")


async def _promote(
    record: SearchRecord,
    ranking: list[int],
    bests: Sequence[int],
    candidates: list[Candidate],
    sources: dict[int, str],
    verifier: _Again,
) -> Promotion:
    """The gates once more, on the candidates as they were verified again."""
    scored = [candidates[n] for n in sorted({0, *bests}) if candidates[n].held_out is not None]
    steps = promote(record.spec, record.context, ranking, candidates[0], scored)
    answer: GateAnswer = None
    while True:
        try:
            needed = steps.send(answer)
        except StopIteration as end:
            promotion: Promotion = end.value
            return promotion
        if isinstance(needed, LoadCandidates):
            answer = {number: candidates[number] for number in needed.numbers}
        else:
            source = sources[needed.number]
            answer = await verifier.verify(
                record,
                source,
                needed.parts,
                check_determinism=needed.check_determinism,
                confirm=needed.confirm,
            )


def _said(gate: Gate | None) -> str:
    return "not asked" if gate is None else f"{'passed' if gate.passed else 'refused'} ({gate.detail})"
