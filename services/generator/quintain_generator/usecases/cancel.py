"""Giving a request up whose answer is made in a batch."""

from __future__ import annotations

import asyncio

from quintain.errors import QuintainError
from quintain.plugins.backend import BackendReply
from quintain.service.logs import get_logger
from quintain_generator.domain.generation import Claim, Generation, GenerationOutcome, prompt_of
from quintain_generator.domain.judge import Judgement
from quintain_generator.ports import GenerationStore
from quintain_generator.usecases.batches import AnswerLater, HandedIn
from quintain_generator.usecases.endpoint import BackendEndpoint
from quintain_generator.usecases.recorder import Recorder
from quintain_generator.usecases.waiting import Deadline

log = get_logger("cancel")

_POLL_SECONDS = 1.0  # somebody waits for the end


async def end_unanswered(
    claim: Claim, endpoint: BackendEndpoint, store: GenerationStore, recorder: Recorder, deadline: Deadline
) -> Generation | None:
    """Stop the batch of a request that this process owns, and record its result with all that it has cost. None if that
    is not possible in time, or the request is in the middle of a call of another kind. Raises QuintainError."""
    calls, reply = list(claim.calls), None
    if any(call.reply is None and not call.waits for call in calls):
        return None
    if calls and calls[-1].waits:
        reply = await _stopped(HandedIn(endpoint, store, claim.key.request_id, calls, deadline), deadline)
        if reply is None:
            return None
        record = calls.pop()
        calls.append(await recorder.settle(claim.key, endpoint, record, reply, calls))
    judgement = Judgement(GenerationOutcome.CANCELLED, detail="given up by its caller before it was answered")
    return await recorder.record(endpoint, claim.key, tuple(calls), prompt_of(calls), judgement, reply)


async def _stopped(handed_in: HandedIn, deadline: Deadline) -> BackendReply | None:
    """What came of the call: the provider may have answered it before it heard that it should not."""
    told = False
    while True:
        pause = _POLL_SECONDS
        try:
            return await handed_in.reply()
        except AnswerLater as later:
            pause = min(pause, later.seconds)
            if handed_in.batch_id and not told:
                told = await _told(handed_in)
        except QuintainError as error:
            log.info("not known what came of a batch", batch_id=handed_in.batch_id, reason=error.message)
        if pause >= deadline.left():
            return None
        await asyncio.sleep(pause)


async def _told(handed_in: HandedIn) -> bool:
    """Whether the provider took the cancellation. It refuses that of a batch that has just ended."""
    try:
        await handed_in.cancel()
    except QuintainError as error:
        log.info("a batch was not cancelled", batch_id=handed_in.batch_id, reason=error.message)
        return False
    return True
