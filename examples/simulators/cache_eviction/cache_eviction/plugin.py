"""The simulator as quintain sees it: the object behind the entry point."""

from __future__ import annotations

import functools
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import resources

from cache_eviction import scenarios
from cache_eviction.engine import CALLING_MODES, CacheRun, Engine
from cache_eviction.grammar import grammar
from cache_eviction.scenarios import SUITES, CacheScenario, spec_of
from quintain.plugins.simulator import (
    Baseline,
    Description,
    Descriptor,
    Direction,
    Group,
    InvalidInput,
    Objective,
    OpenPolicy,
    Outcome,
    Part,
    RequiredDefinition,
    RunOptions,
    Scenario,
    ScenarioScore,
    Suite,
    TimelineEvent,
)

HIT_RATE = Objective(
    name="hit_rate",
    metric="hit_rate",
    unit="",
    direction=Direction.MAXIMIZE,
    description="Hits / requests. The bound is the hit rate of Belady's rule, which knows the future.",
)
WINDOWS = 20  # into which a trace is cut to find where it went worst


class CacheEviction:
    """Satisfies `quintain.plugins.simulator.Simulator`. No state beside caches."""

    guest_module = "cache_eviction.guest"
    guest_source = ""

    def describe(self) -> Description:
        return _description()

    def suite(self, name: str) -> Suite:
        if name not in SUITES:
            raise InvalidInput("suite", f"{name!r} is unknown; known are: {', '.join(SUITES)}")
        return SUITES[name]

    def scenario(self, name: str) -> Scenario:
        return scenarios.built_in(name)

    def inline_scenario(self, name: str, files: Mapping[str, bytes]) -> Scenario:
        return scenarios.from_files(name, files)

    def from_files(self, name: str, files: Mapping[str, bytes]) -> OwnSuite:
        return OwnSuite(*scenarios.suite_from_files(name, files))

    def suite_template(self, name: str) -> Mapping[str, bytes]:
        return scenarios.template()

    def suite_notes(self, name: str, files: Mapping[str, bytes]) -> Sequence[str]:
        suite, _ = scenarios.suite_from_files(name, files)
        held_out = any(entry.part is Part.HELD_OUT for entry in suite.entries)
        return () if held_out else ("there are no held-out scenarios: nothing will say whether a gain carries over",)

    def scenario_notes(self, scenario: Scenario) -> str:
        spec = spec_of(scenario)
        keys, asked = spec.trace.keys, Counter(spec.trace.keys)
        once = sum(1 for count in asked.values() if count == 1)
        most = sum(count for _, count in asked.most_common(spec.capacity))
        by_source = Counter(spec.trace.sources).most_common()
        sources = ", ".join(f"{name} {count / len(keys):.0%}" for name, count in by_source)
        return "\n".join(
            [
                f"- the cache holds {spec.capacity} objects; keys look like {keys[0]}",
                "- the bound knows the future (Belady's rule)",
                f"- {len(keys)} requests for {len(asked)} objects, {once} of them asked for once; the "
                f"{spec.capacity} most popular get {most / len(keys):.0%} of the requests",
                f"- requests come from: {sources}",
            ]
        )

    def run(self, scenario: Scenario, open_policy: OpenPolicy, options: RunOptions) -> Outcome:
        spec = spec_of(scenario)
        run = Engine(spec.trace, spec.capacity, options.calling_mode).run(open_policy)
        return Outcome(
            scenario=scenario.name,
            metrics=_metrics(run, spec),
            groups=_groups(run),
            decisions_digest=run.digest,
            calling_mode=run.calling_mode,
            failure=run.failure,
            timeline=_worst_windows(run, spec),
            decision_log=tuple(run.log),
        )

    def score(self, objective: str, scenario: Scenario, outcome: Outcome, baseline: Outcome) -> ScenarioScore:
        if objective != HIT_RATE.name:
            raise InvalidInput("objective", f"{objective!r} is unknown; known is: {HIT_RATE.name}")
        spec = spec_of(scenario)
        bound = spec.most_hits / len(spec.trace.keys)
        raw = outcome.metrics.get("hit_rate")  # a run that failed may have no metrics
        value = 0.0 if outcome.failure is not None or raw is None else raw
        normalized = value / bound if bound else 1.0
        return ScenarioScore(value, raw, normalized, baseline.metrics["hit_rate"], bound)


