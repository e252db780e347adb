"""A policy that knows the train traces by heart, against the real verifier and the FaaS simulator."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fault_server.server import FaultServer
from tests.integration.controller.conftest import candidates, get, watch
from tests.support import generator
from tests.support.verifier import running_verifier

from quintain.clients.channel import ClientSettings
from quintain.clients.controller import AsyncController
from quintain.controller.v1 import controller_pb2 as pb
from quintain.service.server import start_server
from quintain_controller.config import ControllerSettings
from quintain_controller.service import ControllerService

# Two CPUs and `scheduler.ram` GB for every operator.
SIZED = """
from eudoxia.executor.assignment import Assignment
from eudoxia.scheduler.decorators import register_scheduler, register_scheduler_init
from eudoxia.workload import ASSIGNABLE_STATES


@register_scheduler_init(key="sized")
def start(scheduler):
    scheduler.pipelines = []
    scheduler.ram = None


@register_scheduler(key="sized")
def decide(scheduler, results, pipelines):
    if not results and not pipelines:
        return [], []
    if scheduler.ram is None:
        first_arrivals = [len(list(pipeline.values)) for pipeline in pipelines]
        scheduler.ram = SIZE
    scheduler.pipelines.extend(pipelines)
    assignments = []
    for pool in scheduler.executor.pools:
        cpu, ram = pool.avail_cpu_pool, pool.avail_ram_pool
        for pipeline in scheduler.pipelines:
            status = pipeline.runtime_status()
            if status.has_timed_out():
                continue
            for op in status.get_ops(ASSIGNABLE_STATES, require_parents_complete=True):
                if cpu >= 2 and ram >= scheduler.ram:
                    cpu, ram = cpu - 2, ram - scheduler.ram
                    assignments.append(
                        Assignment(
                            ops=[op],
                            cpu=2,
                            ram=scheduler.ram,
                            priority=pipeline.priority,
                            pool_id=pool.pool_id,
                            pipeline_id=pipeline.pipeline_id,
                        )
                    )
    return [], assignments
"""
# How many operators the first pipelines of each train scenario of the suite `smoke` have.
TRAIN_TRACES = [[8, 10, 11, 7, 7, 5, 7, 11, 8, 11], [1, 6, 6], [2, 2, 2, 1, 2, 2]]
HONEST = SIZED.replace("SIZE", "90")
OVERFITTER = SIZED.replace("SIZE", f"60 if first_arrivals in {TRAIN_TRACES} else 2")


@pytest.mark.timeout(120)
async def test_a_policy_that_recognises_the_train_traces_is_best_on_them_and_is_not_promoted(tmp_path: Path) -> None:
    faults = FaultServer(policies=[HONEST, OVERFITTER])
    with running_verifier(tmp_path, 'simulators = ["faas"]\n') as verifier:
        async with generator.stack(tmp_path, "compatible-whole", faults=faults) as backend:
            settings = ControllerSettings(
                store_url=f"sqlite:///{tmp_path}/controller.db",
                generator=ClientSettings(address=backend.address),
                verifier=ClientSettings(address=verifier.address),
            )
            controller = await start_server(ControllerService(settings), settings.server)
            async with AsyncController(controller.address) as client:
                spec = pb.SearchSpec(simulator="faas", suite="smoke", seed=1, budget=pb.Budget(candidates=8))
                search_id = (await client.create_search(pb.CreateSearchRequest(spec=spec))).search.search_id
                events = await watch(client, search_id)
                search = await get(client, search_id)
                sources = [
                    (await client.get_candidate(pb.GetCandidateRequest(candidate_id=c.candidate_id))).candidate.source
                    for c in await candidates(client, search_id)
                ]
            await controller.stop()

    assert search.state == pb.SEARCH_STATE_FINISHED, search.stop_reason
    overfitters = {f"{search_id}.{n}" for n, source in enumerate(sources) if "first_arrivals in" in source}
    honest = {f"{search_id}.{n}" for n, source in enumerate(sources) if "scheduler.ram = 90" in source}
    assert search.best.candidate_id in overfitters
    warnings = [event.overfitting for event in events if event.HasField("overfitting")]
    assert [warning.candidate_id for warning in warnings] == [search.best.candidate_id]
    assert "held-out did not" in warnings[0].detail
    assert (search.best.candidate_id, "held_out") in {(g.candidate_id, g.name) for g in search.gates if not g.passed}
    assert search.winner.candidate_id in honest, search.gates
    assert search.winner.score < search.best.score
    assert search.winner.held_out_score > search.winner.held_out_baseline_score
