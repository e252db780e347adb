"""What all searches of a process share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from quintain_controller.config import RunnerSettings
from quintain_controller.ports import Generator, Verifier
from quintain_controller.usecases.access import Access, Notifier


@dataclass(frozen=True, slots=True)
class Surroundings:
    access: Access
    generator: Generator
    verifier: Verifier
    notifier: Notifier
    settings: RunnerSettings
    generations: asyncio.Semaphore
    verifications: asyncio.Semaphore
