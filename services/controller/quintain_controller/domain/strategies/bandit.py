"""Which backend and operator to ask next: a discounted UCB over (backend, operator) arms that minds the cost."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from quintain.plugins.strategy import BackendInfo, Operator


@dataclass(slots=True)
class _Arm:
    backend: str
    operator: Operator
    pulls: float = 0.0
    reward: float = 0.0
    cost: float = 0.0
    told: float = 0.0


class Bandit:
    """Deterministic. A pull counts when it is made, its reward when it is told, so that requests under way spread out.

    Old rewards fade by `memory` with every result: what helps early (rewriting) is not what helps late. With several
    backends, an arm's reward is divided by its mean cost relative to the dearest, softened by a square root: a model
    that costs a hundred times as much must succeed ten times as often.
    """

    def __init__(
        self,
        backends: tuple[BackendInfo, ...],
        operators: frozenset[Operator],
        explore: float = 0.6,
        memory: float = 0.98,
    ) -> None:
        self._explore = explore
        self._memory = memory
        self._arms = [_Arm(b.name, op) for b in backends for op in b.operators if op in operators]
        if not self._arms:
            names = ", ".join(b.name for b in backends)
            wanted = ", ".join(sorted(op.value for op in operators))
            raise ValueError(f"none of the backends {names} offers any of the operators {wanted}")
        self._asked: dict[int, _Arm] = {}

    def pull(
        self, number: int, allowed: Callable[[Operator], bool] = lambda _: True, backend: str | None = None
    ) -> tuple[str, Operator]:
        """Choose among the arms of `backend` (None: of all) whose operator is `allowed`; if none is, among all."""
        own = [arm for arm in self._arms if backend in (None, arm.backend)]
        arms = [arm for arm in own if allowed(arm.operator)] or own
        total = math.log(1.0 + sum(arm.pulls for arm in arms))
        arm = max(arms, key=lambda a: self._value(a, total))  # the first of equals
        arm.pulls += 1.0
        self._asked[number] = arm
        return arm.backend, arm.operator

    def tell(self, number: int, reward: float, cost_usd: float) -> None:
        """`reward` in [0, 1]. Numbers that were not pulled here are ignored: another rule chose for them."""
        arm = self._asked.pop(number, None)
        if arm is None:
            return
        for other in self._arms:
            other.pulls *= self._memory
            other.reward *= self._memory
            other.told *= self._memory
            other.cost *= self._memory
        arm.reward += reward
        arm.cost += cost_usd
        arm.told += 1.0

    def _value(self, arm: _Arm, total: float) -> float:
        if arm.pulls < 1e-9:
            return math.inf
        # An arm nobody heard of yet is worth half: optimism that fades with its pulls.
        mean = (arm.reward + 0.5) / (arm.told + 1.0)
        return mean / self._dearness(arm) + self._explore * math.sqrt(total / arm.pulls)

    def _dearness(self, arm: _Arm) -> float:
        dearest = max((a.cost / a.told for a in self._arms if a.told > 0.5), default=0.0)
        if dearest <= 0.0 or arm.told <= 0.5:
            return 1.0
        return math.sqrt(max(arm.cost / arm.told / dearest, 1e-4))
