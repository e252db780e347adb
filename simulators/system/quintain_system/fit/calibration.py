"""Calibration: the values of a model's declared parameters with which it is nearest to the train recordings.

Seeded CMA-ES over the unit cube (logarithmic where a range spans more than a factor of twenty), then one small step of
each parameter to either side, which says what it is worth. Bounded, and the same every time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from cmaes import CMA

from quintain_system.interface import Parameter

RUNS = 200  # rollouts of all train recordings, at most; those that ask what parameters are worth come on top
SIGMA = 0.25  # of the unit cube
ASIDE = 0.1  # of a parameter's range: the step that says what it is worth
LOGARITHMIC_FROM = 20.0  # high / low
DIGITS = 5
NO_EFFECT = 1e-9
AT_EDGE = 0.01
FAILED = 1.0  # the distance of a model that failed
PATIENCE = 8  # generations without an improvement
IMPROVEMENT = 2e-4  # of the distance
GIVE_UP_AFTER = 20  # runs that all failed


@dataclass(frozen=True)
class Calibration:
    """`values` by parameter; `worth`: how much the distance grows if one is a tenth of its range off (0: it does
    nothing), empty if the model failed with all values; `words` for the model's author."""

    values: Mapping[str, float]
    worth: Mapping[str, float]
    distance: float
    default_distance: float
    runs: int
    words: tuple[str, ...]


def calibrate(
    parameters: Mapping[str, Parameter],
    distance: Callable[[Mapping[str, float]], float],
    careful: Callable[[Mapping[str, float]], float],
    runs: int = RUNS,
) -> Calibration:
    """`distance` of a model with these values to the train recordings, 1 where it fails; `careful` is the same over
    other chances and more of them: the best of many by `distance` may have been lucky, so it decides at the end."""
    defaults = {name: p.value for name, p in parameters.items()}
    at_default = distance(defaults)
    if not parameters:
        words = ("the model declares no PARAMETERS: nothing was calibrated, its numbers are the author's",)
        return Calibration({}, {}, at_default, at_default, 1, words)
    free = {name: p for name, p in parameters.items() if p.high > p.low}
    scales = {name: _Scale(p) for name, p in free.items()}
    best, least, used = defaults, at_default, 1
    if free:
        found, used = _search(scales, defaults, at_default, distance, runs)
        best = min([defaults, *found], key=careful)
        used += 1 + len(found)
        least = distance(best)
        if least >= FAILED:
            failed = f"the model failed on the train recordings with all {used} sets of values: nothing was calibrated"
            return Calibration(best, {}, least, at_default, used, (failed,))
    worth = dict.fromkeys(parameters, 0.0)
    for name, scale in scales.items():
        worth[name] = _worth(name, scale, best, least, distance)
        used += 2
    return Calibration(best, worth, least, at_default, used, tuple(_words(parameters, scales, best, worth)))


def _search(
    scales: Mapping[str, _Scale],
    defaults: Mapping[str, float],
    at_default: float,
    distance: Callable[[Mapping[str, float]], float],
    runs: int,
) -> tuple[list[dict[str, float]], int]:
    """The best that it met, and where its distribution came to rest; and how many runs it took."""
    names = list(scales)
    dimensions = max(2, len(names))  # CMA-ES needs two; the second of one means nothing
    mean = np.full(dimensions, 0.5)
    mean[: len(names)] = [min(0.95, max(0.05, scales[name].place(defaults[name]))) for name in names]
    optimizer = _Cma(mean=mean, sigma=SIGMA, bounds=np.tile([0.0, 1.0], (dimensions, 1)), seed=0)
    best, least, used = dict(defaults), at_default, 1
    still = 0  # generations in a row that found nothing better worth the name
    while used + optimizer.population_size <= runs and still < PATIENCE and not optimizer.should_stop():
        before = least
        if least >= FAILED and used > GIVE_UP_AFTER:
            break
        told = []
        for _ in range(optimizer.population_size):
            point = optimizer.ask()
            values = dict(defaults) | {n: scales[n].value(float(u)) for n, u in zip(names, point, strict=False)}
            found = distance(values)
            told.append((point, found))
            if found < least:
                best, least = values, found
        used += len(told)
        still = 0 if least < before - IMPROVEMENT else still + 1
        optimizer.tell(told)
    rest = {n: scales[n].value(min(1.0, max(0.0, float(u)))) for n, u in zip(names, optimizer.mean, strict=False)}
    return [best, {**defaults, **rest}], used


def _worth(
    name: str,
    scale: _Scale,
    best: Mapping[str, float],
    least: float,
    distance: Callable[[Mapping[str, float]], float],
) -> float:
    place = scale.place(best[name])
    aside = [scale.value(max(0.0, place - ASIDE)), scale.value(min(1.0, place + ASIDE))]
    return max(abs(distance({**best, name: value}) - least) for value in aside)


def _words(
    parameters: Mapping[str, Parameter],
    scales: Mapping[str, _Scale],
    best: Mapping[str, float],
    worth: Mapping[str, float],
) -> list[str]:
    words = []
    for name, parameter in parameters.items():
        if name not in scales:
            words.append(f"parameter {name} can be {parameter.low:g} only: it is a constant")
        elif worth[name] <= NO_EFFECT:
            words.append(f"parameter {name} does nothing: a tenth of its range more or less changes no distance")
        elif not AT_EDGE < scales[name].place(best[name]) < 1 - AT_EDGE:
            words.append(f"parameter {name} is at the edge of its range, {best[name]:g} {parameter.unit}".rstrip())
    return words


class _Cma(CMA):  # type: ignore[misc]  # the library has no types
    """Finds the same on every machine. The library draws along the eigenvectors, whose signs differ between processors'
    linear algebra: one other sign is another search. The symmetric root of the covariance draws from the same
    distribution and knows no sign; last bits do not count, as values are rounded and only the order is told."""

    def _sample_solution(self) -> np.ndarray:
        axes, lengths = self._eigen_decomposition()
        root = (axes * lengths) @ axes.T
        drawn: np.ndarray = self._mean + self._sigma * (root @ self._rng.randn(self._n_dim))
        return drawn


class _Scale:
    """A parameter's range as 0 to 1 and back."""

    def __init__(self, parameter: Parameter) -> None:
        self._low, self._high = parameter.low, parameter.high
        self._log = parameter.low > 0 and parameter.high / parameter.low > LOGARITHMIC_FROM

    def value(self, place: float) -> float:
        if self._log:
            found = self._low * (self._high / self._low) ** place
        else:
            found = self._low + (self._high - self._low) * place
        return min(self._high, max(self._low, float(f"{found:.{DIGITS}g}")))

    def place(self, value: float) -> float:
        if self._log:
            return math.log(value / self._low) / math.log(self._high / self._low)
        return (value - self._low) / (self._high - self._low)
