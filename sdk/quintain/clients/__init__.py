"""Clients of the three services, sync and asyncio.

>>> from quintain.clients import Verifier
>>> with Verifier("127.0.0.1:7071") as verifier:                                        # doctest: +SKIP
...     result = verifier.verify_policy(source, simulator="faas", suite="smoke")

Every client raises `quintain.errors.QuintainError` subclasses, and retries what the contract says may be retried.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quintain.clients.channel import ClientSettings
    from quintain.clients.controller import AsyncController, Controller
    from quintain.clients.generator import AsyncGenerator, Generator
    from quintain.clients.verifier import AsyncVerifier, Verifier

__all__ = [
    "AsyncController",
    "AsyncGenerator",
    "AsyncVerifier",
    "ClientSettings",
    "Controller",
    "Generator",
    "Verifier",
]


def __getattr__(name: str) -> Any:
    """A client, loaded when it is first named: gRPC takes a while, and a module of this package may not need it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "channel" if name == "ClientSettings" else name.removeprefix("Async").lower()
    return getattr(import_module(f"{__name__}.{module}"), name)
