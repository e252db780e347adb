"""Are the offline backend's FaaS policies sensible on clusters of any shape? Its defaults against the baselines.

    python -m benchmarks.clusters --seeds 1 3 --count 40
    git show REVISION:simulators/faas/quintain_faas/grammar/policy.py.j2 > old.j2
    python -m benchmarks.clusters --seeds 1 3 --count 40 --template old.j2

Every scenario draws its pools (1 to 8, of 1 to 64 CPUs and 20 to 2,000 GB), deadline, estimator, mix of classes and
shape of pipelines from the seed. Said is on how many nothing completed though a baseline completed something, and on
how many the throughput is below 95 % of the better baseline's (floors are not looked at).
"""

from __future__ import annotations

import argparse
import random
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from quintain_faas import simulate
from quintain_faas.grammar import grammar
from quintain_faas.plugin import simulator
from quintain_generator.backends.offline.genome import complete
from quintain_generator.backends.offline.render import render


def drawn(rng: random.Random) -> dict[str, Any]:
    """Parameters of a run. The shares of the classes are binary fractions: they must be exactly 1 together."""
    query, interactive = rng.choice((0.0, 0.125, 0.25, 0.5, 0.75)), rng.choice((0.0, 0.125, 0.25))
    return {
        "duration": rng.choice((30, 60, 120)), "ticks_per_second": 100, "num_pools": rng.choice((1, 2, 3, 8)),
        "cpus_per_pool": rng.choice((1, 2, 4, 16, 64, 7.5)),
        "ram_gb_per_pool": rng.choice((20, 60, 100, 256, 500, 2000)),
        "multi_operator_containers": rng.random() < 0.5, "allow_memory_overcommit": rng.random() < 0.2,
        "max_job_seconds": rng.choice((0, 0, 10, 30)), "estimator_algo": rng.choice(("", "noisy")),
        "noisy_estimator_sigma": rng.choice((0.0, 0.3, 1.0)), "random_seed": rng.randrange(10**6),
        "waiting_seconds_mean": rng.choice((0.5, 2, 10)), "num_pipelines": rng.choice((1, 4)),
        "num_operators": rng.choice((2, 5)), "query_prob": query, "interactive_prob": interactive,
        "batch_prob": 1 - query - interactive, "dag_branch_in_prob": rng.choice((0.0, 1.0)),
        "dag_branch_out_prob": rng.choice((0.0, 1.0)), "cpu_io_ratio": rng.choice((0.0, 0.5, 1.0)),
    }  # fmt: skip


def throughput(policy: Path, params: dict[str, Any]) -> float:
    result = simulate(policy, params)
    assert result.failure is None, f"{policy.name} failed with {params}: {result.failure}"
    return result.stats.throughput


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--count", type=int, default=40, help="scenarios of each seed")
    parser.add_argument("--template", type=Path, help="of another version")
    args = parser.parse_args()
    ours = grammar() if args.template is None else replace(grammar(), template=args.template.read_text())
    sources = {baseline.name: baseline.source for baseline in simulator.describe().baselines}
    sources["offline"] = render(ours, complete(ours, {}))
    nothing = behind = busy = 0
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder, f"{name}.py") for name in sources}
        for name, file in files.items():
            file.write_text(sources[name])
        for seed in args.seeds:
            rng = random.Random(seed)
            for _ in range(args.count):
                params = drawn(rng)
                reached = {name: throughput(file, params) for name, file in files.items()}
                own, best = reached.pop("offline"), max(reached.values())
                busy += best > 0
                nothing += best > 0 and own == 0
                behind += own < 0.95 * best
    print(f"{len(args.seeds) * args.count} scenarios, on {busy} a baseline completed something")
    print(f"nothing completed on {nothing} of these, below 95 % of the better baseline on {behind}")


if __name__ == "__main__":
    main()
