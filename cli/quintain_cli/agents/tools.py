"""The tools that an agent has: what each does, and what it reserves and settles of the budget.

Only searches and verifications that went through the ledger are within an agent's reach, and of them only what the
configuration allows. Every method returns plain JSON, and raises QuintainError for what the agent can put right.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from quintain.clients.budget import make_budget
from quintain.clients.suite_files import read_suite, suite_message
from quintain.controller.v1 import controller_pb2 as pb
from quintain.errors import (
    Aborted,
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    QuintainError,
    Unavailable,
)
from quintain.session import CandidateRow, Search, Session, Verdict
from quintain.session.search import Candidate
from quintain.statistics import paired_bootstrap
from quintain.type.v1 import type_pb2
from quintain.verifier.v1 import verifier_pb2
from quintain.wording import fidelity_text
from quintain_cli.agents.config import AgentsConfig, SuiteTable
from quintain_cli.agents.foreign import fenced
from quintain_cli.agents.ledger import Amounts, Ledger, Use

VERIFY_SECONDS = 900.0  # that one verification may take, queueing included
LONGEST_WATCH_SECONDS = 120.0
MOST_EVENTS = 200
MOST_ROWS = 200
LEAST_USD = 1e-9  # the least bound that a controller takes: what costs nothing runs under it, and nothing else does

# After these nobody knows whether the controller began the search: its reservation stays, and the request is repeated.
_UNKNOWN_OUTCOME = (Unavailable, DeadlineExceeded, Internal, Aborted, Cancelled)

JsonObject = dict[str, Any]


class Tools:
    """Thread safe, as a session and a ledger are."""

    def __init__(
        self, session: Session, ledger: Ledger, config: AgentsConfig, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._session, self._ledger, self._config, self._clock = session, ledger, config, clock
        self._suites = {self._key(table): table for table in config.allowed.suites}

    def budget(self) -> JsonObject:
        """What the person allowed, what was spent or is reserved, and what is left."""
        self._account()
        return {
            "budget": _amounts(self._ledger.budget),
            "spent_or_reserved": _amounts(self._ledger.used()),
            "left": _amounts(self._ledger.remaining()),
            "backends": list(self._config.allowed.backends),
            "suites": [{"simulator": simulator, "suite": suite} for simulator, suite in self._suites],
        }

    def guide(self, simulator: str, suite: str, offset: int = 0) -> JsonObject:
        """How to write a policy for a suite: the system, the interface, pitfalls, scenarios, the baselines' sources."""
        name, files = read_suite(str(self._suite(simulator, suite)))
        request = verifier_pb2.GetSuiteRequest(simulator=simulator, suite=name, suite_files=suite_message(files))
        found = self._session.verifier.get_suite(request)
        described = found.simulator
        return {
            "title": described.title,
            "objective": found.suite.objective,
            "objectives": [{"name": o.name, "unit": o.unit, "about": o.description} for o in described.objectives],
            "scenarios": [entry.scenario for entry in found.suite.entries],
            "guide": fenced("guide", described.policy_guide, offset),
            "baselines": [
                {"name": b.name, "source": fenced(f"baseline {b.name}", b.source)} for b in described.baselines
            ],
        }

    def verify(self, policy: str, simulator: str, suite: str, objective: str = "", seed: int = 0) -> JsonObject:
        """The verdict on a policy's source. Takes one verification, and the time that it takes."""
        chosen = self._suite(simulator, suite)
        left = self._ledger.remaining()
        most = Amounts(verifications=1, seconds=max(1.0, min(VERIFY_SECONDS, left.seconds)))
        use = self._ledger.reserve(most)
        began = self._clock()
        try:
            verdict = self._session.verify(
                policy, suite=chosen, simulator=simulator, objective=objective, seed=seed, timeout_seconds=most.seconds
            )
        except InvalidArgument:
            self._ledger.settle(use, Amounts())  # nothing was run
            raise
        except QuintainError:
            self._ledger.settle(use, Amounts(verifications=1, seconds=min(most.seconds, self._clock() - began)))
            raise
        self._ledger.settle(use, Amounts(verifications=1, seconds=min(most.seconds, self._clock() - began)))
        return _verdict(verdict)

    def start_search(
        self,
        simulator: str,
        suite: str,
        verifications: int,
        minutes: float,
        usd: float = 0.0,
        backends: list[str] | None = None,
        strategy: str = "",
        objective: str = "",
        start: list[str] | None = None,
        seed: int = 0,
        title: str = "",
    ) -> JsonObject:
        """Start a search with a budget of its own, which is reserved whole and settled when the search has ended."""
        chosen = list(backends or self._config.allowed.backends[:1])
        for backend in chosen:
            if backend not in self._config.allowed.backends:
                allowed = ", ".join(self._config.allowed.backends)
                raise InvalidArgument.of("backends", f"{backend!r} is not allowed; allowed are: {allowed}")
        for name, value, least in (("verifications", verifications, 1), ("minutes", minutes, 1e-3), ("usd", usd, 0)):
            if not least <= value < float("inf"):
                raise InvalidArgument.of(name, f"is {value!r}; it must be at least {least:g}")
        name, files = read_suite(str(self._suite(simulator, suite)))
        spec = pb.SearchSpec(
            simulator=simulator,
            suite=name,
            suite_files=suite_message(files),
            objective=objective,
            strategy=strategy,
            backends=chosen,
            budget=make_budget(None, verifications, max(usd, LEAST_USD), None, minutes),
            seed=seed,
            seed_policies=[type_pb2.Policy(source=source) for source in start or ()],
            title=title,
        )
        request = pb.CreateSearchRequest(request_id=uuid.uuid4().hex, spec=spec)
        self._account()
        most = Amounts(usd, verifications, minutes * 60)
        use = self._ledger.reserve(most, request.SerializeToString())
        response = self._create(use, request)
        return {**_search(Search(self._session.controller, response.search)), "warnings": [*response.estimate.warnings]}

    def watch_search(self, search_id: str, after_sequence: int = 0, seconds: float = 30.0) -> JsonObject:
        """What happened after a sequence number: until a new best, the end, or so many seconds have passed."""
        search = self._own(search_id)
        if not 0 <= seconds <= LONGEST_WATCH_SECONDS:
            raise InvalidArgument.of("seconds", f"is {seconds!r}; it must be from 0 to {LONGEST_WATCH_SECONDS:g}")
        events: list[JsonObject] = []
        try:
            for message in self._session.controller.watch_search(search.id, after_sequence, max(seconds, 0.1)):
                events.append({"sequence": message.sequence, "kind": message.WhichOneof("event")})
                if len(events) == MOST_EVENTS or message.WhichOneof("event") == "new_best":
                    break
        except DeadlineExceeded:
            pass  # the time is up, and the search goes on
        last = events[-1]["sequence"] if events else after_sequence
        return {"events": events, "last_sequence": last, "search": _search(self._settled(search.refresh()))}

    def list_searches(self) -> JsonObject:
        """The searches that were started with these tools, the newest first."""
        self._account()
        found = []
        for use in reversed(self._ledger.searches()):
            if use.search_id is None:
                found.append({"search_id": None, "state": "not known yet: the controller could not be asked"})
                continue
            try:
                found.append(_search(self._session.search(use.search_id)))
            except NotFound:
                found.append({"search_id": use.search_id, "state": "deleted by a person"})
        return {"searches": found}

    def list_candidates(self, search_id: str, best_first: bool = True, most: int = 20) -> JsonObject:
        """The candidates of a search, without their texts."""
        search = self._settled(self._own(search_id))
        rows = search.candidates()
        if best_first:
            up = search.message.direction != type_pb2.DIRECTION_MINIMIZE
            scored = [row for row in rows if row.score is not None]
            scored.sort(key=lambda row: (-(row.score or 0.0) if up else (row.score or 0.0), row.number))
            rows = [*scored, *(row for row in rows if row.score is None)]
        shown = rows[: max(1, min(most, MOST_ROWS))]
        return {"candidates": [_row(row) for row in shown], "in_all": len(rows)}

    def read_candidate(self, search_id: str, number: int, part: str = "source", offset: int = 0) -> JsonObject:
        """One text of a candidate: source, prompt, response, feedback or traceback; and its row."""
        candidate = self._own(search_id).candidate(number)
        texts = {
            "source": candidate.source,
            "prompt": candidate.prompt,
            "response": candidate.response,
            "feedback": candidate.verdict.feedback if candidate.verdict else "",
            "traceback": candidate.verdict.traceback if candidate.verdict else "",
        }
        if part not in texts:
            raise InvalidArgument.of("part", f"{part!r} is none of: {', '.join(texts)}")
        return {"candidate": _row(candidate.row), part: fenced(f"{part} of #{number}", texts[part], offset)}

    def compare(self, search_id: str, first: int, second: int, second_search_id: str = "") -> JsonObject:
        """Two candidates by scenario, from their recorded verdicts; nothing is run."""
        one = self._own(search_id).candidate(first)
        other = self._own(second_search_id or search_id).candidate(second)
        values = [_values(candidate) for candidate in (one, other)]
        common = [name for name in values[0] if name in values[1]]
        if not common:
            raise InvalidArgument.of("second", "the two have no scenario in common")
        differences = [values[1][name] - values[0][name] for name in common]
        interval = paired_bootstrap(differences, seed=0)
        return {
            "scenarios": [
                {"scenario": name, "first": values[0][name], "second": values[1][name], "difference": difference}
                for name, difference in zip(common, differences, strict=True)
            ],
            "mean_difference": interval.mean,
            "interval": [interval.low, interval.high],
            "meaning": "normalized: 0 the worst, 1 the provable bound; " + str(interval),
        }

    def stop_search(self, search_id: str) -> JsonObject:
        """Stop a search for good; what it has not spent of its budget comes back once nothing of it is at work."""
        search = self._own(search_id)
        if not search.ended:
            try:
                search.cancel()
            except FailedPrecondition:  # it has ended meanwhile
                search.refresh()
        return _search(self._settled(search))

    def _key(self, table: SuiteTable) -> tuple[str, str]:
        return table.simulator, read_suite(table.suite)[0]

    def _suite(self, simulator: str, suite: str) -> str | Path:
        """The allowed suite: a name, or the path of the person's own."""
        table = self._suites.get((simulator, suite))
        if table is None:
            raise InvalidArgument.of("suite", f"{simulator}/{suite} is not allowed; allowed are: {self._allowed()}")
        return table.suite if table.suite == suite else Path(table.suite)

    def _allowed(self) -> str:
        return ", ".join(f"{simulator}/{suite}" for simulator, suite in self._suites)

    def _own(self, search_id: str) -> Search:
        if search_id not in {use.search_id for use in self._ledger.searches()}:
            raise NotFound(f"no search {search_id!r} was started with these tools; list_searches lists those that were")
        return self._session.search(search_id)

    def _create(self, use: int, request: pb.CreateSearchRequest) -> pb.CreateSearchResponse:
        try:
            response = self._session.controller.create_search(request)
        except _UNKNOWN_OUTCOME:
            raise
        except QuintainError:
            self._ledger.settle(use, Amounts())  # refused: it never began
            raise
        self._ledger.started(use, response.search.search_id)
        return response

    def _account(self) -> None:
        """Settle what has ended, and find out what became of requests that nobody heard an answer to."""
        for use in self._ledger.searches():
            if not use.settled:
                self._account_for(use)

    def _account_for(self, use: Use) -> None:
        try:
            if use.search_id is None:
                assert use.request is not None
                # The same request id: the controller answers with the search that began, or begins it now.
                self._create(use.id, pb.CreateSearchRequest.FromString(use.request))
            else:
                self._settled(self._session.search(use.search_id))
        except QuintainError:
            return  # not to be known now: what was reserved stays reserved

    def _settled(self, search: Search) -> Search:
        if search.ended and not search.message.settling:  # until then its spend may grow
            for use in self._ledger.searches():
                if use.search_id == search.id and not use.settled:
                    spend = search.message.spend
                    # what a call with an unknown outcome may have cost counts as spent
                    spent = Amounts(spend.usd + spend.at_risk_usd, spend.verifications, spend.wall_seconds)
                    self._ledger.settle(use.id, spent)
        return search


