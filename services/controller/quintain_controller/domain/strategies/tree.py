"""Tree search: expand the most promising candidate, mend the failed ones."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pydantic import Field

from quintain.plugins.strategy import Ask, Note, Operator, Options, Problem, Result, Strategy, StrategyPlugin
from quintain_controller.domain.strategies.bandit import Bandit
from quintain_controller.domain.strategies.common import BestSoFar, fitness
from quintain_controller.domain.strategies.repairs import Leads, nearest


class TreeOptions(Options):
    explore: float = Field(0.3, ge=0, description="Weight of rarely expanded candidates against good ones.")
    frontier: int = Field(32, ge=1, le=256, description="How many of the best candidates may be expanded.")
    repairs: int = Field(1, ge=0, le=5, description="Repair attempts for a failed candidate.")
    patience: int = Field(25, ge=1, description="Candidates without improvement before exploration is doubled.")


@dataclass(slots=True)
class _Node:
    result: Result
    parent: int | None
    visits: int = 0


class Tree(Strategy):
    """The frontier is bounded, so a step costs the same in a tree of any size."""

    def __init__(self, problem: Problem, options: TreeOptions) -> None:
        self._problem, self._options = problem, options
        self._progress = BestSoFar(options.patience, options.stop_after_stagnation)
        self._bandit = Bandit(problem.backends, frozenset({Operator.FULL, Operator.DIFF}))
        self._frontier: list[_Node] = []
        self._leads = Leads(len(problem.scenarios))
        self._repair: list[tuple[Result, int]] = []  # failed or spoiled candidate, depth of repairs
        self._asked: dict[int, tuple[int, int]] = {}  # candidate under way -> parent, depth of repairs
        self._expansions = 0

    def tell(self, result: Result) -> Note | None:
        parent, depth = self._asked.pop(result.number, (None, 0))
        improved = fitness(result) > (fitness(self._progress.best) if self._progress.best else ())
        self._bandit.tell(result.number, 1.0 if improved else 0.0, result.cost_usd)
        if result.fitness is not None:
            self._leads.add(result)
        if (result.failed or self._leads.near(result)) and depth < self._options.repairs:
            self._repair.append((result, depth + 1))
        if result.fitness is not None and all(n.result.behavior != result.behavior for n in self._frontier):
            self._frontier.append(_Node(result, parent))
            self._frontier.sort(key=lambda n: (fitness(n.result), -n.result.number), reverse=True)
            del self._frontier[self._options.frontier :]
        return self._progress.tell(result, "explore: rarely expanded candidates count double")

    def ask(self, number: int, seed: int) -> Ask:
        best = self._progress.best
        if self._repair:
            first = nearest([result for result, _ in self._repair], self._leads)[0]
            depth = next(depth for result, depth in self._repair if result is first)
            self._repair.remove((first, depth))
            failed = first.number
            self._asked[number] = (failed, depth)
            name = self._problem.backends[number % len(self._problem.backends)]
            operator = Operator.REPAIR if Operator.REPAIR in name.operators else name.operators[0]
            return Ask(name.name, operator, (failed,), (best.number,) if best else ())
        backend, operator = self._bandit.pull(number)
        if not self._frontier:
            self._asked[number] = (0, 0)
            return Ask(backend, operator, (0,))
        node = self._most_promising()
        node.visits += 1
        self._expansions += 1
        self._asked[number] = (node.result.number, 0)
        siblings = [n for n in self._frontier if n.parent == node.result.number and n is not node]
        others = [n for n in self._frontier if n is not node and n not in siblings]
        inspirations = tuple(n.result.number for n in (siblings[:2] + others)[:3])
        return Ask(backend, operator, (node.result.number,), inspirations)

    def stop(self) -> str | None:
        return self._progress.stop()

    def _most_promising(self) -> _Node:
        explore = self._options.explore * (2.0 if self._progress.stagnant else 1.0)
        count = len(self._frontier)

        def promise(rank: int) -> float:
            visits = self._frontier[rank].visits
            return 1.0 - rank / count + explore * math.sqrt(math.log(2.0 + self._expansions) / (1.0 + visits))

        return self._frontier[max(range(count), key=promise)]


class TreePlugin(StrategyPlugin[TreeOptions]):
    name = "tree"
    description = "Expands the most promising candidate, sends failed ones back for repair."
    options = TreeOptions

    def create(self, problem: Problem, options: TreeOptions) -> Tree:
        return Tree(problem, options)


plugin = TreePlugin()
