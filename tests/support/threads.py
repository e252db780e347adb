"""Threads that take turns where they seldom do: in the middle of what the interpreter does in one go."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

_THREADS = 4


def taking_turns(work: Callable[[], T], times: int) -> list[T]:
    """The results of so many calls in several threads, which change whenever garbage is collected (often). Raises what
    a call raises."""

    def let_others_run(_phase: str, _info: dict[str, int]) -> None:
        time.sleep(0)

    before = gc.get_threshold()
    gc.set_threshold(100)
    gc.callbacks.append(let_others_run)
    try:
        with ThreadPoolExecutor(_THREADS) as pool:
            return [call.result() for call in [pool.submit(work) for _ in range(times)]]
    finally:
        gc.callbacks.remove(let_others_run)
        gc.set_threshold(*before)