def _amounts(amounts: Amounts) -> JsonObject:
    return {
        "usd": round(amounts.usd, 6),
        "verifications": amounts.verifications,
        "hours": round(amounts.seconds / 3600, 4),
    }


def _search(search: Search) -> JsonObject:
    message = search.message
    best = message.winner if message.HasField("winner") else message.best if message.HasField("best") else None
    return {
        "search_id": search.id,
        "title": fenced("title", search.title),
        "state": search.state,
        "settling": message.settling,
        "reason": fenced("reason", search.reason),
        "simulator": message.spec.simulator,
        "suite": message.spec.suite,
        "direction": "minimize" if message.direction == type_pb2.DIRECTION_MINIMIZE else "maximize",
        "candidates": message.spend.candidates,
        "verifications": message.spend.verifications,
        "usd": message.spend.usd,
        "seconds": message.spend.wall_seconds,
        "best": None if best is None else {"number": best.number, "score": best.score},
        "promoted": message.HasField("winner"),
        "fidelity_of_the_model": fenced("fidelity", fidelity_text(message.fidelity, message.fidelity_reason)),
        "last_sequence": message.last_sequence,
    }


def _row(row: CandidateRow) -> JsonObject:
    names = (
        "number", "state", "operator", "backend", "parents", "outcome", "verdict", "score", "baseline_score",
        "bound_score", "normalized", "held_out_score", "usd",
    )  # fmt: skip
    known = asdict(row)
    return {**{name: known[name] for name in names}, "summary": fenced(f"summary of #{row.number}", row.summary)}


def _values(candidate: Candidate) -> dict[str, float]:
    if candidate.verdict is None:
        raise InvalidArgument.of("number", f"candidate {candidate.row.number} has no verdict to compare")
    return {row.scenario: row.normalized for row in candidate.verdict.scenarios if row.ran}


def _verdict(verdict: Verdict) -> JsonObject:
    return {
        "status": verdict.status,
        "objective": verdict.objective,
        "train": asdict(verdict.train) if verdict.train else None,
        "held_out": asdict(verdict.held_out) if verdict.held_out else None,
        "scenarios": [
            {
                "scenario": row.scenario,
                "part": row.part,
                "value": row.value,
                "normalized": row.normalized,
                "baseline": row.baseline,
                "bound": row.bound,
                "failure": fenced("failure", row.failure or ""),
            }
            for row in verdict.scenarios
        ],
        "failure": fenced("failure", verdict.failure or ""),
        "traceback": fenced("traceback", verdict.traceback),
        "feedback": fenced("feedback", verdict.feedback),
        "fidelity_of_the_model": fenced("fidelity", verdict.fidelity),
        "digest": verdict.digest,
    }
