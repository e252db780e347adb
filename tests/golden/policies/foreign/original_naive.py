from typing import List, Tuple
import logging
from eudoxia.workload import Pipeline, OperatorState
from eudoxia.executor.assignment import Assignment, ExecutionResult, Suspend
from eudoxia.scheduler import register_scheduler_init, register_scheduler

logger = logging.getLogger(__name__)

@register_scheduler_init(key="naive")
def naive_init(s):
    s.waiting_queue: List[Pipeline] = []

@register_scheduler(key="naive")
def naive(s, results: List[ExecutionResult], pipelines: List[Pipeline]) -> Tuple[List[Suspend], List[Assignment]]:
    for p in pipelines:
        s.waiting_queue.append(p)
    suspensions, assignments = [], []
    requeue = []
    for pool in s.executor.pools:
        avail_cpu, avail_ram = pool.avail_cpu_pool, pool.avail_ram_pool
        if avail_cpu <= 0 or avail_ram <= 0:
            continue
        while s.waiting_queue:
            pipeline = s.waiting_queue.pop(0)
            status = pipeline.runtime_status()
            has_failures = status.state_counts[OperatorState.FAILED] > 0
            if status.is_pipeline_successful() or has_failures:
                continue
            requeue.append(pipeline)
            op_list = status.get_ops([OperatorState.PENDING], require_parents_complete=True)[:1]
            if not op_list:
                continue
            assignments.append(Assignment(ops=op_list, cpu=avail_cpu, ram=avail_ram, priority=pipeline.priority,
                                          pool_id=pool.pool_id, pipeline_id=pipeline.pipeline_id))
            break
    s.waiting_queue = requeue + s.waiting_queue
    return suspensions, assignments
