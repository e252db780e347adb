"""What all searches of a process share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from quintain_controller.config import RunnerSettings
from quintain_controller.ports import Generator, Verifier
from quintain_controller.usecases.async_store import AsyncStore
from quintain_controller.usecases.notifier import Notifier


@dataclass(frozen=True, slots=True)
class Dependencies:
    store: AsyncStore
    generator: Generator
    verifier: Verifier
    notifier: Notifier
    settings: RunnerSettings
    generations: asyncio.Semaphore
    verifications: asyncio.Semaphore
