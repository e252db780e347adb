"""A suite that asks whether a policy is sensible where train never went: probes made from `standard`'s train part.

    python benchmarks/probes.py build/probes --seed 1
    python benchmarks/offline.py --suite build/probes --evaluations 60 --best-known 0 --seeds 2 --methods evolve

Train is `standard`'s; the held-out part is train changed: needs made heavier, an estimator added, several operators
allowed in a container, pools split or joined, bursts, CPUs scarce, memory taken at once, little load. Nothing of
`standard`'s own held-out part is in it. Another seed draws other needs and leaves out other pipelines.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quintain.plugins.simulator import Part
from quintain_faas.params import Params
from quintain_faas.scenario import SECTIONS, spec_of
from quintain_faas.scenario_suite import built_in_suites

Rows = list[dict[str, str]]
Change = Callable[[Rows, random.Random], Rows]


def as_is(rows: Rows, _rng: random.Random) -> Rows:
    return rows


def heavier(sigma: float, most_gb: float) -> Change:
    """Every need times a log-normal factor."""

    def change(rows: Rows, rng: random.Random) -> Rows:
        for row in rows:
            need = float(row["storage_read_gb"]) * rng.lognormvariate(0.0, sigma)
            row["storage_read_gb"] = str(round(min(most_gb, need), 3))
        return rows

    return change


def in_bursts(seconds: float) -> Change:
    """What arrives within so many seconds arrives at their begin."""

    def change(rows: Rows, _rng: random.Random) -> Rows:
        for row in rows:
            if row["arrival_seconds"]:
                row["arrival_seconds"] = str(math.floor(float(row["arrival_seconds"]) / seconds) * seconds)
        return rows

    return change


def taken_at_once(rows: Rows, _rng: random.Random) -> Rows:
    """Memory does not grow with what is read: an operator has all of it from its start."""
    for row in rows:
        row["memory_gb"] = row["storage_read_gb"]
    return rows


def fewer(share: float) -> Change:
    """Only so many of the pipelines."""

    def change(rows: Rows, rng: random.Random) -> Rows:
        kept, keep = [], False
        for row in rows:
            keep = rng.random() < share if row["arrival_seconds"] else keep
            kept += [row] if keep else []
        return kept

    return change


@dataclass(frozen=True, slots=True)
class Probe:
    name: str
    base: str  # scenario of `standard`
    change: Change = as_is
    params: dict[str, Any] | None = None


TWO_POOLS = {"num_pools": 2, "cpus_per_pool": 32, "ram_gb_per_pool": 250}
SEVERAL = {"multi_operator_containers": True}


def guess(sigma: float) -> dict[str, Any]:
    return {"estimator_algo": "noisy", "noisy_estimator_sigma": sigma}


PROBES = (
    Probe("heavy_mixed", "T2_mixed_iid_101", heavier(0.8, 250)),
    Probe("heavy_alike", "T1_ref_steady_202", heavier(0.6, 250)),
    Probe("heavy_4pools", "T4_branch_4pools_101", heavier(0.5, 100)),
    Probe("guess_mixed", "T2_mixed_iid_202", params=guess(0.5)),
    Probe("guess_2pools", "T4_branch_4pools_202", params=guess(0.2) | TWO_POOLS),
    Probe("guess_heavy_storms", "T5_query_storms_101", heavier(0.7, 200), guess(0.3)),
    Probe("guess_exact", "T1_ref_steady_101", params=guess(0.0)),
    Probe("guess_heavy_deadlines", "T6_deadlines_101", heavier(0.6, 250), guess(0.4)),
    Probe("several_mixed", "T2_mixed_iid_101", params=SEVERAL),
    Probe("several_4pools", "T4_branch_4pools_101", params=SEVERAL),
    Probe("several_2pools", "T5_query_storms_202", params=SEVERAL | TWO_POOLS),
    Probe("split_alike", "T1_ref_steady_101", params={"num_pools": 3, "cpus_per_pool": 24, "ram_gb_per_pool": 200}),
    Probe("split_recurring", "T3_recurring_101", params={"num_pools": 6, "cpus_per_pool": 12, "ram_gb_per_pool": 90}),
    Probe("large_pool", "T3_recurring_101", params={"cpus_per_pool": 200, "ram_gb_per_pool": 2000}),
    Probe("bursts_alike", "T1_ref_steady_202", in_bursts(100)),
    Probe("bursts_mixed", "T2_mixed_iid_202", in_bursts(60)),
    Probe("at_once", "T3_recurring_202", taken_at_once),
    Probe("few_cpus", "T2_mixed_iid_101", params={"cpus_per_pool": 20}),
    Probe("many_cpus", "T5_query_storms_101", params={"cpus_per_pool": 160}),
    Probe("light", "T2_mixed_iid_202", fewer(0.25)),
    Probe("overcommit", "T2_mixed_iid_101", params={"allow_memory_overcommit": True}),
)


def write_suite(folder: Path, seed: int) -> None:
    standard = built_in_suites()["standard"]
    folder.mkdir(parents=True, exist_ok=True)
    lines = ['description = "Train as in standard; held out: probes made from it."', 'objective = "throughput"']
    lines += ['aggregation = "mean_normalized"']
    train = [Probe(e.scenario, e.scenario) for e in standard.suite.entries if e.part is Part.TRAIN]
    for part, probes in ((Part.TRAIN, train), (Part.HELD_OUT, PROBES)):
        for probe in probes:
            spec = spec_of(standard.scenarios[probe.base])
            assert spec.trace is not None
            reader = csv.DictReader(io.StringIO(spec.trace.decode()))
            rows = probe.change(list(reader), random.Random(f"{probe.name} {seed}"))
            text = io.StringIO()
            writer = csv.DictWriter(text, reader.fieldnames or ())
            writer.writeheader()
            writer.writerows(rows)
            (folder / f"{probe.name}.csv.gz").write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))
            lines += ["", "[[scenarios]]", f'name = "{probe.name}"', f'part = "{part.value}"']
            lines += [f'workload.trace = "{probe.name}.csv.gz"', *_parameters(spec.params, probe.params or {})]
    (folder / "suite.toml").write_text("\n".join(lines) + "\n")


def _parameters(params: Params, changes: dict[str, Any]) -> list[str]:
    return [
        f"{section}.{key} = {json.dumps(changes.get(key, getattr(params, key)))}"
        for section, keys in SECTIONS.items()
        if section != "generator"  # their rows come as a trace
        for key in keys
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    write_suite(args.folder, args.seed)


if __name__ == "__main__":
    main()
