"""The decisions of a FaaS scheduling policy, as genes: what each may be, and how the policy's docstring says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quintain.plugins.grammar import Gene, GeneValue

CLASSES = ("query", "interactive", "batch")


def choice(
    component: str, name: str, says: Mapping[str, str], when: Mapping[str, tuple[GeneValue, ...]] | None = None
) -> Gene:
    """A gene that takes one of `says`' keys; the first is the default."""
    return Gene(name, component, "choice", next(iter(says)), choices=tuple(says), says=says, when=when)


def whole(component: str, name: str, default: int, low: int, high: int, says: str = "", **more: Any) -> Gene:
    """A whole number whose size matters by ratio."""
    return Gene(name, component, "int", default, low=low, high=high, log=True, says=says, **more)


def real(component: str, name: str, default: float, low: float, high: float, says: str, **more: Any) -> Gene:
    return Gene(name, component, "float", default, low=low, high=high, says=says, **more)


ORDER = (
    choice(
        "order",
        "queues",
        {
            "strict": "the classes are served strictly by rank",
            "shares": "each class gets its share of the containers",
            "single": "all classes wait in one queue",
        },
    ),
    choice(
        "order",
        "class_order",
        {
            "query>interactive>batch": "queries, then interactive work, then batch",
            "query>batch>interactive": "queries, then batch, then interactive work",
            "interactive>query>batch": "interactive work, then queries, then batch",
            "interactive>batch>query": "interactive work, then batch, then queries",
            "batch>query>interactive": "batch, then queries, then interactive work",
            "batch>interactive>query": "batch, then interactive work, then queries",
        },
        when={"queues": ("strict",)},
    ),
    # by default in the proportion in which pipelines of the classes usually arrive
    *(
        whole("order", f"share_{name}", share, 1, 100, f"{{value}} for {name}", when={"queues": ("shares",)})
        for name, share in zip(CLASSES, (1, 3, 6), strict=True)
    ),
    choice(
        "order",
        "order",
        {
            "arrival": "within a queue the oldest pipeline goes first",
            "newest": "within a queue the newest pipeline goes first",
            "fewest_left": "within a queue the pipeline with the fewest operators left goes first",
            "most_left": "within a queue the pipeline with the most operators left goes first",
            "smallest_pipeline": "within a queue the pipeline with the fewest operators in all goes first",
            "least_memory": "within a queue the operator that asks for the least memory goes first",
        },
    ),
    choice(
        "order",
        "ties",
        {"oldest": "", "newest": "the latest wins a tie"},
        when={"order": ("fewest_left", "most_left", "smallest_pipeline", "least_memory")},
    ),
)

SIZE = (
    *(
        whole("size", f"ram_slots_{name}", 10, 1, 40, f"{name} starts with 1/{{value}} of a pool's RAM")
        for name in CLASSES
    ),
    choice("size", "estimate", {"trust": "an estimate of the need replaces that", "ignore": ""}),
    real("size", "estimate_margin", 1.2, 0.8, 2.5, "times {value}", when={"estimate": ("trust",)}),
)

GROWTH = (
    real(
        "growth",
        "oom_growth",
        2.0,
        1.05,
        4.0,
        "after running out of memory an operator gets {value} times as much",
        log=True,
    ),
    whole("growth", "max_ooms", 6, 1, 10, "at most {value} times"),
    choice(
        "growth",
        "retries",
        {
            "in_order": "and waits in line as before",
            "first": "and goes to the front of its queue",
            "last": "and goes to the end of its queue",
        },
    ),
)

LEARNED = {"learn": ("failures", "track", "narrow", "fractions")}
LEARNING = (
    choice(
        "memory of sizes",
        "learn",
        {
            "nothing": "an operator's failures teach nothing about others",
            "failures": "others of its kind start with the size that a failed operator grew to",
            "track": "each kind has a size that rises when it is too small and falls while it is enough",
            "narrow": "each kind's size is narrowed down between one that was enough and one that was not",
            "fractions": "each kind's size is the smallest whole fraction of a pool that was enough",
        },
    ),
    choice(
        "memory of sizes",
        "learn_by",
        {
            "class": "where a kind is a class",
            "pipeline": "where a kind is a pipeline",
            "recurring": "where a kind is a place in pipelines of the same name",
        },
        when=LEARNED,
    ),
    real("memory of sizes", "track_rise", 1.2, 1.01, 2.0, "by a factor of {value} up", when={"learn": ("track",)}),
    real("memory of sizes", "track_fall", 0.98, 0.9, 0.999, "and of {value} down", when={"learn": ("track",)}),
    real(
        "memory of sizes",
        "close_enough",
        0.2,
        0.01,
        0.6,
        "until the two are within a share of {value}",
        log=True,
        digits=2,
        when={"learn": ("narrow",)},
    ),
)

CPU = (
    choice(
        "cpu",
        "cpu_rule",
        {
            "exactly": "a container waits for its full number of CPUs",
            "at_most": "a container takes fewer CPUs where there are no more",
            "free_share": "a container gets the same part of the free CPUs as of the free RAM, at most",
        },
    ),
    *(whole("cpu", f"cpus_{name}", 4, 1, 32, f"{{value}} for {name}") for name in CLASSES),
)

PLACEMENT = (
    choice(
        "placement",
        "placement",
        {
            "emptiest": "the pool with the most free RAM is taken",
            "fullest": "the pool with the least free RAM that fits is taken",
            "first": "the first pool that fits is taken",
        },
    ),
    choice(
        "placement",
        "backfill",
        {
            "none": "what does not fit holds up everything behind it",
            "other_classes": "what does not fit holds up its own class",
            "any": "what does not fit is passed over",
        },
    ),
    whole("placement", "lookahead", 8, 1, 64, "up to {value} times a round", when={"backfill": ("any",)}),
    choice(
        "placement",
        "reserve",
        {
            "none": "",
            "queries": "some RAM is kept for queries",
            "queries_and_interactive": "some RAM is kept for queries and interactive work",
        },
    ),
    real(
        "placement",
        "reserve_share",
        0.15,
        0.02,
        0.5,
        "a share of {value} of each pool",
        digits=2,
        when={"reserve": ("queries", "queries_and_interactive")},
    ),
)

CONTAINERS = (
    choice(
        "containers",
        "containers",
        {
            "operator": "",
            "chain": "where a container may hold several operators, those that can only follow one another share one",
        },
    ),
    choice(
        "containers",
        "preempt",
        {"never": "", "for_queries": "and such a container is suspended between two operators while a query waits"},
        when={"containers": ("chain",)},
    ),
)

DEADLINE = (
    choice(
        "deadline",
        "deadline",
        {"ignore": "", "slack": "where jobs have a time limit, nothing starts so late that it is hopeless"},
    ),
    real(
        "deadline",
        "slack_seconds",
        5.0,
        0.5,
        40.0,
        "with {value} s left or less",
        log=True,
        when={"deadline": ("slack",)},
    ),
)

GENES = (*ORDER, *SIZE, *GROWTH, *LEARNING, *CPU, *PLACEMENT, *CONTAINERS, *DEADLINE)
