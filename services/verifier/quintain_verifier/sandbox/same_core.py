"""Keeps an engine's thread and its policy processes on one processor while they exchange short messages.

They take turns, so a second processor would only sleep and be woken again, which on an idle machine costs several times
what the exchange itself does. Every REVIEW_SECONDS they may choose again among all their processors, so that they do
not stay where somebody else is at work.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from quintain_verifier.sandbox.forkserver import Child

REVIEW_SECONDS = 0.02
SHORT_TURN_SECONDS = 0.0005  # turns that are longer on average are left to the kernel
ANY = -1  # in place of a processor's number


class SameCore:
    """Of one engine thread, which alone uses it. Does nothing where a thread cannot be placed."""

    def __init__(self) -> None:
        self._allowed: set[int] = set()
        self._core = ANY
        self._turns = 0
        self._began = 0.0
        self._review_at = float("inf")

    @contextmanager
    def engaged(self) -> Iterator[None]:
        """For one run in the calling thread, which may use all its processors again afterwards."""
        if sys.platform == "linux":
            self._allowed = os.sched_getaffinity(0)
        self._review_at = 0.0 if len(self._allowed) > 1 and _sched_getcpu is not None else float("inf")
        try:
            yield
        finally:
            self._move_to(ANY)
            self._review_at = float("inf")

    def turn(self, child: Child, now: float) -> None:
        """Before each message to `child`; `now`: monotonic seconds."""
        self._turns += 1
        if now >= self._review_at:
            self._review(now)
        if child.core != self._core and child.pid:
            child.core = self._core
            _allow(child.pid, self._allowed if self._core == ANY else {self._core})

    def _review(self, now: float) -> None:
        """Choose anew: one turn without a place, then where that turn has left this thread."""
        if self._core != ANY:
            self._move_to(ANY)
            return
        if now - self._began < SHORT_TURN_SECONDS * self._turns and _sched_getcpu is not None:
            self._move_to(_sched_getcpu())
        self._review_at = now + REVIEW_SECONDS
        self._turns, self._began = 0, now

    def _move_to(self, core: int) -> None:
        if core != self._core:
            self._core = core
            _allow(0, self._allowed if core == ANY else {core})


def _allow(thread: int, cores: set[int]) -> None:
    """Where it may run is advice: a refusal, or a process that has just ended, changes nothing but speed."""
    try:
        os.sched_setaffinity(thread, cores)
    except OSError:
        return


_sched_getcpu = getattr(ctypes.CDLL(None), "sched_getcpu", None) if sys.platform == "linux" else None
