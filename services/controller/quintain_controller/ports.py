"""What the use cases need from the outside. The adapters speak gRPC and SQL."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import BinaryIO, Protocol

from quintain_controller.domain.archive import ArchiveItem
from quintain_controller.domain.events import RecordedEvent
from quintain_controller.domain.model import (
    AnswerLater,
    BackendProfile,
    Budget,
    Candidate,
    Charge,
    Generation,
    GenerationRequest,
    SearchContext,
    SearchSpec,
    SearchState,
    ToolsWanted,
    ToolUse,
    Verification,
)
from quintain_controller.domain.records import (
    ArchivedSearch,
    Batch,
    CandidateRecord,
    Control,
    Labels,
    Lease,
    NewSearch,
    SearchRecord,
    UnreadableSearch,
)
from quintain_controller.domain.tools import PolicyRun


class Generator(Protocol):
    """The generator service. All calls raise `quintain.errors` classes and try once: retrying is the caller's."""

    async def backends(self, names: Sequence[str]) -> tuple[BackendProfile, ...]:
        """The named backends, or the default one. Raises NotFound naming the known ones."""

    def encode(self, context: SearchContext, request: GenerationRequest) -> bytes:
        """The request exactly as it will be sent: a function of its arguments."""

    async def generate(
        self, request: bytes, spent: Callable[[Charge], None], uses: Sequence[ToolUse] = ()
    ) -> Generation | ToolsWanted | AnswerLater:
        """Send an encoded request. Repeating a request id returns the recorded response. `spent` hears what the request
        has cost so far; an error says it too, in its metadata. `uses`: what tools said so far; where a conversation
        waits for more of them, these are the answer. A request whose answer is made in a batch is to be sent again."""

    async def give_up(self, request_id: str) -> Generation:
        """What was recorded of an earlier request, which is not sent again: a batch that it waits for is cancelled.
        Raises NotFound."""


