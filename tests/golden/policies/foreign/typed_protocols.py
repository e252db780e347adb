from __future__ import annotations
from typing import Generic, Iterator, Protocol, TypeVar

T = TypeVar("T")

class Sizer(Protocol):
    def size(self, op: object) -> int: ...

class Stack(Generic[T]):
    def __init__(self) -> None:
        self._items: list[T] = []

    def push(self, item: T) -> None:
        self._items.append(item)

    def __iter__(self) -> Iterator[T]:
        return reversed(self._items)

    def __len__(self) -> int:
        return len(self._items)

class Fixed:
    def __init__(self) -> None:
        self.over: dict[int, int] = {}

    def size(self, op: object) -> int:
        return self.over.get(op.id, 20)

@register_scheduler_init(key="k")
def init(s) -> None:
    s.stack: Stack = Stack()
    s.sizer: Sizer = Fixed()

@register_scheduler(key="k")
def step(s, results, pipelines):
    for p in pipelines:
        s.stack.push(p)
    for r in results:
        if r.failed():
            s.sizer.over |= {op.id: min(128, 2 * r.ram) for op in r.ops}
    pool = s.executor.pools[0]
    cpu, ram, out = pool.avail_cpu_pool, pool.avail_ram_pool, []
    for p in s.stack:
        for op in p.runtime_status().get_ops(ASSIGNABLE_STATES, require_parents_complete=True):
            want = s.sizer.size(op)
            if cpu >= 2 and ram >= want:
                cpu, ram = cpu - 2, ram - want
                out.append(Assignment([op], 2, want, p.priority, 0, p.pipeline_id))
    return [], out
