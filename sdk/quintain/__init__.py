"""quintain: designs policies for distributed systems by generate-and-verify.

This package is what other code imports: a session for scripts and notebooks (``quintain.connect``), the clients
(``quintain.clients``), typed errors (``quintain.errors``), the plugin interfaces (``quintain.plugins``), conformance
suites (``quintain.conformance``), and the contracts' generated code (``quintain.verifier.v1`` and so on).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quintain.session import Session, connect

__version__ = "0.1.0"
__all__ = ["Session", "connect"]


def __getattr__(name: str) -> Any:
    """Loaded when it is first named: gRPC takes a while, and most that imports this package does without."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("quintain.session"), name)
