"""The table of states: what it allows, nobody else may; what it forbids, happens nowhere."""

from __future__ import annotations

import itertools

import pytest
from tests.unit.controller.toy import CONTEXT, make_spec

from quintain.errors import FailedPrecondition
from quintain_controller.adapters.store.memory import MemoryStore
from quintain_controller.domain import lifecycle
from quintain_controller.domain.lifecycle import SEARCH, Actor
from quintain_controller.domain.model import Budget, CandidateState, SearchState
from quintain_controller.domain.records import Control, NewSearch, Transition

STATES = list(SearchState)
BUDGET = Budget(candidates=3)


@pytest.mark.parametrize(("now", "then"), list(itertools.product(STATES, STATES)))
def test_an_owner_changes_a_state_only_as_the_table_says(now: SearchState, then: SearchState) -> None:
    wanted = Transition(then, "r", paused_by_user=then is SearchState.PAUSED, within=BUDGET)
    happened = lifecycle.happens(wanted, Control(now, BUDGET, False, 1))
    assert happened is ((now, then, Actor.OWNER) in SEARCH)


def test_a_pause_by_the_user_is_ended_by_users_alone() -> None:
    paused = Control(SearchState.PAUSED, BUDGET, True, 1)
    assert not lifecycle.happens(Transition(SearchState.RUNNING, "the backend is back"), paused)
    assert not lifecycle.happens(Transition(SearchState.PAUSED, "no key", paused_by_user=True), paused)
    assert lifecycle.happens(Transition(SearchState.FAILED, "wrong"), paused)


def test_a_pause_that_ends_by_itself_becomes_one_that_does_not_and_never_the_other_way() -> None:
    waits = Control(SearchState.PAUSED, BUDGET, False, 1)
    assert lifecycle.happens(Transition(SearchState.PAUSED, "no key", paused_by_user=True), waits)
    assert lifecycle.happens(Transition(SearchState.PAUSED, "waits until tomorrow"), waits)
    for_user = Control(SearchState.PAUSED, BUDGET, True, 1)
    assert not lifecycle.happens(Transition(SearchState.PAUSED, "still down"), for_user)


def test_a_search_ends_only_within_the_budget_that_was_used_up() -> None:
    running = Control(SearchState.RUNNING, Budget(candidates=4), False, 1)
    assert not lifecycle.happens(Transition(SearchState.FINISHED, "used up", within=BUDGET), running)
    assert lifecycle.happens(Transition(SearchState.FINISHED, "used up", within=running.budget), running)


@pytest.mark.parametrize("then", [SearchState.RUNNING, SearchState.PAUSED, SearchState.CANCELLED])
def test_what_has_ended_is_not_changed_by_a_wish_and_repeating_one_is_harmless(then: SearchState) -> None:
    store = MemoryStore()
    store.create(NewSearch("s", "r", "d", make_spec("evolve"), CONTEXT))
    store.change_state("s", SearchState.CANCELLED, "enough")
    if then is SearchState.CANCELLED:
        assert store.change_state("s", then, "again").reason == "enough"
        return
    with pytest.raises(FailedPrecondition, match="has ended"):
        store.change_state("s", then, "again")


def test_no_candidate_goes_back() -> None:
    for before, after in lifecycle.CANDIDATE.items():
        assert all(state >= (before or 0) for state in after)
    assert not lifecycle.CANDIDATE[CandidateState.REJECTED] - {CandidateState.REJECTED}
