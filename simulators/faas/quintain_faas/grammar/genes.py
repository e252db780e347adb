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
            "single": "all classes wait in one queue",
            "strict": "the classes are served strictly by rank",
            "shares": "each class gets its share of the containers",
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
            "fewest_left": "within a queue the pipeline with the fewest operators left goes first",
            "arrival": "within a queue the oldest pipeline goes first",
            "newest": "within a queue the newest pipeline goes first",
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
    choice(
        "order",
        "outliers",
        {"later": "an operator that asks for far more than is usual waits longer", "in_turn": ""},
        when={"order": ("fewest_left", "smallest_pipeline")},
    ),
    real(
        "order",
        "usual",
        2.0,
        1.0,
        6.0,
        "where up to {value} times the mean is usual",
        log=True,
        digits=2,
        when={"outliers": ("later",)},
    ),
)

SIZE = (
    *(
        whole("size", f"ram_slots_{name}", 10, 1, 40, f"{name} starts with 1/{{value}} of a pool's RAM")
        for name in CLASSES
    ),
    real("size", "estimate_margin", 1.2, 0.8, 2.5, "or with {value} times an estimate of the need, where there is one"),
    real(
        "size",
        "round_up",
        0.1,
        0.0,
        0.5,
        "a size to which a share of {value} is missing to a whole fraction of a pool becomes that",
        digits=2,
    ),
)

GROWTH = (
    real(
        "growth",
        "oom_growth",
        1.5,
        1.05,
        4.0,
        "after running out of memory an operator gets {value} times as much",
        log=True,
    ),
    whole("growth", "max_ooms", 10, 4, 16, "at most {value} times"),
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

MEASURED = {"learn": ("peaks",)}
LEARNING = (
    choice(
        "memory of sizes",
        "learn",
        {
            "peaks": "the memory that containers were seen to use tells what to try for others of the kind, one size "
            "after the other; a kind is a place in pipelines of one name, a class, all operators, or the factor by "
            "which estimates are off, whichever has told best",
            "nothing": "an operator's need teaches nothing about others",
        },
    ),
    real("memory of sizes", "spare", 1.0, 1.0, 1.4, "a size is {value} times what was used", when=MEASURED),
    real(
        "memory of sizes",
        "oom_seconds",
        3.0,
        0.3,
        20.0,
        "running out of memory counts as {value} s lost",
        log=True,
        digits=2,
        when=MEASURED,
    ),
    whole("memory of sizes", "recent", 64, 8, 256, "the last {value} of a kind count", when=MEASURED),
)

CPU = (
    choice(
        "cpu",
        "cpu_rule",
        {
            "at_most": "a container takes fewer CPUs where there are no more",
            "free_share": "a container gets the same part of the free CPUs as of the free RAM, at most",
        },
    ),
    *(whole("cpu", f"cpus_{name}", 6, 1, 32, f"{{value}} for {name}") for name in CLASSES),
    real(
        "cpu",
        "cpu_fair",
        1.6,
        0.8,
        4.0,
        "never more than {value} times the part of a pool's CPUs that the usual container has of its RAM",
        log=True,
        digits=2,
    ),
    real(
        "cpu",
        "cpu_least",
        0.6,
        0.1,
        1.0,
        "nor less than a share of {value} of what it should have",
        digits=2,
        when={"cpu_rule": ("at_most",)},
    ),
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
            "any": "what does not fit is passed over",
            "other_classes": "what does not fit holds up its own class",
            "none": "what does not fit holds up everything behind it",
        },
    ),
    whole("placement", "lookahead", 64, 4, 128, "up to {value} times a round", when={"backfill": ("any",)}),
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
        {"slack": "where jobs have a time limit, nothing starts so late that it is hopeless", "ignore": ""},
    ),
    real(
        "deadline",
        "slack_seconds",
        2.0,
        0.5,
        40.0,
        "with {value} s left or less",
        log=True,
        when={"deadline": ("slack",)},
    ),
)

GENES = (*ORDER, *SIZE, *GROWTH, *LEARNING, *CPU, *PLACEMENT, *CONTAINERS, *DEADLINE)
