"""A search as plain Python: its state, candidates, events, and what a person can do to it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from quintain.clients import Controller
from quintain.clients.budget import make_budget
from quintain.clients.candidates import CandidateRow, candidate_row
from quintain.clients.front import FrontRow, front_rows
from quintain.clients.notebooks import notebook_document
from quintain.clients.pages import entries
from quintain.controller.v1 import controller_pb2 as pb
from quintain.errors import FailedPrecondition, NotFound
from quintain.session import html
from quintain.session.verdict import Verdict, verdict_of
from quintain.wording import budget_text, enum_name, fidelity_text, improvement, number, percent, share_of_bound, usd

PAGE = 500
FOREVER_SECONDS = 10 * 365 * 86400.0  # a search may take weeks

_ENDED = (pb.SEARCH_STATE_FINISHED, pb.SEARCH_STATE_CANCELLED, pb.SEARCH_STATE_FAILED)


@dataclass(frozen=True, slots=True)
class Candidate:
    """Everything that is recorded of a candidate. `message` is the contract's."""

    row: CandidateRow
    source: str  # empty if the backend gave none
    prompt: str  # empty for a seed policy
    response: str  # the backend's raw text
    verdict: Verdict | None
    message: pb.Candidate = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a search. `message` is the contract's."""

    sequence: int  # from 1, without gaps
    at: datetime
    kind: str  # "state changed", "candidate changed", "new best", "held out scored", "gate decided", "promoted", ...
    number: int | None  # of the candidate that the event is about, where the event shows it
    score: float | None  # that candidate's, on the train part
    usd: float  # spent until then
    message: pb.Event = field(repr=False, compare=False)


