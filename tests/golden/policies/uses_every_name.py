"""Uses every name that a policy file written for Eudoxia may rely on, and says what it expects of each."""

import eudoxia
import eudoxia.utils
import eudoxia.scheduler.decorators as deco
from eudoxia import workload, executor
from eudoxia.workload import Pipeline, Operator, Segment, OperatorState, ASSIGNABLE_STATES, PipelineRuntimeStatus
from eudoxia.workload.runtime_status import OperatorState as OS2, ASSIGNABLE_STATES as AS2, VALID_TRANSITIONS
from eudoxia.workload.pipeline import Pipeline as P2, Operator as O2, Segment as S2
from eudoxia.executor import Assignment, Suspend, ExecutionResult, Executor
from eudoxia.executor.assignment import Assignment as A2, Suspend as S3, ExecutionResult as E2
from eudoxia.utils import Priority, DagShape, DISK_SCAN_GB_SEC
from eudoxia.scheduler import register_scheduler_init, register_scheduler, INIT_ALGOS, SCHEDULING_ALGOS
from eudoxia.scheduler.decorators import register_scheduler_init as r2, INIT_ALGOS as IA
from eudoxia.scheduler.waiting_queue import WaitingQueueJob, RetryStats
import eudoxia.clock, eudoxia.estimator
from .decorators import register_scheduler as r3
from .waiting_queue import WaitingQueueJob as W3
from typing import List, Tuple, Dict
import logging
logger = logging.getLogger(__name__)

@register_scheduler_init(key="names")
def init(s):
    assert s.clock.now_ticks() == -1 and s.clock.now_seconds() == -1 / s.params["ticks_per_second"]
    assert s.algo_name == "names" and callable(s.algo_func)
    assert Priority.QUERY.value == 1 and Priority.INTERACTIVE.value == 2 and Priority.BATCH_PIPELINE.value == 3
    assert DISK_SCAN_GB_SEC == 20 and len(DagShape) == 3
    assert set(ASSIGNABLE_STATES) == {OperatorState.PENDING, OperatorState.FAILED}
    assert OperatorState.COMPLETED in VALID_TRANSITIONS[OperatorState.RUNNING] and VALID_TRANSITIONS[OperatorState.COMPLETED] == []
    assert [x.value for x in OperatorState] == ["pending","assigned","running","suspending","completed","failed"]
    s.jobs = {p: [] for p in Priority}
    s.seen = []
    e = s.executor
    assert e.num_pools == len(e.pools) and e.clock is s.clock and e.num_completed() == 0 and e.container_tick_times() == []
    assert e.get_total_ram_gb() == e.num_pools * e.ram_gb_per_pool and e.get_allocated_ram_gb() == 0 and e.get_consumed_ram_gb() == 0
    assert e.tick_length_secs == 1 / e.ticks_per_second and e.cpus_per_pool > 0
    assert e.get_pool_id_with_max_avail_ram() == 0
    for pool in e.pools:
        assert pool.cost == 0 and pool.i == 0 and pool.num_completed == 0 and pool.container_tick_times == []
        assert pool.max_cpu_pool == pool.avail_cpu_pool and pool.max_ram_pool == pool.avail_ram_pool
        assert pool.to_dict()["active_containers"] == []
        assert pool.get_container_by_id("c1") is None and pool.multi_operator_containers in (True, False)
    # pipelines of the policy's own
    mine = Pipeline("mine", Priority.QUERY)
    a = mine.new_operator(); b = mine.new_operator([a]); c = mine.new_operator([a, b])
    assert [o for o in mine.values] == [a, b, c] and mine.values.roots == [a] and len(mine.values) == 3
    assert mine.runtime_status().get_ops(OperatorState.PENDING, require_parents_complete=True) == [a]
    assert mine.values.find_node_by_id(b.id) is b and list(mine.values.node_ids) == [a.id, b.id, c.id]
    assert not mine.runtime_status().has_timed_out() and mine.runtime_status().arrival_tick is None
    ok, why = mine.runtime_status().check_transition(a, OperatorState.RUNNING)
    assert not ok and why
    try: a.transition(OperatorState.RUNNING)
    except AssertionError: pass
    else: raise RuntimeError
    for bad in (lambda: Assignment([], 1, 1, Priority.QUERY, 0, "x"), lambda: Assignment([a], 0, 1, Priority.QUERY, 0, "x"), lambda: Assignment([a], 1, -1, Priority.QUERY, 0, "x")):
        try: bad()
        except AssertionError: pass
        else: raise RuntimeError
    assert a.state() == OperatorState.PENDING
    x = Assignment(ops=[a], cpu=1, ram=1, priority=Priority.QUERY, pool_id=0, pipeline_id="x", container_id=None, is_resume=False, force_run=True)
    assert a.state() == OperatorState.ASSIGNED and x.force_run and not x.is_resume and x.container_id is None
    for st in (OperatorState.RUNNING, OperatorState.COMPLETED): a.transition(st)
    assert mine.runtime_status().state_counts[OperatorState.COMPLETED] == 1
    assert mine.to_dict()["operators"][1]["parents_complete"]
    try: register_scheduler_init(key="names")(init)
    except KeyError: pass
    else: raise RuntimeError

