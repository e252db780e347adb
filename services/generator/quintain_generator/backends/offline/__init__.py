"""The offline backend: proposes policies without any model, from the grammar that a simulator offers.

Needs no key, costs nothing, gives the same reply to the same task, and keeps nothing between calls.
"""

from __future__ import annotations

import asyncio
import functools

from quintain.plugins.backend import (
    Backend,
    BackendCall,
    BackendReply,
    CallOutcome,
    Capabilities,
    Operator,
    Rejection,
    Task,
    Usage,
)
from quintain.plugins.grammar import Grammar
from quintain_generator.backends.offline.propose import Proposal, propose

__all__ = ["OfflineBackend", "Proposal", "propose"]


class OfflineBackend(Backend):
    """See `quintain.plugins.backend.Backend`. Stateless beside a cache of parsed grammars."""

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            operators=frozenset(Operator) - {Operator.AGENT},
            deterministic=True,
            priced=False,
            prompt=False,
            repeatable=True,
        )

    async def generate(self, call: BackendCall) -> BackendReply:
        try:
            proposal = await asyncio.to_thread(_propose, call.task)
        except ValueError as error:  # a grammar that does not work, or nothing to start from
            return BackendReply(CallOutcome.OK, rejection=Rejection.NO_CODE, detail=str(error), usage=Usage())
        return BackendReply(
            CallOutcome.OK, source=proposal.source, rationale=proposal.rationale, usage=Usage(), model="offline"
        )


def _propose(task: Task) -> Proposal:
    return propose(
        _grammar(task.simulator.grammar) if task.simulator.grammar else None,
        task.parents,
        task.inspirations,
        task.operator,
        task.seed,
        history=task.history,
        best_score=task.best_score,
        baselines=tuple(baseline.source for baseline in task.simulator.baselines),
    )


@functools.lru_cache(maxsize=16)
def _grammar(text: str) -> Grammar:
    return Grammar.from_json(text)
