"""Workloads: what arrives when, and what it truly needs. Immutable, shareable between runs and threads."""

from quintain_faas.workload.model import OperatorSpec, PipelineSpec
from quintain_faas.workload.workload import Workload

__all__ = ["OperatorSpec", "PipelineSpec", "Workload"]
