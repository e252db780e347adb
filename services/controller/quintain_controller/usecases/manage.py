"""Creating searches and changing them from outside."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from statistics import median

from quintain.errors import AlreadyExists, FailedPrecondition, InvalidArgument
from quintain.plugins.strategy import RULES
from quintain_controller.domain.estimate import Estimate, Pace, estimate, too_small
from quintain_controller.domain.events import StateChanged
from quintain_controller.domain.model import AGENT, BackendProfile, Budget, SearchContext, SearchSpec, SearchState
from quintain_controller.domain.records import NewSearch, SearchRecord
from quintain_controller.domain.roles import assign
from quintain_controller.domain.tools import declarations
from quintain_controller.ports import Generator, Verifier
from quintain_controller.usecases.async_store import AsyncStore
from quintain_controller.usecases.strategies import DEFAULT_STRATEGY, make_planner, parse_options, plugin, window

_DEFAULT_PARALLEL = 4
_SEARCHES_LOOKED_AT = 20
_BOUNDS = ("usd_nano", "tokens", "candidates", "verifications", "wall_seconds", "tool_seconds")


@dataclass(frozen=True, slots=True)
class SearchManager:
    """`changed` is called with what the search has become, before the caller hears of it."""

    store: AsyncStore
    generator: Generator
    verifier: Verifier
    changed: Callable[[SearchRecord], None]

    async def create(
        self,
        request_id: str,
        digest: str,
        draft: SearchSpec,
        forked_from: str = "",
        first_policy: str = "",
        suite_files: bytes = b"",
    ) -> SearchRecord:
        """Record a search and let it start. `draft` may leave empty what has a default. Repeating a request id with
        the same digest gives the search it made. `suite_files`: the caller's own suite; of one that is known here its
        digest in `draft` is enough."""
        if request_id:
            known = await self.store(self.store.blocking.find_request, request_id)
            if known is not None:
                if known[1] != digest:
                    raise AlreadyExists(f"request_id {request_id!r} was used to create another search; choose a new id")
                return await self.store(self.store.blocking.search, known[0])
        spec, context, suite_files = await self._complete(draft, first_policy, suite_files)
        new = NewSearch(
            search_id=f"s{uuid.uuid4().hex[:12]}",
            request_id=request_id or uuid.uuid4().hex,
            request_digest=digest,
            spec=spec,
            context=context,
            forked_from=forked_from,
            events=[StateChanged(SearchState.RUNNING, "created")],
            suite_files=suite_files,
        )
        record = await self.store(self.store.blocking.create, new)
        self.changed(record)
        return record

    async def preview(self, draft: SearchSpec, suite_files: bytes = b"") -> Estimate:
        """What `create` would make, without making it: raises the same, records nothing."""
        spec, context, _ = await self._complete(draft, "", suite_files)
        return await self.estimate(spec, context)

    async def estimate(self, spec: SearchSpec, context: SearchContext) -> Estimate:
        """What the budget of a search is good for."""
        recent = await self.store(self.store.blocking.search_page, _SEARCHES_LOOKED_AT, None)
        readable = [r for r in recent if isinstance(r, SearchRecord) and r.restored_at is None]  # of this machine
        return estimate(spec, context.backends, _pace(spec, readable))

    async def _complete(
        self, draft: SearchSpec, first_policy: str, suite_files: bytes
    ) -> tuple[SearchSpec, SearchContext, bytes]:
        """The spec with every default filled in, what it is searched against, and the caller's own suite. Raises for
        what cannot be searched, or not within its budget."""
        _check(draft)
        strategy = draft.strategy or DEFAULT_STRATEGY
        options = parse_options(strategy, draft.strategy_options)
        backends = _with_roles(strategy, draft, await self.generator.backends(draft.backends))
        _check_money(draft, backends)
        if draft.suite_digest and not suite_files:
            suite_files = await self.store.suite_files(draft.suite_digest)
        objective, context = await self.verifier.context(
            draft.simulator, draft.suite, draft.objective, backends, suite_files, draft.hints, draft.further_objectives
        )
        context = replace(context, rules=RULES)
        if draft.agent is not None:
            _check_agent(backends)
            context = replace(context, tools=declarations())
        generations = draft.parallel_generations or _DEFAULT_PARALLEL
        verifications = draft.parallel_verifications or _DEFAULT_PARALLEL
        seeds = tuple(policy for policy in (first_policy, *draft.seed_policies) if policy)
        spec = replace(
            draft,
            objective=objective,
            strategy=strategy,
            backends=tuple(backend.name for backend in backends),
            seed_policies=seeds or (context.default_policy,),
            parallel_generations=generations,
            parallel_verifications=verifications,
            window=window(strategy, options, max(generations, verifications)),
        )
        if spec.budget.verifications is not None and spec.budget.verifications < len(spec.seed_policies):
            raise InvalidArgument.of(
                "spec.budget.verifications", f"at least {len(spec.seed_policies)}: the seed policies are verified first"
            )
        if (small := too_small(spec, backends)) is not None:
            raise InvalidArgument.of(f"spec.budget.{small[0]}", small[1])
        make_planner(spec, context)  # refuses a problem that the strategy cannot search
        return spec, context, suite_files

    async def pause(self, search_id: str) -> SearchRecord:
        return await self._change(search_id, SearchState.PAUSED, "paused by the user")

    async def resume(self, search_id: str) -> SearchRecord:
        return await self._change(search_id, SearchState.RUNNING, "")

    async def cancel(self, search_id: str) -> SearchRecord:
        return await self._change(search_id, SearchState.CANCELLED, "cancelled by the user")

    async def extend(self, search_id: str, wanted: Budget) -> SearchRecord:
        """Raise bounds. Raises InvalidArgument for a bound that would shrink, FailedPrecondition for a search that
        was cancelled or failed."""
        if not wanted.bounded:
            raise InvalidArgument.of("budget", "name at least one bound to raise")
        record = await self.store(self.store.blocking.extend_budget, search_id, partial(_extended, wanted))
        self.changed(record)
        return record

    async def delete(self, search_id: str) -> None:
        await self.store(self.store.blocking.delete, search_id)

    async def _change(self, search_id: str, state: SearchState, reason: str) -> SearchRecord:
        record = await self.store(self.store.blocking.change_state, search_id, state, reason)
        self.changed(record)
        return record


def _extended(wanted: Budget, record: SearchRecord) -> Budget:
    """The new budget of a search."""
    budget = record.budget
    for bound in _BOUNDS:
        new, old = getattr(wanted, bound), getattr(budget, bound)
        if new is None:
            continue
        name, unit = bound.removesuffix("_nano"), 1e-9 if bound.endswith("_nano") else 1
        if old is None or new < old:
            allowed = "it has no such bound" if old is None else f"it is {old * unit:g} now"
            raise InvalidArgument.of(f"budget.{name}", f"a bound may only be raised, and {allowed}")
        budget = replace(budget, **{bound: new})
    return budget


def _check(draft: SearchSpec) -> None:
    for field, text in (("simulator", draft.simulator), ("suite", draft.suite)):
        if not text:
            raise InvalidArgument.of(f"spec.{field}", "must be given")
    if not draft.budget.bounded:
        raise InvalidArgument.of(
            "spec.budget", "at least one of candidates, verifications, usd, tokens, wall_seconds must be set"
        )


def _with_roles(strategy: str, draft: SearchSpec, backends: tuple[BackendProfile, ...]) -> tuple[BackendProfile, ...]:
    if not plugin(strategy).uses_roles:
        if draft.backend_roles:
            raise InvalidArgument.of("spec.backend_roles", f"the strategy {strategy} treats all backends alike")
        return backends
    try:
        return assign(backends, draft.backend_roles, draft)
    except ValueError as error:
        raise InvalidArgument.of("spec.backend_roles", str(error)) from None


def _check_agent(backends: tuple[BackendProfile, ...]) -> None:
    if not any(AGENT in backend.operators for backend in backends):
        names = ", ".join(backend.name for backend in backends)
        raise InvalidArgument.of(
            "spec.agent", f"no conversation can be had with {names}: it offers no operator {AGENT}"
        )


def _check_money(draft: SearchSpec, backends: tuple[BackendProfile, ...]) -> None:
    budget = draft.budget
    unpriced = [backend.name for backend in backends if not backend.priced]
    if budget.usd_nano is not None and unpriced and draft.assume_usd_nano is None:
        raise FailedPrecondition(
            f"no price is known for {', '.join(unpriced)}, so a budget in dollars cannot be kept; "
            "set assume_usd_per_generation, or bound the search another way",
            reason="UNPRICED_MODEL",
        )
    dear = [b for b in backends if (b.max_request_cost_usd_nano if b.priced else draft.assume_usd_nano != 0)]
    if not dear and budget.candidates is None and budget.verifications is None and budget.wall_seconds is None:
        raise InvalidArgument.of(
            "spec.budget", "the backends cost nothing: bound candidates, verifications or wall_seconds"
        )


def _pace(spec: SearchSpec, recent: list[SearchRecord]) -> Pace | None:
    """How fast searches like this one were: the same simulator, suite and backends."""

    def like(other: SearchSpec) -> bool:
        return (other.simulator, other.suite, other.suite_digest, set(other.backends)) == (
            spec.simulator,
            spec.suite,
            spec.suite_digest,
            set(spec.backends),
        )

    spends = [r.spend for r in recent if like(r.spec) and r.spend.candidates and r.spend.wall_seconds > 0.0]
    if not spends:
        return None
    return Pace(median(spend.wall_seconds / spend.candidates for spend in spends), len(spends))