class Search:
    """A search, as it was when it was last asked for: `refresh` asks again, and so does everything that acts on it.

    Belongs to the session that made it. Every method raises `quintain.errors.QuintainError` subclasses.
    """

    def __init__(self, controller: Controller, message: pb.Search, warnings: Sequence[str] = ()) -> None:
        self._controller = controller
        self.message = message
        self.warnings = tuple(warnings)  # what is doubtful about the budget, said when the search was created

    @property
    def id(self) -> str:
        return self.message.search_id

    @property
    def title(self) -> str:
        return self.message.spec.title

    @property
    def tags(self) -> tuple[str, ...]:
        return tuple(self.message.tags)

    @property
    def notes(self) -> str:
        return self.message.notes

    @property
    def state(self) -> str:
        """running, paused, finished, cancelled or failed."""
        return enum_name(pb.SearchState, self.message.state)

    @property
    def reason(self) -> str:
        """Why it failed, stopped or waits; empty while it runs."""
        return self.message.error or self.message.stop_reason or self.message.pause_reason

    @property
    def ended(self) -> bool:
        return self.message.state in _ENDED

    @property
    def usd(self) -> float:
        """Dollars spent, without what is reserved for requests under way."""
        return self.message.spend.usd

    @property
    def best(self) -> Candidate | None:
        """The promoted winner, or the best by train score so far; None before there is one."""
        self.refresh()
        if self.message.HasField("winner"):
            return self._get(self.message.winner.candidate_id)
        return self._get(self.message.best.candidate_id) if self.message.HasField("best") else None

    @property
    def winner(self) -> Candidate | None:
        """The candidate that passed every gate; None if there is none, or the search has not ended."""
        self.refresh()
        return self._get(self.message.winner.candidate_id) if self.message.HasField("winner") else None

    def refresh(self) -> Search:
        """Ask for the present state; returns itself."""
        self.message = self._controller.get_search(pb.GetSearchRequest(search_id=self.id)).search
        return self

    def candidates(self) -> list[CandidateRow]:
        """All candidates in order of creation."""
        numbers: dict[str, int] = {}
        rows = []
        for summary in self._summaries():
            numbers[summary.candidate_id] = summary.number
            rows.append(candidate_row(summary, numbers))
        return rows

    def front(self) -> list[FrontRow]:
        """In a search of several objectives, the candidates that no other is at least as good as in all of them, the
        best score first. They have not passed the gates, but for the winner."""
        self.refresh()
        return front_rows(self.message, self._summaries())

    def notebook(self) -> dict[str, Any]:
        """What answers claimed and what came of it, as `quintain notebook --json` prints it."""
        found = self._controller.get_notebook(pb.GetNotebookRequest(search_id=self.id))
        return notebook_document(self.id, found)

    def candidate(self, number: int) -> Candidate:
        """One candidate by its number, with source, prompt and verdict. Raises NotFound."""
        for summary in self._summaries():
            if summary.number == number:
                return self._get(summary.candidate_id)
        raise NotFound(f"search {self.id} has no candidate {number}")

    def to_dataframe(self) -> Any:
        """The candidates as a pandas DataFrame, a row each, indexed by number. Raises FailedPrecondition without
        pandas."""
        try:
            import pandas
        except ImportError:
            raise FailedPrecondition("to_dataframe needs pandas (pip install pandas); candidates() does not") from None
        names = list(CandidateRow.__dataclass_fields__)
        return pandas.DataFrame([asdict(row) for row in self.candidates()], columns=names).set_index("number")

    def watch(self, after_sequence: int = 0) -> Iterator[Event]:
        """The events after a sequence number (0: from the first), then each as it happens, until the search has ended.
        Broken connections are mended without gap or repeat."""
        for event in self._controller.watch_search(self.id, after_sequence, FOREVER_SECONDS):
            yield _event(event)

    def wait(self, timeout_seconds: float = FOREVER_SECONDS) -> Search:
        """Wait until the search has ended; returns itself. A paused search is waited for until somebody resumes or
        cancels it. Raises DeadlineExceeded, and the search goes on."""
        for _ in self._controller.watch_search(self.id, self.message.last_sequence, timeout_seconds):
            pass
        return self.refresh()

    def pause(self) -> Search:
        """Ask for no more candidates; what is under way is settled."""
        self.message = self._controller.pause_search(pb.PauseSearchRequest(search_id=self.id)).search
        return self

    def resume(self) -> Search:
        self.message = self._controller.resume_search(pb.ResumeSearchRequest(search_id=self.id)).search
        return self

    def cancel(self) -> Search:
        """Stop for good."""
        self.message = self._controller.cancel_search(pb.CancelSearchRequest(search_id=self.id)).search
        return self

    def extend_budget(
        self,
        *,
        candidates: int | None = None,
        verifications: int | None = None,
        usd: float | None = None,
        tokens: int | None = None,
        minutes: float | None = None,
    ) -> Search:
        """Raise bounds to these values (not by them); a search that used its budget up goes on."""
        budget = make_budget(candidates, verifications, usd, tokens, minutes)
        request = pb.ExtendBudgetRequest(search_id=self.id, budget=budget)
        self.message = self._controller.extend_budget(request).search
        return self

    def update(
        self,
        *,
        title: str | None = None,
        notes: str | None = None,
        add_tags: Sequence[str] = (),
        remove_tags: Sequence[str] = (),
    ) -> Search:
        """Change what the search is called, in any state; None leaves title or notes as they are."""
        request = pb.UpdateSearchRequest(
            search_id=self.id, title=title, notes=notes, add_tags=add_tags, remove_tags=remove_tags
        )
        self.message = self._controller.update_search(request).search
        return self

    def archive(self, path: str | Path) -> None:
        """Write the search as one file that `Session.restore` reads elsewhere; it must have ended, or be paused. Raises
        FileExistsError: nothing is overwritten."""
        with tempfile.TemporaryFile() as whole:
            self._controller.export_search(pb.ExportSearchRequest(search_id=self.id), whole, FOREVER_SECONDS)
            whole.seek(0)
            with Path(path).open("xb") as file:
                shutil.copyfileobj(whole, file)

    def _summaries(self) -> Iterator[pb.CandidateSummary]:
        request = pb.ListCandidatesRequest(search_id=self.id, page_size=PAGE)
        return entries(self._controller.list_candidates, request)

    def _get(self, candidate_id: str) -> Candidate:
        message = self._controller.get_candidate(pb.GetCandidateRequest(candidate_id=candidate_id)).candidate
        parents = message.summary.parent_ids
        numbers = {c.candidate_id: c.number for c in self._summaries()} if parents else {}
        return Candidate(
            row=candidate_row(message.summary, numbers),
            source=message.source,
            prompt="\n\n".join(part.content for part in message.generation.prompt),
            response=message.generation.response_text,
            verdict=verdict_of(message.verdict, message.feedback.text) if message.HasField("verdict") else None,
            message=message,
        )

    def __repr__(self) -> str:
        return f"<Search {self.id}: {self.state}, {self.message.spend.candidates} candidates, {usd(self.usd)}>"

    def _repr_html_(self) -> str:
        search, spec = self.message, self.message.spec
        fidelity = fidelity_text(search.fidelity, search.fidelity_reason)
        lines = [
            f"search {self.id}{f' ({self.title})' if self.title else ''}: {self.state}"
            + (f", {self.reason}" if self.reason else ""),
            f"{spec.simulator} / {spec.suite}, {spec.strategy or 'evolve'}, budget {budget_text(spec.budget)}; "
            f"spent: {search.spend.candidates} candidates, {usd(search.spend.usd)}",
            *([f"found in a model, fidelity {fidelity}"] if fidelity else []),
            *(f"gate {g.name.replace('_', '-')} {'passed' if g.passed else 'not passed'}: {g.detail}"
              for g in search.gates),
        ]  # fmt: skip
        header = ("", search.objective.name or "score", "better by", "of the bound", "held-out")
        return "".join(map(html.paragraph, lines)) + html.table(header, self._score_rows())

    def _score_rows(self) -> Iterator[Sequence[str]]:
        """Rows of the baseline, the best, the winner and the bound, as far as they are known."""
        search = self.message
        if not search.HasField("best"):
            return
        base = candidate_row(search.best, {})
        yield "baseline", number(base.baseline_score), "", "", number(base.held_out_baseline_score)
        shown = [("best", search.best)]
        if search.HasField("winner"):
            shown.append(("winner", search.winner))
        for name, summary in shown:
            row = candidate_row(summary, {})
            better = improvement(row.score, row.baseline_score, search.direction)
            reached = share_of_bound(row.score, row.bound_score, search.direction)
            yield (
                f"{name}, #{row.number}", number(row.score), percent(better, signed=True), percent(reached),
                number(row.held_out_score),
            )  # fmt: skip
        if base.bound_score is not None:
            yield "provable bound", number(base.bound_score), "", "", ""


def _event(event: pb.Event) -> Event:
    kind = event.WhichOneof("event") or "unknown"
    inner = getattr(event, kind, None)
    summary = inner.candidate if isinstance(inner, pb.CandidateChanged | pb.NewBest | pb.Promoted) else None
    return Event(
        sequence=event.sequence,
        at=event.at.ToDatetime(tzinfo=UTC),
        kind=kind.replace("_", " "),
        number=summary.number if summary is not None else None,
        score=summary.score if summary is not None and summary.HasField("score") else None,
        usd=event.spend.usd,
        message=event,
    )
