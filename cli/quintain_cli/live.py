"""Watching a search: what to show of it while it runs, on a terminal, as plain lines, or as JSON lines."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from typing import Protocol

from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table

from quintain.controller.v1 import controller_pb2 as pb
from quintain.generator.v1 import generator_pb2
from quintain.verifier.v1 import verifier_pb2
from quintain_cli import render
from quintain_cli.connect import FOREVER_SECONDS, Connection
from quintain_cli.notifications import Notifications
from quintain_cli.render import out, say

LAST_EVENTS = 8
PLAIN_SECONDS = 10.0  # how often plain output says how far a search is
ENDED = (pb.SEARCH_STATE_FINISHED, pb.SEARCH_STATE_CANCELLED, pb.SEARCH_STATE_FAILED)


class SearchProgress:
    """What is known of a search from its record and the events since."""

    def __init__(self, search: pb.Search) -> None:
        self.search = search
        self.spend = search.spend
        self.state = search.state
        self.budget = search.spec.budget
        self.best: pb.CandidateSummary | None = search.best if search.HasField("best") else None
        self.baseline: float | None = self.best.baseline_score if self.best else None
        self.bound: float | None = self.best.bound_score if self.best and self.best.HasField("bound_score") else None
        self.lines: deque[str] = deque(maxlen=LAST_EVENTS)
        self.needs_person = search.state == pb.SEARCH_STATE_PAUSED
        self._backend_down = False
        self._trouble = ""  # what a backend's last trouble was, until something comes of it
        self._in_flight: dict[str, tuple[pb.CandidateSummary, float]] = {}  # with the time of its last change
        self._gate = ""  # what the gates are doing
        self.controller_trouble = ""
        self._begun = time.monotonic() - search.spend.wall_seconds

    def take(self, event: pb.Event) -> str | None:
        """Learn from an event; the line to show for it, or None if it is not worth one."""
        self.spend = event.spend
        match event.WhichOneof("event"):
            case "state_changed":
                self.state = event.state_changed.state
                # A pause right after the word of a backend that is down ends when the backend is back.
                self.needs_person = self.state == pb.SEARCH_STATE_PAUSED and not self._backend_down
                self._backend_down = False
                self._trouble = self._trouble if self.state == pb.SEARCH_STATE_PAUSED else ""
            case "backend_trouble":
                trouble = event.backend_trouble
                self._trouble = f"{trouble.backend}: {trouble.reason}" if trouble.backend else trouble.reason
                self._backend_down = event.backend_trouble.search_paused and bool(event.backend_trouble.backend)
            case "new_best":
                self.best = event.new_best.candidate
                self._learn_scale(self.best)
            case "gate_progress":
                self._gate = gate_text(event.gate_progress)
            case "candidate_changed":
                self._learn_scale(event.candidate_changed.candidate)
                self._follow_candidate(event.candidate_changed.candidate, event.at.seconds)
            case "budget_extended":
                self.budget = event.budget_extended.budget
        line = event_line(event, self.search.direction)
        if line:
            self.lines.append(line)
        return line

    def _follow_candidate(self, candidate: pb.CandidateSummary, at: float) -> None:
        if candidate.state in (pb.CANDIDATE_STATE_REQUESTED, pb.CANDIDATE_STATE_GENERATED):
            self._in_flight[candidate.candidate_id] = (candidate, at)
        else:
            self._in_flight.pop(candidate.candidate_id, None)
            self._trouble = ""

    def waits_for(self) -> str:
        """What nothing happens without, and how long that has taken; empty if it is not known."""
        if self.controller_trouble:
            return self.controller_trouble
        if self._trouble:
            return f"waiting for a backend: {self._trouble}"
        parts = []
        for state, awaited in ((pb.CANDIDATE_STATE_REQUESTED, "answer"), (pb.CANDIDATE_STATE_GENERATED, "verdict")):
            began: dict[str, list[float]] = {}  # by where an answer is made, if its candidate says
            for candidate, at in self._in_flight.values():
                if candidate.state == state:
                    where = (
                        f" {candidate.summary}" if state == pb.CANDIDATE_STATE_REQUESTED and candidate.summary else ""
                    )
                    began.setdefault(where, []).append(at)
            for where, since in sorted(began.items()):
                longest = duration(max(0.0, time.time() - min(since)))
                parts.append(f"{len(since)} {awaited}{'s' if len(since) > 1 else ''}{where} (for {longest})")
        if parts:
            return f"waiting for {' and '.join(parts)}"
        if self.state != pb.SEARCH_STATE_RUNNING:
            return ""
        return self._gate or ("the best candidates go through the gates" if self.share_used >= 1.0 else "")

    def _learn_scale(self, candidate: pb.CandidateSummary) -> None:
        if candidate.HasField("baseline_score"):
            self.baseline = candidate.baseline_score
        if candidate.HasField("bound_score"):
            self.bound = candidate.bound_score

    @property
    def improvement(self) -> float | None:
        return render.improvement(self.best.score if self.best else None, self.baseline, self.search.direction)

    @property
    def share_of_bound(self) -> float | None:
        return render.share_of_bound(self.best.score if self.best else None, self.bound, self.search.direction)

    @property
    def share_used(self) -> float:
        """The greatest used share over the bounds of the budget, in [0, 1]."""
        wall = time.monotonic() - self._begun if self.state == pb.SEARCH_STATE_RUNNING else self.spend.wall_seconds
        used = {
            "candidates": self.spend.candidates,
            "verifications": self.spend.verifications,
            "usd": self.spend.usd,
            "tokens": self.spend.tokens,
            "wall_seconds": wall,
        }
        shares = [used[name] / bound for name in used if (bound := self._bound_of(name))]
        return min(1.0, max(shares, default=0.0))

    @property
    def seconds_left(self) -> float | None:
        """Estimated from the pace so far; None before there is one."""
        share = self.share_used
        return (time.monotonic() - self._begun) * (1 - share) / share if share > 0 else None

    def headline(self) -> str:
        """One line: best, candidates, spend, time left."""
        parts = []
        if self.best is not None:
            parts.append(
                f"best {render.number(self.best.score)} ({render.percent(self.improvement, signed=True)} against "
                f"{render.number(self.baseline)}, {render.percent(self.share_of_bound)} of the bound)"
            )
        of = f"/{self.budget.candidates}" if self.budget.HasField("candidates") else ""
        parts.append(f"{self.spend.candidates}{of} candidates")
        parts.append(render.usd(self.spend.usd))
        if self.seconds_left is not None and self.state == pb.SEARCH_STATE_RUNNING and self.share_used < 1.0:
            parts.append(f"about {duration(self.seconds_left)} left")
        return ", ".join(parts)

    def _bound_of(self, name: str) -> float | None:
        return float(getattr(self.budget, name)) if self.budget.HasField(name) else None  # type: ignore[arg-type]


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def event_line(event: pb.Event, direction: int) -> str | None:
    """What happened, in one line of markup; None for what is not worth a line."""
    match event.WhichOneof("event"):
        case "state_changed":
            changed = event.state_changed
            reason = f": {escape(changed.reason)}" if changed.reason else ""
            return f"search {render.enum_name(pb.SearchState, changed.state)}{reason}"
        case "candidate_changed":
            return _candidate_line(event.candidate_changed.candidate)
        case "new_best":
            c = event.new_best.candidate
            better = render.improvement(c.score, c.baseline_score, direction)
            return f"[green]#{c.number} new best {render.number(c.score)}[/] ({render.percent(better, signed=True)})"
        case "held_out_scored":
            h = event.held_out_scored
            better = render.improvement(h.held_out_score, h.held_out_baseline_score, direction)
            return (
                f"held-out {render.number(h.held_out_score)} ({render.percent(better, signed=True)}), gap {h.gap:+.3f}"
            )
        case "overfitting":
            return f"[yellow]overfitting[/]: gap {event.overfitting.gap:+.3f} {escape(event.overfitting.detail)}"
        case "stagnation":
            s = event.stagnation
            return f"no improvement for {s.candidates_without_improvement} candidates: {escape(s.action)}"
        case "gate_decided":
            return gate_line(event.gate_decided.gate)
        case "better_on_held_out":
            beaten = event.better_on_held_out
            number = beaten.candidate_id.rpartition(".")[2]
            theirs = render.percent(beaten.held_out_normalized)
            winners = render.percent(beaten.winner_held_out_normalized)
            says = f"({theirs} of the bound) than the winner ({winners})"
            return f"[yellow]#{escape(number)} is better on held-out[/] {says}"
        case "promoted":
            return f"[green]promoted #{event.promoted.candidate.number}[/]"
        case "backend_trouble":
            t = event.backend_trouble
            paused = "; the search waits" if t.search_paused else ""
            backend = f"{escape(t.backend)}: " if t.backend else ""  # where the search left the choice to the generator
            return f"[yellow]{backend}{escape(t.reason)}[/]{paused}"
        case "budget_extended":
            return f"budget is now {render.budget_text(event.budget_extended.budget)}"
    return None


def _candidate_line(c: pb.CandidateSummary) -> str | None:
    if c.state == pb.CANDIDATE_STATE_REJECTED:
        outcome = render.enum_name(generator_pb2.Outcome, c.generation_outcome)
        return f"[dim]#{c.number} not verified: {outcome} {escape(c.summary)}[/]".rstrip()
    if c.state == pb.CANDIDATE_STATE_VERIFIED and c.verdict_status != verifier_pb2.VERDICT_STATUS_OK:
        status = render.enum_name(verifier_pb2.VerdictStatus, c.verdict_status)
        return f"[dim]#{c.number} {status}: {escape(c.summary)}[/]"
    if c.state == pb.CANDIDATE_STATE_VERIFIED:
        return f"[dim]#{c.number} {render.number(c.score)}[/]"
    return None


def _failed_seed(c: pb.CandidateSummary) -> bool:
    """Whether a person's own policy failed: the search goes on from what is left, so they are told."""
    verified = c.state == pb.CANDIDATE_STATE_VERIFIED
    return verified and not c.operator and c.verdict_status != verifier_pb2.VERDICT_STATUS_OK


