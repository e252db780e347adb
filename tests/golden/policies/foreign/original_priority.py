"""Priority scheduling in the manner of the original: queues by class, doubling after OOM, batch suspended for queries."""
import logging
import uuid
from typing import Dict, List, Optional, Tuple

from eudoxia.executor.assignment import Assignment, ExecutionResult, Suspend
from eudoxia.scheduler.decorators import register_scheduler, register_scheduler_init
from eudoxia.scheduler.waiting_queue import RetryStats, WaitingQueueJob
from eudoxia.utils import Priority
from eudoxia.workload import OperatorState, Pipeline

logger = logging.getLogger(__name__)


@register_scheduler_init(key="priority")
def init_priority(s):
    s.qry_jobs: List[WaitingQueueJob] = []
    s.interactive_jobs: List[WaitingQueueJob] = []
    s.batch_jobs: List[WaitingQueueJob] = []
    s.suspending: Dict[str, WaitingQueueJob] = {}
    s.queued = set()


def queue_of(s, priority: Priority) -> List[WaitingQueueJob]:
    if priority == Priority.QUERY:
        return s.qry_jobs
    elif priority == Priority.INTERACTIVE:
        return s.interactive_jobs
    return s.batch_jobs


def best_pool(s, free: Dict[int, Dict[str, float]]) -> int:
    best, chosen = -1, -1
    for pool_id in range(s.executor.num_pools):
        if free[pool_id]["ram"] > best:
            best, chosen = free[pool_id]["ram"], pool_id
    return chosen


def job_id() -> uuid.UUID:
    return uuid.uuid4()


@register_scheduler(key="priority")
def priority(s, results: List[ExecutionResult], pipelines: List[Pipeline]) -> Tuple[List[Suspend], List[Assignment]]:
    for p in pipelines:
        s.known = getattr(s, "known", [])
        s.known.append(p)
    for r in results:
        if r.failed():
            ops = [op for op in r.ops if op.state() != OperatorState.COMPLETED]
            stats = RetryStats(r.ram, r.cpu, r.error, r.container_id, r.pool_id)
            queue_of(s, r.priority).append(WaitingQueueJob(r.priority, ops[0].pipeline, ops, stats))
            logger.info("container %s failed: %s", r.container_id, r.error)
    s.known = [p for p in getattr(s, "known", []) if not p.runtime_status().is_pipeline_successful()]
    for p in s.known:
        for op in p.runtime_status().get_ops([OperatorState.PENDING], require_parents_complete=True):
            if op.id not in s.queued:
                s.queued.add(op.id)
                queue_of(s, p.priority).append(WaitingQueueJob(p.priority, p, [op], None))
    for pool in s.executor.pools:
        for c in pool.suspended_containers:
            if c.container_id in s.suspending:
                job = s.suspending.pop(c.container_id)
                queue_of(s, job.priority).append(job)
    free = {}
    for i in range(s.executor.num_pools):
        pool = s.executor.pools[i]
        free[i] = {"cpu": pool.avail_cpu_pool, "ram": pool.avail_ram_pool}
    assignments: List[Assignment] = []
    suspensions: List[Suspend] = []
    for queue in (s.qry_jobs, s.interactive_jobs, s.batch_jobs):
        done = []
        for job in queue:
            pool_id = best_pool(s, free)
            pool = s.executor.pools[pool_id]
            cpu, ram = max(1, pool.max_cpu_pool // 10), max(1, pool.max_ram_pool // 10)
            retry: Optional[RetryStats] = job.retry_stats
            if retry is not None and retry.error == "OOM":
                cpu, ram = retry.old_cpu, min(2 * retry.old_ram, pool.max_ram_pool)
            if free[pool_id]["cpu"] < cpu or free[pool_id]["ram"] < ram:
                if job.priority == Priority.QUERY and not suspensions:
                    for c in pool.active_containers:
                        if c.priority == Priority.BATCH_PIPELINE and c.can_suspend_container():
                            suspensions.append(Suspend(c.container_id, pool_id))
                            rest = [o for o in c.operators if o.state() != OperatorState.COMPLETED]
                            s.suspending[c.container_id] = WaitingQueueJob(c.priority, rest[0].pipeline, rest, None)
                            break
                continue
            free[pool_id]["cpu"] -= cpu
            free[pool_id]["ram"] -= ram
            assignments.append(Assignment(ops=job.ops, cpu=cpu, ram=ram, priority=job.priority, pool_id=pool_id,
                                          pipeline_id=job.pipeline.pipeline_id))
            done.append(job)
        for job in done:
            queue.remove(job)
    return suspensions, assignments
