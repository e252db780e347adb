"""The words of an end say which kind of end it was."""

from __future__ import annotations

from tests.unit.controller.machine import World, generation, verification

from quintain_controller.domain.machine import messages as m
from quintain_controller.domain.machine.messages import CallKind
from quintain_controller.domain.model import GenerationOutcome, VerdictStatus


def ended(
    outcome: GenerationOutcome = GenerationOutcome.OK, status: VerdictStatus = VerdictStatus.OK, x: float = 0.9
) -> str:
    """The reason of the end of a search whose candidates all came to that."""
    world = World()
    while not world.finished:
        call = next(call for kind in CallKind for call in world.calls(kind))
        if call.kind is CallKind.GENERATE:
            world.answer(call, m.Generated(call, generation(call.number, outcome=outcome)))
        elif call.number == 0:
            world.answer(call, m.Verified(call, verification(0, x=0.5)))
        else:
            world.answer(call, m.Verified(call, verification(call.number, status=status, x=x)))
    return world.record.reason


def test_a_search_that_found_something_says_no_more_than_why_it_ended() -> None:
    assert ended() == "budget used up: candidates: 4 used or reserved, 1 needed, 4 allowed"


def test_a_search_in_which_no_answer_held_code_says_so() -> None:
    assert ended(outcome=GenerationOutcome.NO_CODE).endswith(
        "; no answer held a policy that could be verified (4 no_code)"
    )


def test_a_search_in_which_every_policy_failed_says_so() -> None:
    assert ended(status=VerdictStatus.POLICY_FAILED).endswith("; every policy failed (4 it failed)")


def test_a_search_that_found_nothing_better_says_so() -> None:
    assert ended(x=0.5).endswith("; none of 4 candidates is better than the seed (4 ran to the end)")