def gate_text(progress: pb.GateProgress) -> str:
    number = progress.candidate_id.rpartition(".")[2]
    of = f", candidate {progress.tries} of at most {progress.most_tries}" if progress.most_tries > 1 else ""
    done = f": {progress.scenarios_done} of {progress.scenarios_total} scenarios" if progress.scenarios_total else ""
    return f"gate {progress.name.replace('_', '-')} of #{number}{of}{done}"


def gate_line(gate: pb.Gate) -> str:
    passed = "[green]passed[/]" if gate.passed else "[red]not passed[/]"
    of = f" of #{escape(gate.candidate_id.rpartition('.')[2])}" if gate.candidate_id else ""  # several may be tried
    return f"gate {gate.name.replace('_', '-')}{of} {passed}: {escape(gate.detail)}"


class Display(Protocol):
    """Shows progress; used as a context manager around the watching."""

    def __enter__(self) -> Display: ...
    def __exit__(self, *exception: object) -> None: ...
    def event(self, event: pb.Event, line: str | None) -> None: ...
    def tick(self) -> None: ...


class TerminalDisplay:
    """A live block: headline, how much of the budget is used, the last events."""

    def __init__(self, progress: SearchProgress) -> None:
        self._progress = progress
        self._live = Live(console=out, get_renderable=self._block, refresh_per_second=4, transient=True)

    def __enter__(self) -> TerminalDisplay:
        self._live.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.__exit__(None, None, None)

    def event(self, event: pb.Event, line: str | None) -> None:
        """The block shows the progress's own lines, which pass by; what the person should mend stays."""
        if line and _failed_seed(event.candidate_changed.candidate):
            say(line)

    def tick(self) -> None:
        pass  # the block refreshes itself

    def _block(self) -> Group:
        bar = Table.grid(padding=(0, 1))
        bar.add_row("budget used", ProgressBar(total=1.0, completed=self._progress.share_used, width=40),
                    render.percent(self._progress.share_used))  # fmt: skip
        waits = self._progress.waits_for()
        return Group(
            f"[bold]{self._progress.headline()}[/]",
            bar,
            *([f"[dim]{escape(waits)}[/]"] if waits else []),
            *(f"  {line}" for line in self._progress.lines),
        )


