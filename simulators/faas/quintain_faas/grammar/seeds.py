"""Policies written by hand to start from: sensible, and none of them tuned."""

from __future__ import annotations

from quintain.plugins.grammar import Seed

SEEDS = (
    Seed("priority_slices", {"queues": "strict", "order": "arrival"}),
    Seed(
        "shortest_first",
        {"queues": "single", "order": "fewest_left", "learn": "failures", "learn_by": "class", "backfill": "any"},
    ),
    Seed(
        "fair_shares",
        {
            "queues": "shares",
            "order": "fewest_left",
            "cpu_rule": "at_most",
            "learn": "failures",
            "learn_by": "class",
            "backfill": "other_classes",
        },
    ),
    Seed(
        "recurring_jobs",
        {
            "queues": "strict",
            "order": "fewest_left",
            "ram_slots_query": 12,
            "ram_slots_interactive": 12,
            "ram_slots_batch": 12,
            "oom_growth": 1.5,
            "learn": "narrow",
            "learn_by": "recurring",
            "cpu_rule": "free_share",
            "cpus_query": 8,
            "cpus_interactive": 8,
            "cpus_batch": 8,
            "backfill": "any",
        },
    ),
    Seed(
        "whole_fractions",
        {
            "queues": "single",
            "order": "fewest_left",
            "learn": "fractions",
            "learn_by": "pipeline",
            "cpu_rule": "at_most",
            "backfill": "other_classes",
        },
    ),
    Seed(
        "tracked_sizes",
        {
            "queues": "single",
            "order": "smallest_pipeline",
            "oom_growth": 1.5,
            "learn": "track",
            "learn_by": "class",
            "cpu_rule": "free_share",
            "backfill": "any",
            "lookahead": 4,
        },
    ),
    Seed(
        "deadlines_and_reserve",
        {
            "queues": "strict",
            "order": "fewest_left",
            "ties": "newest",
            "learn": "failures",
            "learn_by": "pipeline",
            "cpu_rule": "at_most",
            "cpus_query": 3,
            "backfill": "any",
            "reserve": "queries",
            "deadline": "slack",
        },
    ),
)
