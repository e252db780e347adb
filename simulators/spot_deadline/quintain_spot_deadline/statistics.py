"""What series are like: how much there is, how long it lasts, how well the past tells the future.

    python -m quintain_spot_deadline.statistics [--data DIR]

prints the generator's profiles, and beside them the recorded series of DIR that each was fitted to.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from quintain_spot_deadline.generator import PROFILES, generate
from quintain_spot_deadline.series import parse_table, run_lengths

LAGS = (1, 6, 36)  # ticks: ten minutes, an hour, six hours
QUANTILES = (0.25, 0.5, 0.75, 0.9)
GENERATED_TICKS = 1764  # as long as a recording
SEEDS = 20
# The recording that each profile was fitted to.
FITTED_TO = {
    "plenty": "us-west-2a_k80_1",
    "blocks": "us-west-2a_k80_8",
    "mostly": "us-west-2a_v100_1",
    "scarce": "us-west-2a_v100_8",
    "vanishing": "us-west-2b_k80_1",
    "flickering": "us-west-2b_k80_8",
    "two_faced": "us-west-2b_v100_1",
    "restless": "us-west-2b_v100_8",
}


@dataclass(frozen=True, slots=True)
class Statistics:
    """`duty`: the share of ticks with spot. Lengths in ticks. `autocorrelation` by lag."""

    duty: float
    mean_up: float
    mean_down: float
    one_tick_up: float  # share of the stretches with spot that last one tick
    one_tick_down: float
    quantiles_up: tuple[float, ...]
    quantiles_down: tuple[float, ...]
    autocorrelation: tuple[float, ...]


def measure(series: list[str]) -> Statistics:
    """Over all of `series` together; the autocorrelation is the mean of theirs. Each must have both states."""
    stretches = [stretch for one in series for stretch in run_lengths(one)]
    up, down = (np.array([length for state, length in stretches if state == which]) for which in "10")
    samples = [np.array([sample == "1" for sample in one], float) for one in series]
    return Statistics(
        duty=float(np.concatenate(samples).mean()),
        mean_up=float(up.mean()),
        mean_down=float(down.mean()),
        one_tick_up=float((up == 1).mean()),
        one_tick_down=float((down == 1).mean()),
        quantiles_up=tuple(float(q) for q in np.quantile(up, QUANTILES)),
        quantiles_down=tuple(float(q) for q in np.quantile(down, QUANTILES)),
        autocorrelation=tuple(float(np.mean([_autocorrelation(one, lag) for one in samples])) for lag in LAGS),
    )


def _autocorrelation(samples: np.ndarray[tuple[int], np.dtype[np.float64]], lag: int) -> float:
    centred = samples - samples.mean()
    return float((centred[:-lag] * centred[lag:]).mean() / (centred * centred).mean())


def generated(profile: str) -> Statistics:
    """Of as many ticks as SEEDS recordings. A recording is one draw, so it lies around these figures, not on them."""
    made = [generate(PROFILES[profile], GENERATED_TICKS, f"statistics/{profile}/{seed}") for seed in range(SEEDS)]
    return measure([series for series in made if len(set(series)) == 2])


def row(name: str, found: Statistics) -> str:
    def numbers(values: tuple[float, ...], digits: int = 0) -> str:
        return " ".join(f"{value:.{digits}f}" for value in values)

    cells = [
        name,
        f"{found.duty:.2f}",
        f"{found.mean_up:.1f}",
        f"{found.one_tick_up:.2f}",
        numbers(found.quantiles_up),
        f"{found.mean_down:.1f}",
        f"{found.one_tick_down:.2f}",
        numbers(found.quantiles_down),
        numbers(found.autocorrelation, 2),
    ]
    return "| " + " | ".join(cells) + " |"


def table(recorded: dict[str, str]) -> str:
    """Markdown: every profile, and the recording that it was fitted to where `recorded` has it."""
    head = ["series", "duty", "mean up", "1 tick", "quartiles, 90 %", "mean down", "1 tick", "quartiles, 90 %"]
    head.append("autocorrelation at " + ", ".join(map(str, LAGS)))
    lines = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    for profile in PROFILES:
        lines.append(row(profile, generated(profile)))
        if FITTED_TO[profile] in recorded:
            lines.append(row(f"recorded {FITTED_TO[profile]}", measure([recorded[FITTED_TO[profile]]])))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with series.tsv")
    args = parser.parse_args()
    recorded = {}
    if args.data is not None:
        recorded = parse_table("series.tsv", (args.data / "series.tsv").read_text(encoding="utf-8"))
    print(table(recorded))


if __name__ == "__main__":
    main()
