"""What it costs to calibrate models: each jailed, on the shipped recordings of the load balancer.

    .venv/bin/python -m benchmarks.calibration [--models 20] [--jobs 2]

A calibration takes the first 2,000 events or so of what a model is fitted to (4,000 entries, inputs and decisions
included), and at most 200 runs over all of it. The models are drawn from the package's grammar. Prints the runs, the
time by the clock and the processor time, and both for 200 runs of each model: a calibration ends before that when
nothing gets better any more.
"""

from __future__ import annotations

import argparse
import random
import resource
import time
from concurrent.futures import ProcessPoolExecutor

from quintain.plugins.simulator import RunOptions
from quintain_generator.backends.offline.render import render
from quintain_generator.backends.offline.variation import random_genome
from quintain_system.fit.calibration import RUNS
from quintain_system.fit.package_fit import PackageFit
from quintain_system.fit.plugin import recorded_packages
from quintain_verifier.sandbox.jail import Jail
from quintain_verifier.sandbox.limits import MAX_LIMITS

PACKAGE = "load_balancer"


def calibrated(number: int) -> tuple[float, float]:
    """Runs that the calibration of one model took, and its processor seconds, the jailed process included."""
    fit = recorded_packages()[PACKAGE]
    assert isinstance(fit, PackageFit)
    source = render(fit.grammar, random_genome(fit.grammar, random.Random(number)))
    before = _cpu_seconds()
    with (
        Jail([fit.guest_module], isolation="required") as jail,
        jail.open(source, guest_module=fit.guest_module, limits=MAX_LIMITS) as run,
        jail.open(source, guest_module=fit.guest_module, limits=MAX_LIMITS) as again,
    ):
        opened = iter((run, again))
        outcome = fit.run(fit.scenario(f"{PACKAGE}/train"), lambda setup: next(opened).open_policy(setup), RunOptions())
    assert outcome.failure is None, outcome.failure
    return outcome.metrics["calibration_runs"], _cpu_seconds() - before


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(of.ru_utime + of.ru_stime for of in used)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    began = time.monotonic()
    with ProcessPoolExecutor(args.jobs) as pool:
        found = list(pool.map(calibrated, range(args.models)))
    seconds, runs, cpu = time.monotonic() - began, sum(r for r, _ in found), sum(c for _, c in found)
    each = RUNS * args.models / runs
    print(
        f"{args.models} models, {runs:.0f} runs, {args.jobs} at a time: {seconds:.0f} s, {cpu:.0f} s of processor time"
    )
    print(f"with {RUNS} runs of each: {seconds * each:.0f} s, {cpu * each:.0f} s of processor time")


if __name__ == "__main__":
    main()
