"""The installed strategies, and a planner for a search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from quintain.errors import FieldViolation, InvalidArgument
from quintain.plugins.doors import STRATEGIES
from quintain.plugins.loading import PluginError
from quintain.plugins.naming import near
from quintain.plugins.simulator import Descriptor
from quintain.plugins.strategy import BackendInfo, Operator, Options, Problem, Role, StrategyPlugin
from quintain_controller.domain.model import AGENT, NANO, BackendProfile, Budget, SearchContext, SearchSpec
from quintain_controller.domain.planner import Planner

DEFAULT_STRATEGY = "evolve"
DEFAULT_WINDOW = 4


def plugin(name: str) -> StrategyPlugin[Any]:
    """Raises InvalidArgument for one that is not installed, naming those that are, or that cannot be used."""
    try:
        return STRATEGIES.load(name)
    except PluginError as error:
        raise InvalidArgument.of("spec.strategy", str(error)) from error


def parse_options(name: str, raw: Mapping[str, object]) -> Options:
    """Raises InvalidArgument with a violation for each wrong or unknown option."""
    try:
        options: Options = plugin(name).options.model_validate(raw)
    except ValidationError as error:
        known = plugin(name).options.model_fields
        violations = [
            FieldViolation(
                ".".join(["spec.strategy_options", *map(str, e["loc"])]),
                f"is no option of {name}{near(str(e['loc'][0]), known)}; it has {', '.join(known)}"
                if e["type"] == "extra_forbidden"
                else e["msg"],
            )
            for e in error.errors()
        ]
        message = "; ".join(f"{v.field}: {v.message}" for v in violations)
        raise InvalidArgument(message, violations=violations) from None
    return options


def window(name: str, options: Options, parallel: int) -> int:
    """How many candidates may be under way: the option, else 4 or the parallelism, within what the strategy can."""
    wanted = options.window or max(DEFAULT_WINDOW, parallel)
    limit = plugin(name).max_window
    return min(wanted, limit) if limit is not None else wanted


def make_planner(spec: SearchSpec, context: SearchContext) -> Planner:
    """Raises InvalidArgument if the strategy cannot search this problem."""
    options = parse_options(spec.strategy, spec.strategy_options)
    problem = Problem(
        backends=tuple(_backend(profile) for profile in context.backends),
        scenarios=context.train,
        descriptors=tuple(Descriptor(metric, edges) for metric, edges in context.descriptors),
        seeds=len(spec.seed_policies),
        planned=_planned(spec.budget, len(spec.seed_policies)),
        rules=context.rules,
    )
    try:
        strategy = plugin(spec.strategy).create(problem, options)
    except ValueError as error:
        raise InvalidArgument.of("spec.strategy", f"{spec.strategy}: {error}") from error
    return Planner(spec, context, strategy, options.history)


def _backend(profile: BackendProfile) -> BackendInfo:
    usd = profile.max_request_cost_usd_nano
    return BackendInfo(
        profile.name,
        tuple(Operator(op) for op in profile.operators if op != AGENT),  # the planner's choice, not the strategy's
        None if usd is None or not profile.priced else usd / NANO,
        Role(profile.role),
    )


def _planned(budget: Budget, seeds: int) -> int | None:
    bounds = [budget.candidates, None if budget.verifications is None else max(0, budget.verifications - seeds)]
    given = [bound for bound in bounds if bound is not None]
    return min(given) if given else None
