"""Best effort in the policy's own process: the usual sources of chance and time give the same in every run.

Hostile code can undo all of it and loses only its own reproducibility, which a second run with another hash seed shows.
"""

import datetime
import os
import random
import time
from typing import Any

_EPOCH_SECONDS = 1_000_000_000.0  # what time.time() starts from
_TICK_SECONDS = 1e-6  # every look at a clock moves it, so that "until the deadline" loops end


class _VirtualClock:
    def __init__(self) -> None:
        self.elapsed = 0.0

    def look(self) -> float:
        self.elapsed += _TICK_SECONDS
        return self.elapsed

    def sleep(self, seconds: Any, /) -> None:
        if seconds < 0:
            raise ValueError("sleep length must be non-negative")
        self.elapsed += seconds


_chance = random.Random(0)  # of the run: where nothing else is seeded


def make_deterministic() -> None:
    """Once, in the fork server: the children inherit it."""
    _patch_clocks(_VirtualClock())
    _patch_random(_chance)


def seed_run(seed: int) -> None:
    """In the child, before the policy."""
    _chance.seed(f"quintain:{seed}")
    random.seed(seed)


def _patch_clocks(clock: _VirtualClock) -> None:
    for name in ("monotonic", "perf_counter", "process_time", "thread_time"):
        setattr(time, name, clock.look)
        setattr(time, f"{name}_ns", lambda: int(clock.look() * 1e9))
    time.time = lambda: _EPOCH_SECONDS + clock.look()
    time.time_ns = lambda: int((_EPOCH_SECONDS + clock.look()) * 1e9)
    time.clock_gettime = lambda clk_id, /: time.time() if clk_id == 0 else clock.look()
    time.clock_gettime_ns = lambda clk_id, /: int(time.clock_gettime(clk_id) * 1e9)
    time.sleep = clock.sleep

    real_gmtime, real_strftime = time.gmtime, time.strftime

    def gmtime(seconds: Any = None, /) -> time.struct_time:
        return real_gmtime(time.time() if seconds is None else seconds)

    def strftime(format: str, when: Any = None, /) -> str:
        return real_strftime(format, gmtime() if when is None else when)

    time.gmtime = time.localtime = gmtime
    time.strftime = strftime
    time.ctime = lambda seconds=None, /: time.asctime(gmtime(seconds))

    class _DateTime(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Any:
            return cls.fromtimestamp(time.time(), tz or datetime.UTC).replace(tzinfo=tz)

        @classmethod
        def utcnow(cls) -> Any:
            return cls.now()

        @classmethod
        def today(cls) -> Any:
            return cls.now()

    _DateTime.__name__ = "datetime.datetime"  # its repr shows this
    _DateTime.__qualname__ = "datetime"
    _DateTime.__module__ = "datetime"
    datetime.datetime = _DateTime  # type: ignore[misc]


def _patch_random(source: random.Random) -> None:
    original_new, original_seed = random.Random.__new__, random.seed

    class _Random(random.Random):
        """Without a seed it draws one from the run's own, not from the system."""

        def __new__(cls, *arguments: Any, **named: Any) -> Any:
            return original_new(cls, 0)  # type: ignore[call-arg]  # else Python 3.11 reads the system's chance

        def seed(self, a: Any = None, version: int = 2) -> None:
            super().seed(source.getrandbits(128) if a is None else a, version)

    _Random.__name__ = _Random.__qualname__ = "Random"
    _Random.__module__ = "random"
    random.Random = _Random  # type: ignore[misc]
    random.seed = lambda a=None, version=2: original_seed(source.getrandbits(128) if a is None else a, version)
    os.urandom = random._urandom = source.randbytes  # type: ignore[attr-defined]
