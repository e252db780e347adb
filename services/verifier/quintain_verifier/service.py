"""The verifier, wired."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import grpc
import structlog

from quintain.service.settings import ConfigError
from quintain.service.suite_files import SuiteFileCache
from quintain.verifier.v1 import verifier_pb2, verifier_pb2_grpc
from quintain_verifier import metrics
from quintain_verifier.adapters.registry import RegistryError, load_simulators
from quintain_verifier.adapters.store.verdicts import Records, RecordsError
from quintain_verifier.config import VerifierSettings
from quintain_verifier.ports import Worker
from quintain_verifier.rpc.servicer import VerifierServicer
from quintain_verifier.usecases.fair_queue import FairQueue
from quintain_verifier.usecases.planning import RunPlanner
from quintain_verifier.usecases.run_plan import JobRunner
from quintain_verifier.usecases.simulator_threads import SimulatorThreads
from quintain_verifier.usecases.verify import VerifyPolicy
from quintain_verifier.workers.pool import START_SECONDS, WorkerPool, worker_settings

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("service")


class VerifierService:
    """What `quintain.service.server` serves. `pool` is already spawned. Raises ConfigError."""

    name = "verifier"

    def __init__(self, settings: VerifierSettings, pool: WorkerPool) -> None:
        self._pool = pool
        records = settings.records
        try:
            registry = load_simulators(settings.simulators, settings.remote_simulators)
            self._records = Records(records.memory_bytes, records.file, records.file_rows)
        except RegistryError as error:
            raise ConfigError(str(error)) from error
        except RecordsError as error:
            raise ConfigError(f"records.file: {error}") from error
        simulators = registry.usable
        for name, reason in registry.unusable.items():
            log.warning("simulator cannot be used", simulator=name, reason=reason)
        for name in simulators:
            metrics.announce(name)
        self._worker_settings = worker_settings(settings, simulators.values())
        runner = JobRunner(pool, settings.engine_seconds)
        self._queue: FairQueue[Worker] = FairQueue(settings.most_waiting, runner.retry_after)
        self._threads = SimulatorThreads(simulators)
        self._verification = VerifyPolicy(
            RunPlanner(simulators, registry.unusable, settings.limits_maximum),
            self._threads,
            self._queue,
            runner,
            self._records,
            only_strict=not settings.insecure_dev,
        )
        addresses = {name: endpoint.address for name, endpoint in settings.remote_simulators.items()}
        self._servicer = VerifierServicer(
            self._verification,
            registry,
            self._threads,
            addresses,
            settings.limits_default,
            SuiteFileCache(settings.suite_bytes),
        )

    async def start(self) -> None:
        self._pool.open(self._worker_settings, self._queue.add_idle, self._queue.drop_idle)

    def register(self, server: grpc.aio.Server) -> Sequence[str]:
        verifier_pb2_grpc.add_VerifierServicer_to_server(self._servicer, server)
        return [verifier_pb2.DESCRIPTOR.services_by_name["Verifier"].full_name]

    async def unready_reason(self) -> str:
        """At least one worker has a jail that held when it was last tried, and verdicts can be recorded."""
        workers = self._pool.ready_workers
        metrics.SLOTS_TOTAL.set(len(workers))
        if workers and workers[0].isolation is not None:
            for layer, active in workers[0].isolation.layers.items():
                metrics.JAIL_LAYERS.labels(layer).set(active)
        if not workers:
            return self._pool.no_jail or f"no worker has started yet; each has {START_SECONDS:.0f} s"
        return await asyncio.to_thread(self._records.problem)

    async def drain(self) -> None:
        await self._verification.drain()

    async def close(self) -> None:
        await self._verification.close()
        self._threads.close()
        await self._pool.close()
