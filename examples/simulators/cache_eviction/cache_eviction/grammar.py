"""The decisions of an eviction policy as genes, for quintain's offline backend."""

from __future__ import annotations

import functools
from importlib import resources

from quintain.plugins.grammar import Gene, Grammar, Seed

GENES = (
    Gene(
        "structure",
        "structure",
        "choice",
        "one_list",
        choices=("one_list", "segments"),
        says={
            "one_list": "all objects stand in one list",
            "segments": "an object that was hit moves to a protected list, which gives its oldest back",
        },
    ),
    Gene(
        "protected_share",
        "structure",
        "float",
        0.5,
        low=0.05,
        high=0.95,
        digits=2,
        says="when it is larger than a share of {value} of the cache",
        when={"structure": ("segments",)},
    ),
    Gene(
        "insert_at",
        "insertion",
        "choice",
        "new_end",
        choices=("new_end", "old_end"),
        says={"new_end": "a new object is the last to go", "old_end": "a new object is the next to go"},
    ),
    Gene(
        "lucky_every",
        "insertion",
        "int",
        16,
        low=2,
        high=128,
        log=True,
        says="except for one in {value}",
        when={"insert_at": ("old_end",)},
    ),
    Gene(
        "choice_by",
        "eviction",
        "choice",
        "age",
        choices=("age", "score"),
        says={"age": "the oldest goes", "score": "of the oldest objects the one with the lowest worth goes"},
    ),
    Gene(
        "candidates",
        "eviction",
        "int",
        8,
        low=2,
        high=64,
        log=True,
        says="out of {value}",
        when={"choice_by": ("score",)},
    ),
    Gene(
        "frequency_weight",
        "eviction",
        "float",
        1.0,
        low=0.0,
        high=4.0,
        digits=2,
        says="frequency counts {value}",
        when={"choice_by": ("score",)},
    ),
    Gene(
        "recency_weight",
        "eviction",
        "float",
        1.0,
        low=0.0,
        high=4.0,
        digits=2,
        says="recency counts {value}",
        when={"choice_by": ("score",)},
    ),
    Gene(
        "admission",
        "admission",
        "choice",
        "always",
        choices=("always", "seen_before", "more_frequent"),
        says={
            "always": "every object is admitted",
            "seen_before": "a full cache admits an object only if it missed before, not too long ago",
            "more_frequent": "a full cache admits an object only if it is asked for more often than the one to go",
        },
    ),
    Gene(
        "ghosts",
        "admission",
        "float",
        1.0,
        low=0.1,
        high=8.0,
        log=True,
        digits=2,
        says="within {value} capacities of misses",
        when={"admission": ("seen_before",)},
    ),
    Gene(
        "halve_every",
        "aging",
        "int",
        20,
        low=1,
        high=100,
        log=True,
        says="counts are halved after every {value} capacities of requests",
        when={"choice_by": ("score",)},
    ),
)

SEEDS = (
    Seed("recency", {}),
    Seed("second_chance", {"structure": "segments"}),
    Seed("weighted", {"choice_by": "score"}),
    Seed("doorkeeper", {"admission": "seen_before"}),
)


@functools.cache
def grammar() -> Grammar:
    template = resources.files("cache_eviction").joinpath("policy.py.j2").read_text(encoding="utf-8")
    return Grammar(genes=GENES, template=template, seeds=SEEDS)
