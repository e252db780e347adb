import re
import string

FAMILY = re.compile(r"^([a-z]+)\d+$")
LETTERS = set(string.ascii_letters)

@register_scheduler_init(key="k")
def init(s):
    s.pipes = []
    s.families = {}

def family(p):
    m = FAMILY.match(p.pipeline_id)
    return m.group(1) if m else re.sub(r"\W+", "", p.pipeline_id).lower()

@register_scheduler(key="k")
def step(s, results, pipelines):
    s.pipes += pipelines
    for r in results:
        f = family(r.ops[0].pipeline)
        if r.failed():
            s.families[f] = max(s.families.get(f, 0), min(r.ram * 2, 128))
    pool = s.executor.pools[0]
    cpu, ram = pool.avail_cpu_pool, pool.avail_ram_pool
    out = []
    for p in s.pipes:
        want = s.families.get(family(p), 18)
        for op in p.runtime_status().get_ops(ASSIGNABLE_STATES, require_parents_complete=True):
            if cpu >= 2 and ram >= want:
                cpu, ram = cpu - 2, ram - want
                out.append(Assignment([op], 2, want, p.priority, 0, p.pipeline_id))
    return [], out