class OwnSuite(CacheEviction):
    """This simulator with one suite of the caller's."""

    def __init__(self, suite: Suite, of_suite: Mapping[str, Scenario]) -> None:
        self._suite, self._scenarios = suite, of_suite

    def describe(self) -> Description:
        return replace(super().describe(), suites=(self._suite.name,))

    def suite(self, name: str) -> Suite:
        if name != self._suite.name:
            raise InvalidInput("suite", f"{name!r} is unknown; the files hold {self._suite.name!r}")
        return self._suite

    def scenario(self, name: str) -> Scenario:
        if name not in self._scenarios:
            raise InvalidInput("scenario", f"{name!r} is unknown; known are: {', '.join(self._scenarios)}")
        return self._scenarios[name]


def _metrics(run: CacheRun, spec: CacheScenario) -> dict[str, float]:
    misses = run.misses_by_source.total()
    return {
        "hit_rate": len(run.hits) / len(spec.trace.keys),
        "hits": float(len(run.hits)),
        "misses": float(misses),
        "requests_served": float(run.served),
        "admitted_share": run.admitted / misses if misses else 1.0,
        "evictions": float(run.evicted),
        "evicted_unused_share": run.evicted_unused / run.evicted if run.evicted else 0.0,
        "mean_stay_in_capacities": run.resident_time / run.evicted / spec.capacity if run.evicted else 0.0,
    }


def _groups(run: CacheRun) -> tuple[Group, ...]:
    """By source of the requests."""
    return tuple(
        Group(
            source,
            {
                "requests": float(run.hits_by_source[source] + run.misses_by_source[source]),
                "hit_rate": run.hits_by_source[source] / (run.hits_by_source[source] + run.misses_by_source[source]),
            },
        )
        for source in sorted(run.hits_by_source | run.misses_by_source)
    )


def _worst_windows(run: CacheRun, spec: CacheScenario) -> tuple[TimelineEvent, ...]:
    """The three windows with the fewest hits, after the first, in which every cache is cold. Time is the request's
    number."""
    size = max(1, -(-len(spec.trace.keys) // WINDOWS))
    hits = Counter((number - 1) // size for number in run.hits)
    whole = range(1, run.served // size)
    worst = sorted(sorted(whole, key=lambda window: (hits[window], window))[:3])
    return tuple(
        TimelineEvent(
            float(window * size + 1),
            f"requests {window * size + 1}..{(window + 1) * size}: {hits[window] / size:.1%} hits, mostly asked for by "
            + Counter(spec.trace.sources[window * size : (window + 1) * size]).most_common(1)[0][0],
        )
        for window in worst
    )


@functools.cache
def _description() -> Description:
    package = resources.files("cache_eviction")
    read = {name: package.joinpath("baselines", f"{name}.py").read_text(encoding="utf-8") for name in ("lru", "fifo")}
    return Description(
        name="cache_eviction",
        title="Cache eviction",
        build=_build(),
        policy_guide=package.joinpath("guide.md").read_text(encoding="utf-8"),
        required_definitions=(RequiredDefinition("function", "evict", "evict(cache, key): the key that leaves"),),
        objectives=(HIT_RATE,),
        suites=tuple(SUITES),
        baselines=(
            Baseline("lru", "Least recently used", read["lru"]),
            Baseline("fifo", "First in, first out", read["fifo"]),
        ),
        descriptors=(
            Descriptor("admitted_share", (0.3, 0.6, 0.95)),
            Descriptor("evicted_unused_share", (0.3, 0.5, 0.7)),
            Descriptor("mean_stay_in_capacities", (1.5, 3.0)),
        ),
        grammar=grammar().to_json(),
        calling_modes=CALLING_MODES,
    )


def _build() -> str:
    """sha256 over the files that a verdict depends on, by name."""
    sha = hashlib.sha256()
    package = resources.files("cache_eviction")
    for name in ("engine.py", "guest.py", "plugin.py", "scenarios.py", "traces.py", "baselines/lru.py"):
        sha.update(name.encode() + b"\0" + package.joinpath(name).read_bytes())
    return sha.hexdigest()


simulator = CacheEviction()
