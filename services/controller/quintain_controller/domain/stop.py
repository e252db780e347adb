"""When a search ends before its budget is used up: a function of the told results alone."""

from __future__ import annotations

from quintain_controller.domain.model import Candidate, Direction, PartScore, SearchContext, StopRules

REACHED = "stopped"  # how the reason of such an end begins


class StopWatch:
    """Is told every result in order, and says whether a rule was met: then it stays met, whatever what was under way
    brings. Not thread safe."""

    def __init__(self, rules: StopRules, context: SearchContext) -> None:
        self._rules, self._context = rules, context
        self._best: PartScore | None = None
        self._since_best = 0
        self.reason: str | None = None  # why the search ends; None: it goes on

    def tell(self, candidate: Candidate, new_best: bool) -> None:
        if new_best:
            self._best, self._since_best = candidate.train, 0
        elif candidate.plan is not None:  # seed policies are no attempts
            self._since_best += 1
        if self.reason is None:
            self.reason = self._met()

    def _met(self) -> str | None:
        rules, best = self._rules, self._best
        if rules.near_bound is not None and best is not None:
            if best.bound_score is None:
                return f"{REACHED}: it was to end near the bound, but the suite has no provable bound"
            share = self._share(best.score, best.bound_score)
            if share is not None and share >= rules.near_bound:
                return f"{REACHED}: {share:.4%} of the bound is reached, {rules.near_bound:.6%} was asked for"
        if rules.score is not None and best is not None and self._reaches(best.score, rules.score):
            return f"{REACHED}: score {best.score:.6g} is reached, {rules.score:.6g} was asked for"
        most = rules.candidates_without_improvement
        if most is not None and self._since_best >= most:
            return f"{REACHED}: {self._since_best} candidates in a row were not better than the best"
        return None

    def _reaches(self, score: float, wanted: float) -> bool:
        return self._context.greater_is_better(score) >= self._context.greater_is_better(wanted)

    def _share(self, score: float, bound: float) -> float | None:
        part, whole = (bound, score) if self._context.score_direction is Direction.MINIMIZE else (score, bound)
        return part / whole if whole else None
