"""What an operator is said to need, if the run has an estimator."""

from __future__ import annotations

import numpy as np

from quintain_faas.params import Params
from quintain_faas.workload import PipelineSpec


class Estimator:
    """Peak memory, blurred by a log-normal factor. Draws one number for each operator visited."""

    def __init__(self, sigma: float, seed: int) -> None:
        self._sigma = sigma
        self._rng = np.random.default_rng(seed)

    @classmethod
    def of(cls, params: Params) -> Estimator | None:
        if not params.estimator_algo:
            return None
        return cls(params.noisy_estimator_sigma, params.random_seed)

    def estimate(self, pipeline: PipelineSpec) -> list[int | float]:
        """Peak memory in GB by the operators' positions."""
        estimates: list[int | float] = [0] * len(pipeline.operators)
        for position in pipeline.visiting_order:
            peak = pipeline.operators[position].peak_memory_gb
            if self._sigma > 0:
                peak *= float(self._rng.lognormal(mean=0.0, sigma=self._sigma))
            estimates[position] = peak
        return estimates
