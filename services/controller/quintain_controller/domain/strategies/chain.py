"""The linear chain of the paper: each candidate improves on the one before, with the history in the prompt."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from quintain.plugins.strategy import Ask, Note, Operator, Options, Problem, Result, Strategy, StrategyPlugin
from quintain_controller.domain.strategies.common import BestSoFar, in_turn


class ChainOptions(Options):
    improve: Literal["best", "last"] = Field("best", description="Improve on the best candidate so far, or the last.")
    repairs: int = Field(1, ge=0, le=10, description="How often in a row a failed candidate is sent back for repair.")
    history: int = Field(200, ge=0, le=1000, description="Latest attempts in the digest that an LLM is shown.")


class Chain(Strategy):
    def __init__(self, problem: Problem, options: ChainOptions) -> None:
        self._problem, self._options = problem, options
        self._progress = BestSoFar(20, options.stop_after_stagnation)
        self._last: Result | None = None
        self._last_usable = 0  # the latest with a verdict to improve on
        self._repairs = 0

    def tell(self, result: Result) -> Note | None:
        self._last = result
        self._repairs = self._repairs + 1 if result.failed else 0
        if result.fitness is not None:
            self._last_usable = result.number
        return self._progress.tell(result, "none: the chain goes on")

    def ask(self, number: int, seed: int) -> Ask:
        last, best = self._last, self._progress.best
        if last is not None and last.failed and self._repairs <= self._options.repairs:
            backend, operator = in_turn(self._problem.backends, number, (Operator.REPAIR, Operator.FULL))
            return Ask(backend, operator, (last.number,), (best.number,) if best else ())
        parent = best.number if best and self._options.improve == "best" else self._last_usable
        backend, operator = in_turn(self._problem.backends, number, (Operator.FULL,))
        return Ask(backend, operator, (parent,))

    def stop(self) -> str | None:
        return self._progress.stop()


class ChainPlugin(StrategyPlugin[ChainOptions]):
    name = "chain"
    description = "The paper's linear chain: always improve on the best (or the last) candidate."
    options = ChainOptions
    max_window = 1

    def create(self, problem: Problem, options: ChainOptions) -> Chain:
        return Chain(problem, options)


plugin = ChainPlugin()
