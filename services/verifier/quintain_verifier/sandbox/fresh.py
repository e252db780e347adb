"""The policies of one run, one after the other: each in a fresh child, all of them within the limits of one run."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType

from quintain.plugins.simulator import FailureKind, JsonValue, Policy, PolicyError, PolicyFailure
from quintain_verifier.sandbox.limits import MIN_LIMITS, Limits
from quintain_verifier.sandbox.run import JailedRun, ResourceUsage


class FreshPolicies:
    """A context manager; at its end no child is left. One thread; the children's `cancel` may come from any other.

    A simulator that runs a policy several times opens it anew for each: nothing that one has learned is known to the
    next. The limits on time, messages and bytes are for all of them together.
    """

    def __init__(self, open_child: Callable[[Limits], JailedRun], limits: Limits) -> None:
        """`open_child` forks a child that waits for its policy, and raises SandboxFault or RunCancelled."""
        self._open_child = open_child
        self._limits = limits
        self._child: JailedRun | None = None
        self._usage = ResourceUsage(0.0, 0, 0.0, "")
        self._waited_seconds = 0.0
        self._bytes = self._messages = 0

    def open(self, setup: JsonValue) -> Policy:
        """Satisfies `quintain.plugins.simulator.OpenPolicy`; ends the policy before. Raises PolicyError too."""
        self._end()
        self._child = self._open_child(self._limits_left())
        return self._child.open_policy(setup)

    @property
    def usage(self) -> ResourceUsage:
        """Of all children that have ended."""
        return self._usage

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        child.close()
        before, of = self._usage, child.usage
        self._usage = ResourceUsage(
            before.cpu_seconds + of.cpu_seconds,
            max(before.max_rss_bytes, of.max_rss_bytes),
            before.wall_seconds + of.wall_seconds,
            of.killed_by or before.killed_by,
        )
        self._waited_seconds += child.waited_seconds
        self._bytes += child.bytes_received
        self._messages += child.messages_received

    def _limits_left(self) -> Limits:
        limits = self._limits
        cpu_left = limits.cpu_seconds - self._usage.cpu_seconds
        wall_left = limits.wall_seconds - self._waited_seconds
        bytes_left, messages_left = limits.output_bytes - self._bytes, limits.messages - self._messages
        if cpu_left <= 0:
            self._over(FailureKind.CPU_LIMIT, f"used up its {limits.cpu_seconds} s of CPU time over several runs")
        if wall_left <= 0:
            self._over(FailureKind.WALL_LIMIT, f"no answer in time: {limits.wall_seconds} s for all of several runs")
        if bytes_left <= 0:
            self._over(FailureKind.DECISION_SIZE, f"it sent more than {limits.output_bytes} bytes in all")
        if messages_left <= 0:
            self._over(FailureKind.PROTOCOL, f"it sent more than {limits.messages} messages")
        return replace(
            limits,
            cpu_seconds=math.ceil(cpu_left),
            wall_seconds=max(MIN_LIMITS.wall_seconds, wall_left),
            output_bytes=max(MIN_LIMITS.output_bytes, bytes_left),
            messages=messages_left,
        )

    def _over(self, kind: FailureKind, message: str) -> None:
        raise PolicyError(PolicyFailure(kind, message))

    def __enter__(self) -> FreshPolicies:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()
