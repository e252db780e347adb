class Node:
    def __init__(self, value, next=None):
        self.value, self.next = value, next

class Chain:
    def __init__(self):
        self.head = self.tail = None
        self.length = 0

    def push(self, value):
        node = Node(value)
        if self.tail is None:
            self.head = self.tail = node
        else:
            self.tail.next = node
            self.tail = node
        self.length += 1

    def pop(self):
        node = self.head
        self.head = node.next
        if self.head is None:
            self.tail = None
        self.length -= 1
        return node.value

    def __iter__(self):
        node = self.head
        while node is not None:
            yield node.value
            node = node.next

    def __bool__(self):
        return self.length > 0

@register_scheduler_init(key="k")
def init(s):
    s.chain = Chain()
    s.mem = {}

@register_scheduler(key="k")
def step(s, results, pipelines):
    for p in pipelines:
        s.chain.push(p)
    for r in results:
        if r.failed():
            for op in r.ops:
                s.mem[op.id] = min(128, 2 * r.ram)
    while s.chain and s.chain.head.value.runtime_status().is_pipeline_successful():
        s.chain.pop()
    cpu, ram, out = s.executor.pools[0].avail_cpu_pool, s.executor.pools[0].avail_ram_pool, []
    for p in s.chain:
        for op in p.runtime_status().get_ops(ASSIGNABLE_STATES, require_parents_complete=True):
            want = s.mem.get(op.id, 21)
            if cpu >= 2 and ram >= want:
                cpu, ram = cpu - 2, ram - want
                out.append(Assignment([op], 2, want, p.priority, 0, p.pipeline_id))
    return [], out
