FIELDS = ("pipes", "sizes", "mode")

@register_scheduler_init(key="k")
def init(s):
    for name, value in zip(FIELDS, ([], {}, "normal")):
        setattr(s, name, value)

@register_scheduler(key="k")
def step(s, results, pipelines):
    if not hasattr(s, "pipes"):
        s.pipes = []
    getattr(s, "pipes").extend(pipelines)
    setattr(s, "mode", "normal")
    for r in results:
        if getattr(r, "error", None):
            for op in r.ops:
                s.sizes[op.id] = min(2 * r.ram, 128)
    pool = s.executor.pools[0]
    free = {name: getattr(pool, f"avail_{name}_pool") for name in ("cpu", "ram")}
    out = []
    for p in s.pipes:
        for op in p.runtime_status().get_ops(ASSIGNABLE_STATES, require_parents_complete=True):
            want = s.sizes.get(op.id, 27)
            if free["cpu"] >= 2 and free["ram"] >= want:
                free["cpu"] -= 2
                free["ram"] -= want
                out.append(Assignment([op], 2, want, p.priority, 0, p.pipeline_id))
    return [], out
