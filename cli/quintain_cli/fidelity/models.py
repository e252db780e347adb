"""Models as a search for one leaves them: the source, and the values that calibration found for it."""

from __future__ import annotations

import ast
from collections.abc import Mapping

from quintain.verifier.v1 import verifier_pb2 as pb

_PARAMETER = "parameter_"


def calibrated_values(verdict: pb.Verdict) -> dict[str, float]:
    """Of a verdict on a model: they are the same in every scenario."""
    metrics = {metric.name: metric.value for scenario in verdict.scenarios for metric in scenario.metrics}
    return {n.removeprefix(_PARAMETER): value for n, value in metrics.items() if n.startswith(_PARAMETER)}


def structure(source: str) -> str:
    """What is left of a model without its numbers, comments and docstrings: two with the same differ in values only,
    which are calibrated."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
            node.value = 0
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [s for s in body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]  # type: ignore[attr-defined]
    return ast.dump(tree)


def calibrated(source: str, values: Mapping[str, float]) -> str:
    """The model with these values as its parameters' defaults, whatever way it declares them."""
    if not values:
        return source
    lines = [f"    {name!r}: _calibrated(PARAMETERS[{name!r}], default={value!r})," for name, value in values.items()]
    return "\n".join(
        [
            source.rstrip(),
            "",
            "",
            "# What calibration on the train recordings found.",
            "from dataclasses import replace as _calibrated  # noqa: E402",
            "",
            "PARAMETERS = {",
            "    **PARAMETERS,",
            *lines,
            "}",
            "",
        ]
    )
