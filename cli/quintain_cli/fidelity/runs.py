"""Policies run where their score is wanted: in a model, in the truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from quintain.plugins.recorder import Recorder
from quintain.type.v1 import type_pb2
from quintain.verifier.v1 import verifier_pb2 as pb


@dataclass(frozen=True)
class System:
    """Where policies of one package can be run: the package with a model, or the truth. `scenarios` are those of the
    package (by the names here), `recorder` turns policies into those that its simulator runs."""

    name: str
    simulator: str
    suite: str
    files: pb.SuiteFiles | None
    scenarios: tuple[str, ...]
    recorder: Recorder

    def request(self, source: str) -> pb.VerifyRequest:
        """For all scenarios."""
        return pb.VerifyRequest(
            simulator=self.simulator,
            suite=self.suite,
            suite_files=self.files,
            scenarios=self.scenarios,
            policy=type_pb2.Policy(source=self.recorder.policy(source)),
        )


def score_of(verdict: pb.Verdict) -> float | None:
    """The mean of the scenarios' normalised values, whatever the suite's aggregation. None for a policy that failed."""
    if verdict.status != pb.VERDICT_STATUS_OK:
        return None
    values = [scenario.normalized for scenario in verdict.scenarios if scenario.ran]
    return sum(values) / len(values) if values else None


def values_of(verdict: pb.Verdict) -> Mapping[str, float]:
    """The objective's values by the scenarios' short names, which model and truth share."""
    return {s.scenario.rpartition("/")[2]: s.value for s in verdict.scenarios if s.ran}


def prediction_error(predicted: Mapping[str, float], true: Mapping[str, float]) -> float:
    """The mean over the scenarios of how far two values are apart, as a share of the larger one: 0 alike, 1 nothing
    alike (2 for opposite signs)."""
    shared = sorted(predicted.keys() & true.keys())
    errors = []
    for name in shared:
        largest = max(abs(predicted[name]), abs(true[name]))
        errors.append(abs(predicted[name] - true[name]) / largest if largest else 0.0)
    return sum(errors) / len(errors) if errors else 1.0
