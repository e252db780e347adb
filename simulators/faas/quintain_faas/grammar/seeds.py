"""Policies written by hand to start from: sensible, and none of them tuned."""

from __future__ import annotations

from quintain.plugins.grammar import Seed

SEEDS = (
    Seed("measured_peaks", {}),
    Seed("strict_classes", {"queues": "strict", "reserve": "queries", "cpus_query": 3}),
    Seed("fair_shares", {"queues": "shares", "backfill": "other_classes"}),
    Seed("oldest_first", {"order": "arrival", "cpu_rule": "free_share", "cpus_batch": 8, "cpus_interactive": 8}),
    Seed("whole_fractions", {"round_up": 0.4, "order": "smallest_pipeline", "cpu_least": 0.3}),
    Seed("priority_slices", {"queues": "strict", "order": "arrival", "learn": "nothing", "oom_growth": 2.0}),
)
