"""Which state may follow which, who may bring it about, and what that needs. The stores execute this table."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType

from quintain.errors import FailedPrecondition, Internal, NotFound
from quintain_controller.domain.model import CandidateState, SearchState
from quintain_controller.domain.records import Control, SearchRecord, Transition

# How the reason of a search's end begins that goes on when its budget is raised.
BUDGET_USED_UP = "budget used up"
# In lengths of a lease; other controllers may be configured to longer ones.
_CLOCK_WAS_SET_BACK = 20


class Actor(enum.Enum):
    """Who changes a search's state: somebody with an rpc, or the controller that holds its lease."""

    USER = "user"
    OWNER = "owner"


class Needs(enum.Enum):
    """What a change of state needs beside the right state before it."""

    NOTHING = "nothing"
    NOT_PAUSED_BY_USER = "a pause by the user is ended, or replaced, by users alone"
    SAME_BUDGET = "the budget is still the one that was used up"
    USED_UP_BUDGET = "the search ended because its budget was used up, and that was raised"


_S = SearchState
SEARCH: Mapping[tuple[SearchState, SearchState, Actor], Needs] = MappingProxyType(
    {
        (_S.RUNNING, _S.PAUSED, Actor.USER): Needs.NOTHING,
        (_S.PAUSED, _S.PAUSED, Actor.USER): Needs.NOTHING,
        (_S.PAUSED, _S.RUNNING, Actor.USER): Needs.NOTHING,
        (_S.RUNNING, _S.CANCELLED, Actor.USER): Needs.NOTHING,
        (_S.PAUSED, _S.CANCELLED, Actor.USER): Needs.NOTHING,
        (_S.FINISHED, _S.RUNNING, Actor.USER): Needs.USED_UP_BUDGET,
        (_S.RUNNING, _S.PAUSED, Actor.OWNER): Needs.NOTHING,
        (_S.PAUSED, _S.PAUSED, Actor.OWNER): Needs.NOT_PAUSED_BY_USER,  # it waits for something else, or for the user
        (_S.PAUSED, _S.RUNNING, Actor.OWNER): Needs.NOT_PAUSED_BY_USER,
        (_S.RUNNING, _S.FAILED, Actor.OWNER): Needs.NOTHING,
        (_S.PAUSED, _S.FAILED, Actor.OWNER): Needs.NOTHING,
        (_S.RUNNING, _S.FINISHED, Actor.OWNER): Needs.SAME_BUDGET,
    }
)

_C = CandidateState
# None: the candidate is new. A state that follows itself adds to the record: a held-out score, money spent so far.
CANDIDATE: Mapping[CandidateState | None, frozenset[CandidateState]] = MappingProxyType(
    {
        None: frozenset({_C.REQUESTED, _C.GENERATED}),  # a seed policy begins as generated
        _C.REQUESTED: frozenset({_C.REQUESTED, _C.GENERATED, _C.REJECTED}),
        _C.GENERATED: frozenset({_C.GENERATED, _C.VERIFIED, _C.REJECTED}),
        _C.VERIFIED: frozenset({_C.VERIFIED}),
        _C.REJECTED: frozenset({_C.REJECTED}),
    }
)


def happens(transition: Transition, now: Control) -> bool:
    """Whether the owner's change of state still holds when it reaches the store: others may have come before it."""
    needs = SEARCH.get((now.state, transition.state, Actor.OWNER))
    match needs:
        case None:
            return False
        case Needs.NOT_PAUSED_BY_USER:
            return not now.paused_by_user
        case Needs.SAME_BUDGET:
            return transition.within in (None, now.budget)
        case _:
            return True


def changes(record: SearchRecord, state: SearchState) -> bool:
    """Whether a user's wish changes the search; False if it is so already. Raises FailedPrecondition for one that has
    ended another way."""
    if record.state is state and (state is not SearchState.PAUSED or record.paused_by_user):
        return False
    if (record.state, state, Actor.USER) not in SEARCH or record.state.ended:
        raise FailedPrecondition(
            f"search {record.search_id} has ended ({record.state.name}: {record.reason})", reason="SEARCH_ENDED"
        )
    return True


def goes_on(record: SearchRecord) -> bool:
    """Whether a search runs again when its budget is raised, since it ended for want of it. Raises FailedPrecondition
    for one that ended otherwise, or was restored from an archive."""
    if record.restored_at is not None:
        raise FailedPrecondition(
            f"search {record.search_id} was restored from an archive and never goes on; fork it instead",
            reason="SEARCH_RESTORED",
        )
    if not record.state.ended:
        return False
    if (record.state, SearchState.RUNNING, Actor.USER) not in SEARCH:
        raise FailedPrecondition(f"search {record.search_id} has ended ({record.state.name})", reason="SEARCH_ENDED")
    if not record.reason.startswith(BUDGET_USED_UP):
        raise FailedPrecondition(
            f"search {record.search_id} did not end for want of budget ({record.reason}), so more changes nothing;"
            " fork it to go on from its best",
            reason="SEARCH_ENDED",
        )
    return True


def check_deletable(record: SearchRecord) -> None:
    """Raises FailedPrecondition while somebody works on the search."""
    if not record.state.ended:
        raise FailedPrecondition(
            f"search {record.search_id} is {record.state.name}; cancel it first", reason="SEARCH_NOT_ENDED"
        )
    if record.needs_owner:
        raise FailedPrecondition(
            f"search {record.search_id} has ended, but what was sent is still being settled; try again in a moment",
            reason="SEARCH_NOT_SETTLED",
        )


def check_archivable(record: SearchRecord) -> None:
    """Raises FailedPrecondition while somebody works on the search."""
    if record.needs_owner or record.state is SearchState.RUNNING:
        doing = "what was sent is still being settled" if record.state.ended else f"is {record.state.name}"
        raise FailedPrecondition(
            f"search {record.search_id} {doing}: pause or cancel it, or wait, then archive it",
            reason="SEARCH_NOT_ENDED",
        )


def before(state: CandidateState) -> list[CandidateState]:
    """The states of a known candidate that `state` may follow."""
    return [known for known, after in CANDIDATE.items() if known is not None and state in after]


def refused(number: int, state: CandidateState) -> Internal:
    """The error for a candidate that cannot take that step from where it is."""
    return Internal(f"candidate {number} cannot become {state.name} from where it is", reason="WRONG_STEP")


def lapsed(lease_until: float, now: float, seconds: float) -> bool:
    """Whether a lease may be taken over. One that ends too far ahead was given before the clock was set back: waiting
    for it may take for ever."""
    return lease_until <= now or lease_until > latest_lease(now, seconds)


def latest_lease(now: float, seconds: float) -> float:
    """The latest end of a lease that a clock like ours can have given."""
    return now + _CLOCK_WAS_SET_BACK * seconds


def unknown(search_id: str) -> NotFound:
    """The error for a search that is not there."""
    return NotFound(f"no search {search_id[:80]!r}; ListSearches (`quintain searches`) shows the known ones")
