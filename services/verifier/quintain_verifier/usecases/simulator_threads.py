"""Where simulators are asked what they are: away from the event loop, and away from one another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import structlog

from quintain.errors import Internal, QuintainError, Unavailable
from quintain.plugins.simulator import InvalidInput, SimulatorFault, SimulatorUnavailable

_THREADS = 2  # for each simulator

T = TypeVar("T")

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("simulators")


class SimulatorThreads:
    """Threads of its own for each simulator: a remote one that does not answer holds up nobody else."""

    def __init__(self, names: Iterable[str]) -> None:
        self._threads = {name: ThreadPoolExecutor(_THREADS, thread_name_prefix=f"ask-{name}") for name in names}

    async def run(self, simulator: str, work: Callable[[], T]) -> T:
        """Raises QuintainError and InvalidInput; whatever else `work` raises is the simulator's fault."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads[simulator], work)
        except (QuintainError, InvalidInput):
            raise
        except SimulatorFault as fault:
            kind = Unavailable if isinstance(fault, SimulatorUnavailable) else Internal
            raise kind(
                f"simulator {simulator} failed: {fault}", reason="SIMULATOR_FAULT", metadata={"simulator": simulator}
            ) from fault
        except Exception as error:
            log.exception("simulator failed", simulator=simulator)
            raise Internal(
                f"simulator {simulator} failed: {type(error).__name__}: {error}",
                reason="SIMULATOR_FAULT",
                metadata={"simulator": simulator},
            ) from error

    def close(self) -> None:
        for threads in self._threads.values():
            threads.shutdown(wait=False, cancel_futures=True)
