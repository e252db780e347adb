from enum import Enum, IntEnum, auto
from typing import TypedDict, Any, ClassVar

class Level(IntEnum):
    LOW = auto()
    MID = auto()
    HIGH = auto()

class Mode(str, Enum):
    CALM = "calm"
    FULL = "full"

class Info(TypedDict):
    level: Level
    ram: float

class Config:
    START: ClassVar[int] = 18
    LEVELS: ClassVar[dict] = {Priority.QUERY: Level.HIGH, Priority.INTERACTIVE: Level.MID, Priority.BATCH_PIPELINE: Level.LOW}

@register_scheduler_init(key="k")
def init(s):
    s.info: dict[int, Info] = {}
    s.pipes: list[Any] = []
    s.mode = Mode.CALM

@register_scheduler(key="k")
def step(s, results, pipelines):
    for p in pipelines:
        s.pipes.append(p)
        for op in p.values:
            s.info[op.id] = {"level": Config.LEVELS[p.priority], "ram": Config.START}
    for r in results:
        if r.failed():
            for op in r.ops:
                s.info[op.id]["ram"] = min(128, 2 * s.info[op.id]["ram"])
    pool = s.executor.pools[0]
    s.mode = Mode.FULL if pool.avail_ram_pool < Config.START else Mode.CALM
    if s.mode is Mode.FULL:
        return [], []
    cpu, ram, out = pool.avail_cpu_pool, pool.avail_ram_pool, []
    for level in sorted(Level, reverse=True):
        for p in s.pipes:
            for op in p.runtime_status().get_ops(ASSIGNABLE_STATES, require_parents_complete=True):
                info = s.info[op.id]
                if info["level"] == level and cpu >= level and ram >= info["ram"]:
                    cpu -= int(level)
                    ram -= info["ram"]
                    out.append(Assignment([op], int(level), info["ram"], p.priority, 0, p.pipeline_id))
    return [], out
