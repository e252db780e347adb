"""What goes into the store and comes out, as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from quintain.errors import InvalidArgument
from quintain_controller.domain.events import DomainEvent
from quintain_controller.domain.model import (
    Budget,
    Candidate,
    Gate,
    SearchContext,
    SearchSpec,
    SearchState,
    Spend,
    ToolUse,
)

MOST_TAGS = 50  # of one search


@dataclass(frozen=True, slots=True)
class UnreadableSearch:
    """A search whose record is damaged, or of another version. `reason` says what is wrong with it."""

    search_id: str
    created_at: float
    reason: str


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write a search's progress. `token` grows with every owner: a late one is refused."""

    search_id: str
    owner: str
    token: int


@dataclass(frozen=True, slots=True)
class Control:
    """What others may have changed while an owner works: told with every commit and heartbeat. Each change has an
    event, so the greater `sequence` is the later word."""

    state: SearchState
    budget: Budget
    paused_by_user: bool
    sequence: int


@dataclass(frozen=True, slots=True)
class SearchRecord:
    search_id: str
    spec: SearchSpec
    context: SearchContext
    budget: Budget
    spend: Spend
    state: SearchState
    reason: str
    paused_by_user: bool
    best_number: int | None
    winner_number: int | None
    gates: tuple[Gate, ...]
    created_at: float
    ended_at: float | None
    last_sequence: int
    forked_from: str
    needs_owner: bool
    told: int
    notes: str = ""
    tags: tuple[str, ...] = ()
    restored_at: float | None = None  # from an archive; it never goes on

    @property
    def control(self) -> Control:
        return Control(self.state, self.budget, self.paused_by_user, self.last_sequence)


@dataclass(frozen=True, slots=True)
class ArchivedSearch:
    """A search as it is archived, without its candidates and events. `suite_files` as in `NewSearch`."""

    record: SearchRecord
    suite_files: bytes = b""


@dataclass(frozen=True, slots=True)
class Labels:
    """A user's change of what a search is called. None leaves title or notes as they are."""

    title: str | None = None
    notes: str | None = None
    add_tags: frozenset[str] = frozenset()
    remove_tags: frozenset[str] = frozenset()

    def applied(self, record: SearchRecord) -> SearchRecord:
        """Raises InvalidArgument for too many tags."""
        tags = (set(record.tags) | self.add_tags) - self.remove_tags
        if len(tags) > MOST_TAGS:
            raise InvalidArgument.of("add_tags", f"the search would have {len(tags)} tags; at most {MOST_TAGS}")
        return replace(
            record,
            spec=record.spec if self.title is None else replace(record.spec, title=self.title),
            notes=record.notes if self.notes is None else self.notes,
            tags=tuple(sorted(tags)),
        )


@dataclass(frozen=True, slots=True)
class CandidateRecord:
    """A candidate with its texts and records; None where it has not come so far."""

    candidate: Candidate
    created_at: float
    source: str | None
    feedback: str | None
    generation: bytes | None
    verdict: bytes | None
    held_out: bytes | None
    tools: tuple[ToolUse, ...] = ()


@dataclass(frozen=True, slots=True)
class CandidateWrite:
    """A candidate's new state. None leaves a text or record as it is."""

    candidate: Candidate
    new: bool = False
    source: str | None = None
    feedback: str | None = None
    generation: bytes | None = None
    verdict: bytes | None = None
    held_out: bytes | None = None
    tools: tuple[ToolUse, ...] | None = None


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of state that the owner wants, with what is true only then. Whether it happens, `lifecycle` says when it
    reaches the store. `within`: only while this is the budget."""

    state: SearchState
    reason: str
    paused_by_user: bool = False
    events: Sequence[DomainEvent] = ()
    within: Budget | None = None
    winner_number: int | None = None
    gates: tuple[Gate, ...] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """What the owner of a search writes in one transaction."""

    spend: Spend
    candidates: Sequence[CandidateWrite] = ()
    events: Sequence[DomainEvent] = ()
    transition: Transition | None = None
    best_number: int | None = None
    told: int | None = None
    # Nothing is left to do while the search is in this state, but to look again at a time (seconds since 1970) for what
    # requests cost that were given up.
    idle_in: SearchState | None = None
    look_again_at: float | None = None


@dataclass(frozen=True, slots=True)
class NewSearch:
    """`suite_files`: the contract's message, opaque here; empty without a suite of its own."""

    search_id: str
    request_id: str
    request_digest: str
    spec: SearchSpec
    context: SearchContext
    forked_from: str = ""
    events: Sequence[DomainEvent] = field(default=())
    suite_files: bytes = b""
