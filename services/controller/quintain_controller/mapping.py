"""Messages of other services that both the contract of the controller and the calls it makes speak."""

from __future__ import annotations

from quintain.generator.v1 import generator_pb2
from quintain.verifier.v1 import verifier_pb2
from quintain_controller.domain.model import Limits

OPERATORS = {
    "full": generator_pb2.OPERATOR_FULL,
    "diff": generator_pb2.OPERATOR_DIFF,
    "crossover": generator_pb2.OPERATOR_CROSSOVER,
    "repair": generator_pb2.OPERATOR_REPAIR,
    "agent": generator_pb2.OPERATOR_AGENT,
}


def encode_limits(limits: Limits) -> verifier_pb2.Limits:
    return verifier_pb2.Limits(
        wall_seconds=limits.wall_seconds,
        cpu_seconds=limits.cpu_seconds,
        memory_bytes=limits.memory_bytes,
        decision_bytes=limits.decision_bytes,
        output_bytes=limits.output_bytes,
        source_bytes=limits.source_bytes,
    )
