"""Best of N: independent rewrites of the best seed policy. The baseline that every cleverer strategy must beat."""

from __future__ import annotations

from quintain.plugins.strategy import Ask, Note, Operator, Options, Problem, Result, Strategy, StrategyPlugin
from quintain_controller.domain.strategies.common import BestSoFar, in_turn


class BestOfNOptions(Options):
    pass


class BestOfN(Strategy):
    def __init__(self, problem: Problem, options: BestOfNOptions) -> None:
        self._problem = problem
        self._progress = BestSoFar(50, options.stop_after_stagnation)
        self._seed = 0

    def tell(self, result: Result) -> Note | None:
        note = self._progress.tell(result, "none: samples are independent")
        if result.number < self._problem.seeds and self._progress.best is not None:
            self._seed = self._progress.best.number
        return note

    def ask(self, number: int, seed: int) -> Ask:
        backend, operator = in_turn(self._problem.backends, number, (Operator.FULL,))
        return Ask(backend, operator, (self._seed,))

    def stop(self) -> str | None:
        return self._progress.stop()


class BestOfNPlugin(StrategyPlugin[BestOfNOptions]):
    name = "best-of-n"
    description = "Independent rewrites of the best seed policy; the best of them wins."
    options = BestOfNOptions

    def create(self, problem: Problem, options: BestOfNOptions) -> BestOfN:
        return BestOfN(problem, options)


plugin = BestOfNPlugin()
