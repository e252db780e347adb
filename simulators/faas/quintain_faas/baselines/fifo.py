"""First in, first out: one container at a time takes a whole pool, pipelines take turns, failures are given up."""

from eudoxia.executor.assignment import Assignment
from eudoxia.scheduler.decorators import register_scheduler, register_scheduler_init
from eudoxia.workload import ASSIGNABLE_STATES, OperatorState


@register_scheduler_init(key="fifo")
def start(scheduler):
    scheduler.waiting = []


@register_scheduler(key="fifo")
def decide(scheduler, results, pipelines):
    if not results and not pipelines:
        return [], []
    scheduler.waiting.extend(pipelines)
    whole_pipeline = scheduler.params["multi_operator_containers"]
    assignments = []
    had_their_turn = []
    for pool in scheduler.executor.pools:
        if pool.avail_cpu_pool <= 0 or pool.avail_ram_pool <= 0:
            continue
        while scheduler.waiting:
            pipeline = scheduler.waiting.pop(0)
            status = pipeline.runtime_status()
            given_up = status.state_counts[OperatorState.FAILED] > 0 or status.has_timed_out()
            if given_up or status.is_pipeline_successful():
                continue
            had_their_turn.append(pipeline)
            ready = status.get_ops(ASSIGNABLE_STATES, require_parents_complete=not whole_pipeline)
            if ready:
                assignments.append(
                    Assignment(
                        ops=ready if whole_pipeline else ready[:1],
                        cpu=pool.avail_cpu_pool,
                        ram=pool.avail_ram_pool,
                        priority=pipeline.priority,
                        pool_id=pool.pool_id,
                        pipeline_id=pipeline.pipeline_id,
                    )
                )
                break
    scheduler.waiting.extend(had_their_turn)
    return [], assignments
