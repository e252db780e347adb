"""Calibration finds the same values on every machine, whatever its linear algebra makes of signs and last bits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from quintain_system.fit.calibration import Calibration, calibrate
from quintain_system.interface import Named, Parameter

PARAMETERS = {name: Parameter(0.0, 1.0, "s", 0.9) for name in ("first", "second", "third")}


def valley(values: Mapping[str, float]) -> float:
    """Long and askew: without its directions it is not found."""
    first, second, third = values["first"] - 0.3, values["second"] - 0.6, values["third"] - 0.4
    return 4 * (first + second) ** 2 + 0.05 * (first - second) ** 2 + (third - first) ** 2


def calibrated() -> Calibration:
    return calibrate(PARAMETERS, valley, valley)


def on_another_machine(
    monkeypatch: pytest.MonkeyPatch, answer: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
) -> Calibration:
    here = np.linalg.eigh

    def there(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found: Any = here(matrix)
        return answer(found[0], found[1])

    with monkeypatch.context() as patch:
        patch.setattr(np.linalg, "eigh", there)
        return calibrated()


def test_a_valley_askew_is_found() -> None:
    found = calibrated()
    assert found.distance < 0.01 < found.default_distance
    assert found.values["first"] + found.values["second"] == pytest.approx(0.9, abs=0.05)


def test_eigenvectors_of_the_other_sign_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    signs = np.array([-1.0, 1.0, -1.0])
    assert on_another_machine(monkeypatch, lambda values, vectors: (values, vectors * signs)) == calibrated()


def test_the_last_bits_of_eigenvectors_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.RandomState(1)

    def nearly(values: np.ndarray, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return values * (1 + 1e-15 * noise.randn(3)), vectors * (1 + 1e-15 * noise.randn(3, 3))

    assert on_another_machine(monkeypatch, nearly) == calibrated()


def test_a_parameter_whose_range_is_turned_round_and_one_that_nobody_declared_are_named() -> None:
    with pytest.raises(ValueError, match=r"^Parameter\(3, 0.2\): low is above high$"):
        Parameter(3.0, 0.2, "s")
    with pytest.raises(AttributeError, match=r"^there is no 'speed'; declared are: mean, spread$"):
        _ = Named(mean=1.0, spread=0.5).speed


def test_of_a_model_that_fails_with_all_values_no_parameter_is_said_to_do_nothing() -> None:
    found = calibrate(PARAMETERS, lambda values: 1.0, lambda values: 1.0)
    assert found.worth == {}
    (words,) = found.words
    assert "failed on the train recordings with all" in words
