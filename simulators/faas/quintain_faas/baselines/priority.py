"""Queues by priority, a tenth of a pool for each operator; who ran out of memory gets twice as much, and goes first."""

from eudoxia.executor.assignment import Assignment
from eudoxia.scheduler.decorators import register_scheduler, register_scheduler_init
from eudoxia.utils import Priority
from eudoxia.workload import OperatorState

ORDER = (Priority.QUERY, Priority.INTERACTIVE, Priority.BATCH_PIPELINE)


@register_scheduler_init(key="priority")
def start(scheduler):
    scheduler.queues = {priority: [] for priority in ORDER}
    scheduler.queued = set()


def enqueue_ready(scheduler, pipeline):
    for op in pipeline.runtime_status().get_ops([OperatorState.PENDING], require_parents_complete=True):
        if op.id not in scheduler.queued:
            scheduler.queued.add(op.id)
            scheduler.queues[pipeline.priority].append((op, None))


@register_scheduler(key="priority")
def decide(scheduler, results, pipelines):
    if not results and not pipelines:
        return [], []
    for pipeline in pipelines:
        enqueue_ready(scheduler, pipeline)
    for result in results:
        for op in result.ops:
            if result.error == "OOM" and op.state() == OperatorState.FAILED:
                scheduler.queues[op.pipeline.priority].insert(0, (op, (result.cpu, result.ram)))
            else:
                enqueue_ready(scheduler, op.pipeline)

    pools = scheduler.executor.pools
    free = [[pool.avail_cpu_pool, pool.avail_ram_pool] for pool in pools]
    assignments = []
    for priority in ORDER:
        queue = scheduler.queues[priority]
        while queue:
            op, failed_with = queue[0]
            best = max(range(len(pools)), key=lambda i: free[i][1])
            pool = pools[best]
            if failed_with is None:
                cpu, ram = max(1, pool.max_cpu_pool // 10), max(1, pool.max_ram_pool // 10)
            else:
                cpu, ram = failed_with[0] * 2, failed_with[1] * 2
            cpu, ram = min(cpu, pool.max_cpu_pool), min(ram, pool.max_ram_pool)
            too_big = failed_with is not None and failed_with[1] >= pool.max_ram_pool
            if too_big or op.pipeline.runtime_status().has_timed_out():
                queue.pop(0)
                continue
            if cpu > free[best][0] or ram > free[best][1]:
                break  # the first in line waits; what is behind it does not overtake
            queue.pop(0)
            free[best][0] -= cpu
            free[best][1] -= ram
            assignments.append(
                Assignment(
                    ops=[op],
                    cpu=cpu,
                    ram=ram,
                    priority=op.pipeline.priority,
                    pool_id=best,
                    pipeline_id=op.pipeline.pipeline_id,
                )
            )
    return [], assignments
