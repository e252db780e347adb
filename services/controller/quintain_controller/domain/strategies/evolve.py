"""Evolution: (mu + lambda) on islands, a quality-diversity archive, parents from the per-scenario Pareto front."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import replace

from pydantic import Field

from quintain.plugins.strategy import (
    Ask,
    BackendInfo,
    Note,
    Operator,
    Options,
    Problem,
    Result,
    Role,
    Strategy,
    StrategyPlugin,
)
from quintain_controller.domain.strategies.archive import Grid, Island, ObjectiveFront, ScenarioBests
from quintain_controller.domain.strategies.bandit import Bandit
from quintain_controller.domain.strategies.cast import Cast
from quintain_controller.domain.strategies.common import BestSoFar, fitness
from quintain_controller.domain.strategies.repairs import Leads, Repairs

_OPERATORS = frozenset({Operator.FULL, Operator.DIFF, Operator.CROSSOVER})
# By the first rules a young population was never changed, only written anew, and requests might repeat each other.
_EARLY_CHANGES = 2
# The rules since which free requests go where they promise more, and what costs money is shown no policy twice.
_SHARED = _DISTINCT = 3
_FROM_THE_FRONT = 0.5  # of the share for Pareto parents, in a search of several objectives
_REMEMBERED, _TRIES = 64, 8  # requests that are not repeated; draws of another one


class EvolveOptions(Options):
    islands: int = Field(0, ge=0, le=16, description="Separate populations; 0: one for each 300 candidates planned.")
    population: int = Field(8, ge=1, le=64, description="Survivors (mu) of each island.")
    exploit: float = Field(0.6, ge=0, le=1, description="Share of requests that improve on the island's best.")
    pareto: float = Field(
        0.2,
        ge=0,
        le=1,
        description="Share that start from the best on some scenario, or on the front of several objectives.",
    )
    migrate_every: int = Field(40, ge=1, description="Results between migrations of each island's best to the next.")
    patience: int = Field(30, ge=1, description="Candidates without improvement before the search spreads out.")
    inspirations: int = Field(3, ge=0, le=5, description="Further candidates shown beside the parents.")
    repair: float = Field(
        0.3, ge=0, le=1, description="Chance that a failed or slightly broken candidate is sent back."
    )
    strong_after: int = Field(
        6, ge=1, description="Of backends with roles: answers without a gain before a strong one is asked."
    )
    sweep: int = Field(
        12,
        ge=0,
        description="Of backends with roles: further free requests after each that costs something, to change the "
        "constants of the others' best while that promises more than the free one's own search, else for that.",
    )
    explore: int = Field(
        4,
        ge=0,
        description="Of backends with roles: requests of a free one's own search after each that costs something.",
    )


class Evolve(Strategy):
    def __init__(self, problem: Problem, options: EvolveOptions) -> None:
        self._problem, self._options = problem, options
        self._progress = BestSoFar(options.patience, options.stop_after_stagnation)
        roles = {backend.role for backend in problem.backends}
        mixed = roles != {Role.MAIN}
        self._cast: Cast | None = None
        if mixed:
            shared = problem.rules >= _SHARED
            self._cast = Cast(problem.backends, options.strong_after, options.sweep, options.explore, shared=shared)
        # What is free searches by itself as well: two lines that meet as inspirations, and in what is swept.
        free = tuple(replace(b, role=Role.MAIN) for b in problem.backends if b.role is Role.SWEEP)
        self._own = Evolve(replace(problem, backends=free), options) if mixed and free else None
        self._exploring: set[int] = set()  # under way
        self._authors = self._cast.authors if self._cast else problem.backends
        self._bandit = Bandit(self._authors, _OPERATORS)
        count = options.islands or max(1, min(4, (problem.planned or 0) // 300))
        self._islands = [Island(options.population) for _ in range(count)]
        self._grid = Grid(problem.descriptors)
        self._scenarios = ScenarioBests(len(problem.scenarios))
        self._front = ObjectiveFront()
        self._leads = Leads(len(problem.scenarios))
        self._repairs = Repairs(self._leads)
        self._asked: dict[int, tuple[int, tuple[float, ...]]] = {}  # under way -> island, fitness of the best parent
        self._sweeping: set[int] = set()  # under way
        self._told = 0
        self._best_seed: tuple[float, ...] = ()
        self._latest: deque[tuple[object, ...]] = deque(maxlen=_REMEMBERED)  # requests that cost money

    def tell(self, result: Result) -> Note | None:
        island, to_beat = self._asked.pop(result.number, (None, ()))
        self._told += 1
        if result.number < self._problem.seeds:
            self._best_seed = max(self._best_seed, fitness(result))
        if self._cast is not None and result.number not in self._exploring:
            self._cast.tell(result, seed=result.number < self._problem.seeds)
        if result.fitness is not None:
            self._leads.add(result)
            self._front.add(result)
        better = result.fitness is not None and result.fitness > to_beat
        if self._own is not None and (result.number < self._problem.seeds or result.number in self._exploring):
            self._own.tell(result)
            if self._cast is not None:
                self._cast.explored(result)
        if result.number in self._exploring:
            self._exploring.remove(result.number)
            if result.fitness is not None:
                self._scenarios.add(result)
            return self._ended(result)
        if result.number in self._sweeping:
            # Of many changes of one policy only those that helped belong into the population; none is worth mending.
            self._sweeping.remove(result.number)
            if not better:
                return self._ended(result)
        elif result.failed or self._leads.near(result):
            self._repairs.add(result)
        if result.fitness is not None:
            homes = self._islands if island is None else [self._islands[island]]
            for home in homes:
                home.add(result)
            self._grid.add(result)
            self._scenarios.add(result)
        self._bandit.tell(result.number, 1.0 if better else 0.0, result.cost_usd)
        return self._ended(result)

    def _ended(self, result: Result) -> Note | None:
        if self._told % self._options.migrate_every == 0:
            self._migrate()
        note = self._progress.tell(result, "spread out: parents from the whole archive")
        if note is not None and note.candidates_without_improvement >= 3 * self._options.patience:
            self._restart_worst()
        return note

    def ask(self, number: int, seed: int) -> Ask:
        rng = random.Random(seed)
        island = number % len(self._islands)
        members = self._islands[island].members
        if self._cast is not None and self._cast.sweeps:
            return self._sweep(number, island)
        if self._cast is not None and self._own is not None and self._cast.explores:
            self._cast.explore()
            self._exploring.add(number)
            return replace(self._own.ask(number, seed), island=island)
        if self._repairs and rng.random() < self._options.repair:
            return self._mend(number, island)
        author = self._cast.author(number) if self._cast is not None else None
        if not members:
            self._asked[number] = (island, ())
            backend, operator = self._pull(number, author, frozenset({Operator.FULL, Operator.DIFF}))
            return Ask(backend, operator, (0,), (), island)
        parent = self._parent(rng, members)
        mate = self._mate(rng, parent, members)
        backend, operator = self._pull(number, author, self._operators(parent, mate, members, author))
        for again in range(_TRIES):
            parents = [parent, mate] if operator is Operator.CROSSOVER and mate is not None else [parent]
            distinct = self._problem.rules >= _DISTINCT and self._costs(backend)
            inspirations = self._inspirations(rng, parents, members, others=again > 0, distinct=distinct)
            request = (backend, operator, *(p.number for p in parents), inspirations)
            if request not in self._latest:
                break
            parent = self._parent(rng, members)
            mate = self._mate(rng, parent, members) or mate
        if self._costs(backend):
            self._latest.append(request)
        self._asked[number] = (island, max(fitness(p) for p in parents))
        return Ask(backend, operator, tuple(p.number for p in parents), inspirations, island)

    def narrow(self, backends: tuple[str, ...]) -> bool:
        return self._cast is not None and self._cast.narrow(backends)

    def stop(self) -> str | None:
        return self._progress.stop()

    def _costs(self, backend: str) -> bool:
        """Whether requests to it are dear: then they are not repeated, and changes come early."""
        if self._problem.rules < _EARLY_CHANGES:
            return False
        return next(b for b in self._problem.backends if b.name == backend).max_cost_usd != 0.0

    def _operators(
        self, parent: Result, mate: Result | None, members: list[Result], author: BackendInfo | None
    ) -> frozenset[Operator]:
        """A young population needs new starting points more than refinement, but a change of a policy that is better
        than every seed is the best buy there is. A strong backend is there for what is new."""
        if author is not None and author.role is Role.STRONG:
            return frozenset({Operator.FULL})
        if len(members) >= self._options.population:
            return _OPERATORS if mate is not None else _OPERATORS - {Operator.CROSSOVER}
        good = parent.number >= self._problem.seeds and fitness(parent) > self._best_seed
        dear = any(self._costs(backend.name) for backend in self._authors)
        return frozenset({Operator.FULL, Operator.DIFF}) if good and dear else frozenset({Operator.FULL})

    def _pull(self, number: int, author: BackendInfo | None, allowed: frozenset[Operator]) -> tuple[str, Operator]:
        return self._bandit.pull(number, allowed.__contains__, author.name if author is not None else None)

    def _sweep(self, number: int, island: int) -> Ask:
        """The best of those that write, given to a free backend that changes its constants."""
        assert self._cast is not None
        backend, target = self._cast.sweep(number)
        self._asked[number] = (island, fitness(target))
        self._sweeping.add(number)
        operator = Operator.DIFF if Operator.DIFF in backend.operators else backend.operators[0]
        return Ask(backend.name, operator, (target.number,), (), island, only_if_better=True)

    def _parent(self, rng: random.Random, members: list[Result]) -> Result:
        # While nothing better comes, exploitation gives way to the archive by half.
        exploit = self._options.exploit * (0.5 if self._progress.stagnant else 1.0)
        draw = rng.random()
        if draw < exploit:
            return members[0]
        if draw < exploit + self._options.pareto:
            if self._front.members and rng.random() < _FROM_THE_FRONT:
                return self._front.sample(rng) or members[0]
            return self._scenarios.sample(rng) or members[0]
        if self._progress.stagnant and rng.random() < 0.5:
            return self._grid.sample(rng)
        return members[min(rng.randrange(len(members)), rng.randrange(len(members)))]

    def _mate(self, rng: random.Random, parent: Result, members: list[Result]) -> Result | None:
        complement = self._scenarios.complement(parent)
        if complement is not None and rng.random() < 0.5:
            return complement
        others = [m for m in members if m.number != parent.number]
        if others:
            return others[rng.randrange(len(others))]
        elite = self._grid.sample(rng)
        return elite if elite.number != parent.number else None

    def _inspirations(
        self, rng: random.Random, parents: list[Result], members: list[Result], *, others: bool, distinct: bool
    ) -> tuple[int, ...]:
        """The best, who is strong where the parent is weak, then diverse elites. `others`: any members before them,
        because those were shown already. `distinct`: no two that decide the same."""
        shown = {p.number for p in parents}
        behaviors = {p.behavior for p in parents if p.behavior and distinct}
        wanted: list[int] = []
        offers: list[Result | None] = rng.sample(members, len(members)) if others else []
        offers += [self._progress.best, self._scenarios.complement(parents[0]), *members[:2]]
        offers += [self._grid.sample(rng) for _ in range(self._options.inspirations)]
        for offer in offers:
            if offer is None or offer.number in shown or offer.behavior in behaviors:
                continue
            if len(wanted) < self._options.inspirations:
                shown.add(offer.number)
                wanted.append(offer.number)
                if offer.behavior and distinct:
                    behaviors.add(offer.behavior)
        return tuple(wanted)

    def _mend(self, number: int, island: int) -> Ask:
        failed = self._repairs.take()
        self._asked[number] = (island, ())
        backend = self._cast.mender(number) if self._cast else self._authors[number % len(self._authors)]
        operator = Operator.REPAIR if Operator.REPAIR in backend.operators else backend.operators[0]
        best = self._progress.best
        return Ask(backend.name, operator, (failed.number,), (best.number,) if best else (), island)

    def _migrate(self) -> None:
        bests = [island.members[0] if island.members else None for island in self._islands]
        for index, best in enumerate(bests):
            if best is not None:
                self._islands[(index + 1) % len(self._islands)].add(best)

    def _restart_worst(self) -> None:
        """Give the island with the least best a new start from a diverse elite; the archive keeps what it had."""
        if len(self._islands) == 1:
            return
        worst = min(self._islands, key=lambda i: fitness(i.members[0]) if i.members else ())
        worst.clear()
        elite = self._grid.sample(random.Random(self._told))
        worst.add(elite)


class EvolvePlugin(StrategyPlugin[EvolveOptions]):
    name = "evolve"
    description = (
        "(mu + lambda) evolution on islands with a quality-diversity archive and per-scenario Pareto parents; backends "
        "with roles in one search."
    )
    options = EvolveOptions
    uses_roles = True

    def create(self, problem: Problem, options: EvolveOptions) -> Evolve:
        return Evolve(problem, options)


plugin = EvolvePlugin()
