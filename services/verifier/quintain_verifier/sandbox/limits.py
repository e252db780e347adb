"""Every limit of a run and of a request, with its unit, its default and the server's maximum."""

from __future__ import annotations

from dataclasses import dataclass, fields

from quintain.plugins.simulator import InvalidInput

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Limits:
    """What one run of one policy may use (`scenarios`: how many runs one request may ask for).

    The defaults are what a request gets that says nothing. Keep `cpu_seconds` well below `step_seconds` and
    `wall_seconds`: then a policy that computes for ever ends as CPU_LIMIT, which is a fact about it, and not as
    WALL_LIMIT, which is retryable.
    """

    wall_seconds: float = 300.0  # time spent waiting for the policy, summed over the run; the engine's own time is free
    step_seconds: float = 240.0  # the longest wait for one answer
    cpu_seconds: int = 120  # CPU time of the policy process, user + system; the kernel counts whole seconds
    memory_bytes: int = 512 * MIB  # address space of the policy process, its interpreter (about 40 MiB) included
    decision_bytes: int = 256 * KIB  # one message from the policy, encoded
    output_bytes: int = 1 * GIB  # all messages from the policy in one run, encoded
    messages: int = 10_000_000  # how many messages the policy may send in one run, answers and queries
    source_bytes: int = 256 * KIB  # the policy's source in UTF-8
    scenarios: int = 64  # scenarios in one request

    def validate(self, maximum: Limits | None = None) -> Limits:
        """Return self. Raises InvalidInput that names the field, what was found and the range, for anything outside
        [smallest, maximum]; `maximum` is MAX_LIMITS unless the server has its own."""
        maximum = MAX_LIMITS if maximum is None else maximum
        for limit in fields(self):
            place, found = f"limits.{limit.name}", getattr(self, limit.name)
            low, high = getattr(MIN_LIMITS, limit.name), getattr(maximum, limit.name)
            whole = isinstance(low, int)
            if isinstance(found, bool) or not isinstance(found, int if whole else (int, float)):
                raise InvalidInput(place, f"found {found!r}; must be {'a whole number' if whole else 'a number'}")
            if not low <= found <= high:  # a NaN fails both
                raise InvalidInput(place, f"found {found}; must be between {low} and {high} (the maximum)")
        return self


MIN_LIMITS = Limits(
    wall_seconds=0.1,
    step_seconds=0.1,
    cpu_seconds=1,
    memory_bytes=96 * MIB,
    decision_bytes=64,
    output_bytes=64,
    messages=1,
    source_bytes=1,
    scenarios=1,
)
DEFAULT_LIMITS = Limits()
MAX_LIMITS = Limits(
    wall_seconds=3600.0,
    step_seconds=600.0,
    cpu_seconds=1800,
    memory_bytes=4 * GIB,
    decision_bytes=2 * MIB,
    output_bytes=16 * GIB,
    messages=1_000_000_000,
    source_bytes=1 * MIB,
    scenarios=256,
)


def program_limits(seconds: float) -> Limits:
    """What a simulator's own jailed program may use in the `seconds` that are left to the simulator."""
    return Limits(
        wall_seconds=seconds,
        step_seconds=min(60.0, seconds),
        cpu_seconds=max(1, int(seconds / 2)),
        memory_bytes=512 * MIB,
        decision_bytes=2 * MIB,
        output_bytes=16 * GIB,
        messages=1_000_000_000,
        source_bytes=1 * MIB,
    )
