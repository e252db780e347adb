import json
from pprint import pformat

@register_scheduler_init(key="k")
def init(s):
    s.pipes, s.mem = [], {}
    s.report = json.loads('{"oom": 0, "done": 0}')

@register_scheduler(key="k")
def step(s, results, pipelines):
    s.pipes.extend(pipelines)
    for r in results:
        s.report["oom" if r.failed() else "done"] += 1
        if r.failed():
            for op in r.ops:
                s.mem[op.id] = min(128, 2 * r.ram)
    text = json.dumps(s.report, sort_keys=True)
    label = "{} pipelines, {:>5.1f} GB free, {!r}".format(len(s.pipes), s.executor.pools[0].avail_ram_pool, text)
    s.label = label
    s.percent = "%d%%" % round(100 * s.executor.pools[0].avail_ram_pool / s.executor.pools[0].max_ram_pool)
    cpu, ram, out = s.executor.pools[0].avail_cpu_pool, s.executor.pools[0].avail_ram_pool, []
    for p in s.pipes:
        for op in p.runtime_status().get_ops(ASSIGNABLE_STATES, require_parents_complete=True):
            want = s.mem.get(op.id, 21)
            if cpu >= 2 and ram >= want:
                cpu, ram = cpu - 2, ram - want
                out.append(Assignment([op], 2, want, p.priority, 0, p.pipeline_id))
    return [], out
