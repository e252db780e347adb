from fractions import Fraction
from operator import itemgetter

SHARES = {Priority.QUERY: Fraction(1, 2), Priority.INTERACTIVE: Fraction(3, 10), Priority.BATCH_PIPELINE: Fraction(1, 5)}

@register_scheduler_init(key="k")
def init(s):
    s.pipes, s.mem = [], {}

@register_scheduler(key="k")
def step(s, results, pipelines):
    s.pipes.extend(pipelines)
    for r in results:
        if r.failed():
            for op in r.ops:
                s.mem[op.id] = min(128, 2 * r.ram)
    pool = s.executor.pools[0]
    held = dict.fromkeys(Priority, 0)
    for c in pool.active_containers:
        held[c.priority] += c.assignment.ram
    debts = sorted(((held[p] / float(SHARES[p]), p.value, p) for p in Priority), key=itemgetter(0, 1))
    cpu, ram, out = pool.avail_cpu_pool, pool.avail_ram_pool, []
    for _, _, priority in debts:
        for p in filter(lambda p: p.priority is priority, s.pipes):
            for op in p.runtime_status().get_ops(ASSIGNABLE_STATES, require_parents_complete=True):
                want = s.mem.get(op.id, 20)
                if cpu >= 2 and ram >= want:
                    cpu, ram = cpu - 2, ram - want
                    out.append(Assignment([op], 2, want, priority, 0, p.pipeline_id))
    return [], out