class PlainDisplay:
    """Lines as they happen, for pipes and logs: what matters, and now and then the headline."""

    def __init__(self, progress: SearchProgress) -> None:
        self._progress = progress
        self._said = time.monotonic()

    def __enter__(self) -> PlainDisplay:
        return self

    def __exit__(self, *exception: object) -> None: ...

    def event(self, event: pb.Event, line: str | None) -> None:
        kind = event.WhichOneof("event")
        shown = kind != "gate_decided"  # the end shows the gates
        if kind == "candidate_changed":
            shown = _failed_seed(event.candidate_changed.candidate)
        if kind == "state_changed":  # what ends the watching is said by the outcome
            shown = not (self._progress.needs_person or event.state_changed.state in ENDED)
        if line and shown:
            say(line)

    def tick(self) -> None:
        if time.monotonic() - self._said >= PLAIN_SECONDS:
            self._said = time.monotonic()
            waits = self._progress.waits_for()
            say(self._progress.headline() + (f"; {escape(waits)}" if waits else ""))


class JsonDisplay:
    """Every event as a JSON line."""

    def __enter__(self) -> JsonDisplay:
        return self

    def __exit__(self, *exception: object) -> None: ...

    def event(self, event: pb.Event, line: str | None) -> None:
        render.print_json(event)

    def tick(self) -> None: ...


def display(progress: SearchProgress, as_json: bool) -> Display:
    if as_json:
        return JsonDisplay()
    return TerminalDisplay(progress) if out.is_terminal else PlainDisplay(progress)


def watch(connection: Connection, search: pb.Search, as_json: bool, after_sequence: int) -> None:
    """Show a search until it has ended or waits for a person, and notify whom the environment names."""
    progress = SearchProgress(search)
    with Notifications.from_environment(search) as notifications, display(progress, as_json) as shown:
        for event in _events(connection, search.search_id, after_sequence):
            if event is not None:
                line = progress.take(event)
                shown.event(event, line)
                notifications.take(event, line)
                if progress.needs_person:
                    break
            progress.controller_trouble = connection.trouble
            shown.tick()


def _events(connection: Connection, search_id: str, after_sequence: int) -> Iterator[pb.Event | None]:
    stream = connection.controller.watch_search(search_id, after_sequence, FOREVER_SECONDS)
    return connection.follow(stream)
