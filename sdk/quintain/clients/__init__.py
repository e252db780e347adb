"""Clients of the three services, sync and asyncio.

>>> from quintain.clients import Verifier
>>> with Verifier("127.0.0.1:7071") as verifier:                                        # doctest: +SKIP
...     result = verifier.verify_policy(source, simulator="faas", suite="smoke")

Every client raises `quintain.errors.QuintainError` subclasses, and retries what the contract says may be retried.
"""

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