@register_scheduler(key="names")
def names(s, results: List[ExecutionResult], pipelines: List[Pipeline]) -> Tuple[List[Suspend], List[Assignment]]:
    for p in pipelines:
        st = p.runtime_status()
        assert st.arrival_tick == s.clock.now_ticks() and st.finish_tick is None and st.clock is s.clock
        job = WaitingQueueJob(priority=p.priority, p=p, ops=[op for op in p.values])
        assert job.pipeline is p and job.retry_stats is None
        s.jobs[p.priority].append(job)
        for op in p.values:
            assert op.pipeline is p and op.estimate.mem_peak_gb is None and op.get_segments() == []
            assert p.values.find_node_by_id(op.id) is op and p.values.node_lookup[op.id] is op
            assert set(op.to_dict()) == {"id", "state", "is_assignable_state", "parents_complete", "estimate"}
        assert set(p.to_dict()) == {"pipeline_id", "priority", "arrival_tick", "is_complete", "has_failures", "timed_out", "operators"}
    for r in results:
        rs = RetryStats(r.ram, r.cpu, r.error, r.container_id, r.pool_id)
        assert (rs.old_ram, rs.old_cpu, rs.error, rs.container_id, rs.pool_id) == (r.ram, r.cpu, r.error, r.container_id, r.pool_id)
        assert r.failed() == (r.error is not None)
        assert set(r.to_dict()) == {"ops", "cpu", "ram", "priority", "pool_id", "container_id", "error"}
        if r.failed():
            s.jobs[r.priority].append(WaitingQueueJob(r.priority, r.ops[0].pipeline, r.ops, rs))
    out = []
    for prio in Priority:
        rest = []
        for job in s.jobs[prio]:
            i = s.executor.get_pool_id_with_max_avail_ram()
            pool = s.executor.pools[i]
            want = 10 if job.retry_stats is None else job.retry_stats.old_ram * 2
            if not out and pool.avail_ram_pool >= want and pool.avail_cpu_pool >= 1:
                ops = [o for o in job.ops if o.state() in ASSIGNABLE_STATES]
                out.append(Assignment(ops=ops, cpu=1, ram=want, priority=prio, pool_id=i, pipeline_id=job.pipeline.pipeline_id))
            else:
                rest.append(job)
        s.jobs[prio] = rest
    for pool in s.executor.pools:
        for c in pool.active_containers:
            assert pool.get_container_by_id(c.container_id) is c and c.pool is pool and c.pool_id == pool.pool_id
            assert c.suspend_ticks is None and not c.is_completed() and not c.is_suspended() and c.error is None
            assert c.operators is c.assignment.ops and c.priority == c.assignment.priority
            assert c.ticks_elapsed() >= 1 and c.get_current_memory_usage() >= 0 and c.get_pipeline_id().startswith("p")
            assert set(c.to_dict()) == {"container_id", "pipeline_id", "operator_ids", "cpu", "ram_gb", "current_memory_gb", "priority"}
        assert set(pool.to_dict()) == {"pool_id", "max_cpu", "max_ram_gb", "avail_cpu", "avail_ram_gb", "consumed_ram_gb", "active_containers", "suspending_containers", "suspended_containers"}
        assert pool.get_consumed_ram_gb() == pool.consumed_ram_gb and pool.get_allocated_ram_gb() == pool.max_ram_pool - pool.avail_ram_pool
    return [], out
