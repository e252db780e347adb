"""The untrusted side: runs beside the policy, in its process.

Holds a mirror of what a real scheduler can see (`cluster`, `objects`), calls the policy and reports its decisions
(`session`). `guard` and `effects` find out when the policy need not be called. Imports the standard library only.
"""

from quintain_faas.guest.session import Session, load

__all__ = ["Session", "load"]
