"""The policy as the engine asks it: one answer a tick, believed only after it was checked."""

from __future__ import annotations

from quintain.plugins.simulator import FailureKind, InvalidInput, Policy, PolicyError, PolicyFailure
from quintain_spot_deadline.rules import MACHINES

EACH_TICK, AHEAD = "each_tick", "ahead"
CALLING_MODES = (EACH_TICK, AHEAD)  # the most literal one first
MAX_ANSWERS = 64  # in one message


def checked_mode(name: str) -> str:
    """Raises InvalidInput unless `name` is one of CALLING_MODES, or empty: the guest chooses."""
    if name and name not in CALLING_MODES:
        raise InvalidInput("calling_mode", f"{name!r} is unknown; known are: {', '.join(CALLING_MODES)}")
    return name


class Conversation:
    """One policy in one window. A message is ``[tick, whether spot exists in it]``, never anything of a later tick.

    In the mode ``ahead`` an answer may hold what the policy would decide for the following ticks if availability stayed
    as it is. They are taken, one a tick, as long as it does; what is left when it changes is thrown away.
    """

    def __init__(self, policy: Policy, wanted: str) -> None:
        self._policy = policy
        self._ahead: list[str] = []  # the next tick's at the end
        self._about = False
        match policy.info:
            case {"calling_mode": str(mode)} if mode in CALLING_MODES and mode == (wanted or mode):
                self.calling_mode = mode
            case said:
                raise _broken(f"the guest said {said!r:.200} about the policy instead of how it may be called")

    def decide(self, tick: int, available: bool) -> str:
        """One of MACHINES. Raises PolicyError."""
        if self._ahead and available == self._about:
            return self._ahead.pop()
        answers = self._policy.ask([tick, available])
        match answers:
            case ["none" | "spot" | "on_demand" as only]:
                return str(only)
        if not isinstance(answers, list) or not 1 <= len(answers) <= MAX_ANSWERS:
            raise _broken(f"expected a list of decisions, got {answers!r:.200}")
        if self.calling_mode == EACH_TICK and len(answers) > 1:
            raise _broken(f"{len(answers)} decisions where one was asked for")
        known = [MACHINES[MACHINES.index(answer)] for answer in answers if answer in MACHINES]
        if answers[0] not in MACHINES:
            raise PolicyError(
                PolicyFailure(
                    FailureKind.REJECTED,
                    f"decide() returned {answers[0]!s:.100}; it must return one of {', '.join(map(repr, MACHINES))}",
                    rule="unknown_machine",
                )
            )
        if len(known) < len(answers):
            raise _broken(f"expected decisions only, got {answers!r:.200}")
        self._ahead, self._about = known[:0:-1], available
        return known[0]


def _broken(message: str) -> PolicyError:
    return PolicyError(PolicyFailure(FailureKind.PROTOCOL, message))
