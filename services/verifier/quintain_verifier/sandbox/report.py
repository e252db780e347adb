"""What is known about the isolation of a run, as measured by its own child before it got the policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from quintain_verifier.sandbox.faults import SandboxFault
from quintain_verifier.sandbox.inside.lockdown import REQUIRED

POSSIBLE = "POSSIBLE"
STRICT, WEAK = "strict", "weak"


@dataclass(frozen=True, slots=True)
class IsolationReport:
    """`layers`: name -> active. `errors`: why a layer is not. `landlock_abi`: 0 without Landlock. `probes`: forbidden
    attempt -> the errno it got, or ``POSSIBLE``. `profile`: ``strict`` (all required layers hold) or ``weak``
    (insecure_dev).
    """

    layers: Mapping[str, bool]
    landlock_abi: int
    probes: Mapping[str, str]
    profile: str
    architecture: str
    errors: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_ready(cls, ready: Any, *, strict: bool) -> IsolationReport:
        """Read a child's report. Raises SandboxFault if it is malformed or, with `strict`, if a required layer is
        missing or a probe went through."""
        try:
            report = cls(
                layers={str(name): active is True for name, active in ready["layers"].items()},
                landlock_abi=int(ready["landlock_abi"]),
                probes={str(name): str(result) for name, result in ready["probes"].items()},
                profile=STRICT if strict else WEAK,
                architecture=str(ready["machine"]),
                errors={str(name): str(why) for name, why in ready["errors"].items()},
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise SandboxFault(f"a child's report is malformed: {error!r}") from error
        missing = [name for name in REQUIRED if not report.layers.get(name)]
        possible = [name for name, result in report.probes.items() if result == POSSIBLE]
        if strict and (missing or possible or not report.probes):
            whys = "; ".join(f"{name}: {report.errors.get(name, 'not applied')}" for name in missing)
            raise SandboxFault(f"isolation is not complete: missing [{whys}], possible {possible}")
        return report