class Verifier(Protocol):
    """The verifier service. All calls raise `quintain.errors` classes and try once."""

    async def context(
        self,
        simulator: str,
        suite: str,
        objective: str,
        backends: tuple[BackendProfile, ...],
        suite_files: bytes = b"",
        hints: bool = False,
        further_objectives: Sequence[str] = (),
    ) -> tuple[str, SearchContext]:
        """The objective's name (the suite's own if empty) and what a search is created against. `suite_files`: the
        contract's message, for a suite of the caller's own. `hints`: whether backends are shown the simulator's.
        Raises NotFound or InvalidArgument naming the known ones."""

    async def verify(
        self,
        spec: SearchSpec,
        source: str,
        parts: Sequence[str],
        *,
        check_determinism: bool = False,
        confirm: bool = False,
        ignore_cache: bool = False,
        scenarios: Sequence[str] = (),
        stop_below: float | None = None,
        progress: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> Verification:
        """Verify a policy on parts of the search's suite, or on some `scenarios` of them, the cheap ones first until
        their score can no longer reach `stop_below`. `ignore_cache`: run it, even if its verdict is on record.
        `progress` hears how many scenarios are done, and of how many."""

    async def run(
        self, spec: SearchSpec, source: str, scenarios: Sequence[str], *, detail: bool, ignore_cache: bool = False
    ) -> PolicyRun:
        """Run a policy on train scenarios by name (empty: all of them). `detail`: with the simulator's document of each
        run."""

    def decode(self, record: bytes) -> Verification:
        """A recorded verification."""


class ArchiveWriter(Protocol):
    def add(self, item: ArchiveItem) -> bytes:
        """The next piece of the file, maybe empty; the search comes first, then candidates, then events."""

    def end(self) -> bytes:
        """The last piece."""


class ArchiveFormat(Protocol):
    """How the file of an archived search is written and read. Blocking."""

    def writer(self) -> ArchiveWriter:
        """For one file."""

    def read(self, file: BinaryIO) -> Iterator[ArchiveItem]:
        """The items of a file from its begin, each checked by itself. Raises InvalidArgument for what is damaged or no
        archive, FailedPrecondition for a newer version."""


class Store(Protocol):
    """Searches, candidates and events. Blocking; thread safe. One method is one transaction.

    The owner of a search writes under a lease whose token grows with every owner: one that lost its lease unawares is
    refused with Aborted and has written nothing. Every method raises Unavailable while the store cannot be used; what
    was to be written is then not written, or was written whole. Methods that name a search raise NotFound.
    """

    def close(self) -> None: ...

    # For everybody.

    def create(self, new: NewSearch) -> SearchRecord:
        """Record a search. The same request id gives the search it made; raises AlreadyExists if it was another
        request."""

    def find_request(self, request_id: str) -> tuple[str, str] | None:
        """The search made by a request, and the request's digest."""

    def search(self, search_id: str) -> SearchRecord: ...

    def suite_files(self, digest: str) -> bytes:
        """The suite of this digest that some search brought along (`NewSearch.suite_files`). Raises NotFound."""

    def search_page(self, limit: int, after: tuple[float, str] | None) -> Sequence[SearchRecord | UnreadableSearch]:
        """Newest first, after (created_at, search_id) of the last one seen."""

    def counts(self) -> dict[SearchState, int]:
        """How many searches are in each state."""

    def events_after(self, search_id: str, sequence: int, limit: int) -> tuple[list[RecordedEvent], bool]:
        """The next events, and whether there will be no more after them."""

    def take_news(self, limit: int, since: float) -> list[tuple[SearchRecord, list[RecordedEvent]]]:
        """Events that nobody has taken yet, in order, of at most `limit` searches; each is given to one caller, once.
        What is older than `since` (seconds since the epoch), and a search whose record cannot be read, is passed
        over."""

    def positions(self, search_ids: Sequence[str]) -> dict[str, tuple[int, bool]]:
        """Last sequence, and whether somebody must still work on it, of those that there are."""

    def candidate_page(self, search_id: str, after: int, limit: int) -> list[Candidate]:
        """Candidates with a greater number, in order."""

    def candidates(self, search_id: str, numbers: Sequence[int]) -> dict[int, Candidate]: ...

    def candidate(self, search_id: str, number: int) -> CandidateRecord:
        """Everything recorded of one candidate."""

    def texts(self, search_id: str, numbers: Sequence[int]) -> dict[int, tuple[Candidate, str, str]]:
        """Candidate, source and feedback of the numbers that have a source."""

    def change_state(self, search_id: str, state: SearchState, reason: str) -> SearchRecord:
        """A user's pause, resume or cancel; an owner then does what is left to do. Raises FailedPrecondition if the
        search has ended another way. Repeating it is harmless."""

    def extend_budget(self, search_id: str, extended: Callable[[SearchRecord], Budget]) -> SearchRecord:
        """Put a new budget in force: `extended` says which, and raises for one that cannot be. A search that ended
        because its budget was used up goes on. Raises FailedPrecondition if it was cancelled or has failed."""

    def update_labels(self, search_id: str, labels: Labels) -> SearchRecord:
        """Change title, notes and tags, in any state. Raises InvalidArgument for too many tags."""

    def delete(self, search_id: str) -> None:
        """Raises FailedPrecondition while somebody works on it."""

    def restore(self, search: ArchivedSearch, items: Iterable[CandidateRecord | RecordedEvent]) -> SearchRecord:
        """Record an archived search with its candidates and events, as they are. Raises AlreadyExists if a search has
        its id."""

    # For owners.

    def acquire(self, owner: str, limit: int, seconds: float, ended: bool = False) -> list[Lease]:
        """Take over at most `limit` searches that need an owner, or are to be looked at again by now, and have none;
        with `ended`, only those that have ended and are to be settled."""

    def renew(self, lease: Lease, seconds: float, wall_seconds: float) -> Control:
        """The heartbeat, with the time that the search has run, which no kill may give back."""

    def release(self, lease: Lease) -> None:
        """Let others take the search at once. A lost lease is nothing to release."""

    def commit(self, lease: Lease, batch: Batch) -> Control:
        """Write what belongs together."""

    def quarantine(self, lease: Lease, reason: str) -> None:
        """The owner cannot work on this search: nobody shall, until a user resumes it. Reads as little as possible, it
        may be the record that is broken."""
