"""Runs of packages in this process: their models are this repository's."""

from __future__ import annotations

from quintain.plugins.inprocess import in_process, in_process_program
from quintain.plugins.simulator import Outcome, RunOptions
from quintain_system.package_simulator import PackageSimulator


def run(simulator: PackageSimulator, scenario: str, source: str, options: RunOptions | None = None) -> Outcome:
    found = simulator.scenario(scenario)
    return simulator.run_with_programs(
        found, in_process(simulator, source), in_process_program, options or RunOptions()
    )
