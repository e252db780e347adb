"""Services that answer from memory, over real gRPC, for tests of the command line."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc

from quintain.controller.v1 import controller_pb2 as cpb
from quintain.controller.v1 import controller_pb2_grpc
from quintain.errors import NotFound, QuintainError
from quintain.type.v1 import type_pb2
from quintain.verifier.v1 import verifier_pb2 as vpb
from quintain.verifier.v1 import verifier_pb2_grpc
from quintain.wire.status import DETAILS_KEY, to_status


def abort(context: grpc.ServicerContext, error: QuintainError) -> None:
    details = to_status(error).SerializeToString()
    context.set_trailing_metadata(((DETAILS_KEY, details),))
    context.abort(getattr(grpc.StatusCode, error.code), error.message)


class FakeVerifier(verifier_pb2_grpc.VerifierServicer):
    """Answers every Verify with `verdict`, or fails with `error`; remembers the requests."""

    def __init__(self) -> None:
        self.requests: list[vpb.VerifyRequest] = []
        self.verdict = vpb.Verdict()
        self.error: QuintainError | None = None
        self.troubles: list[QuintainError] = []  # raised first, one for each call
        self.unavailable_reason = ""  # of the second of its two simulators

    def Verify(self, request: vpb.VerifyRequest, context: grpc.ServicerContext) -> Iterator[vpb.VerifyResponse]:
        self.requests.append(request)
        if self.troubles:
            abort(context, self.troubles.pop())
        if self.error is not None:
            abort(context, self.error)
        yield vpb.VerifyResponse(progress=vpb.VerifyProgress(scenarios_done=1, scenarios_total=2))
        execution = vpb.Execution(wall_seconds=0.5, isolation=vpb.Isolation(profile="strict"))
        yield vpb.VerifyResponse(result=vpb.VerifyResult(verdict=self.verdict, execution=execution))

    def GetSimulator(self, request: vpb.GetSimulatorRequest, _context: Any) -> vpb.GetSimulatorResponse:
        assert request.name == "first" or not self.unavailable_reason, "it was said to be unavailable"
        baseline = type_pb2.Baseline(name="fifo", source="# fifo\n")
        return vpb.GetSimulatorResponse(
            simulator=type_pb2.SimulatorDescription(name=request.name, title="A title", baselines=[baseline])
        )

    def GetSuite(self, request: vpb.GetSuiteRequest, context: Any) -> vpb.GetSuiteResponse:
        described = self.GetSimulator(vpb.GetSimulatorRequest(name=request.simulator), context).simulator
        return vpb.GetSuiteResponse(suite=type_pb2.Suite(name=request.suite), simulator=described)

    def ListSimulators(self, request: vpb.ListSimulatorsRequest, _context: Any) -> vpb.ListSimulatorsResponse:
        """Two pages of one simulator each."""
        if request.page_token:
            second = vpb.SimulatorSummary(name="second", unavailable_reason=self.unavailable_reason)
            return vpb.ListSimulatorsResponse(simulators=[second])
        return vpb.ListSimulatorsResponse(simulators=[vpb.SimulatorSummary(name="first")], next_page_token="more")

    def ListSuites(self, request: vpb.ListSuitesRequest, _context: Any) -> vpb.ListSuitesResponse:
        return vpb.ListSuitesResponse(suites=[type_pb2.Suite(name=f"suite of {request.simulator}")])


class FakeController(controller_pb2_grpc.ControllerServicer):
    """Holds one search, and others that are only read. Events are given out at once; a search that has not ended
    then keeps its watchers waiting."""

    def __init__(self) -> None:
        self.search = cpb.Search(search_id="s1")
        self.others: list[cpb.Search] = []  # listed after it
        self.candidates: list[cpb.Candidate] = []
        self.events: list[cpb.Event] = []
        self.time_for_replay: float | None = None  # seconds that the last replay was given
        self.calls: list[Any] = []
        self.estimate = cpb.SearchEstimate()
        self.differences: list[str] = []  # of a replay
        self.notebook = cpb.GetNotebookResponse()
        self.watched = threading.Event()
        self.closing = threading.Event()
        self.resumes_to: Any = cpb.SEARCH_STATE_FINISHED

    def needs_person(self, reason: str) -> None:
        """The search pauses until a person acts."""
        self.search.state = cpb.SEARCH_STATE_PAUSED
        self.search.pause_reason = reason
        self.events = [cpb.Event(sequence=1, state_changed=cpb.StateChanged(state=cpb.SEARCH_STATE_PAUSED))]

    def interrupt_when_watched(self, signum: signal.Signals) -> None:
        """Send this process a signal as soon as somebody follows the search, which runs."""
        self.search.state = cpb.SEARCH_STATE_RUNNING

        def interrupt() -> None:
            self.watched.wait()
            os.kill(os.getpid(), signum)

        threading.Thread(target=interrupt).start()

    def CreateSearch(self, request: cpb.CreateSearchRequest, _context: Any) -> cpb.CreateSearchResponse:
        self.calls.append(request)
        self.search.spec.CopyFrom(request.spec)
        return cpb.CreateSearchResponse(search=self.search, estimate=self.estimate)

    def ReplaySearch(
        self, request: cpb.ReplaySearchRequest, context: grpc.ServicerContext
    ) -> Iterator[cpb.ReplaySearchResponse]:
        self.calls.append(request)
        self.time_for_replay = context.time_remaining()
        counts = cpb.ReplayProgress(verifications_done=1, verifications_total=2)
        yield cpb.ReplaySearchResponse(progress=counts)
        for difference in self.differences:
            yield cpb.ReplaySearchResponse(difference=difference)
        equal = not self.differences
        report = cpb.ReplayReport(search_id="s1", equal=equal, verdicts=2, differences=len(self.differences))
        yield cpb.ReplaySearchResponse(report=report)

    def GetSearch(self, request: cpb.GetSearchRequest, context: grpc.ServicerContext) -> cpb.GetSearchResponse:
        found = {search.search_id: search for search in (self.search, *self.others)}
        if self.others and request.search_id not in found:
            abort(context, NotFound(f"no search {request.search_id}"))
        return cpb.GetSearchResponse(search=found.get(request.search_id, self.search))

    def ListStrategies(self, _request: cpb.ListStrategiesRequest, _context: Any) -> cpb.ListStrategiesResponse:
        return cpb.ListStrategiesResponse(strategies=[cpb.Strategy(name=name) for name in ("chain", "tree")])

    def ListSearches(self, request: cpb.ListSearchesRequest, _context: Any) -> cpb.ListSearchesResponse:
        return cpb.ListSearchesResponse(searches=[self.search, *self.others])

    def PauseSearch(self, request: cpb.PauseSearchRequest, _context: Any) -> cpb.PauseSearchResponse:
        self.calls.append(request)
        self.search.state = cpb.SEARCH_STATE_PAUSED
        return cpb.PauseSearchResponse(search=self.search)

    def ResumeSearch(self, request: cpb.ResumeSearchRequest, _context: Any) -> cpb.ResumeSearchResponse:
        self.calls.append(request)
        self.search.state = self.resumes_to
        return cpb.ResumeSearchResponse(search=self.search)

    def ExtendBudget(self, request: cpb.ExtendBudgetRequest, _context: Any) -> cpb.ExtendBudgetResponse:
        self.calls.append(request)
        self.search.spec.budget.MergeFrom(request.budget)
        return cpb.ExtendBudgetResponse(search=self.search)

    def UpdateSearch(self, request: cpb.UpdateSearchRequest, _context: Any) -> cpb.UpdateSearchResponse:
        self.calls.append(request)
        self.search.spec.title, self.search.notes = request.title, request.notes
        self.search.tags[:] = request.add_tags
        return cpb.UpdateSearchResponse(search=self.search)

    def WatchSearch(self, request: cpb.WatchSearchRequest, _context: Any) -> Iterator[cpb.WatchSearchResponse]:
        for event in self.events:
            if event.sequence > request.after_sequence:
                yield cpb.WatchSearchResponse(event=event)
        self.watched.set()
        if self.search.state == cpb.SEARCH_STATE_RUNNING:
            self.closing.wait()

    def ListCandidates(self, request: cpb.ListCandidatesRequest, _context: Any) -> cpb.ListCandidatesResponse:
        """Pages of two."""
        begin = int(request.page_token or 0)
        end = begin + 2
        more = str(end) if end < len(self.candidates) else ""
        summaries = [candidate.summary for candidate in self.candidates[begin:end]]
        return cpb.ListCandidatesResponse(candidates=summaries, next_page_token=more)

    def GetNotebook(self, request: cpb.GetNotebookRequest, context: grpc.ServicerContext) -> cpb.GetNotebookResponse:
        if request.search_id != "s1":
            abort(context, NotFound(f"no search {request.search_id}"))
        return self.notebook

    def GetCandidate(self, request: cpb.GetCandidateRequest, _context: Any) -> cpb.GetCandidateResponse:
        found = next(c for c in self.candidates if c.summary.candidate_id == request.candidate_id)
        return cpb.GetCandidateResponse(candidate=found)


@contextmanager
def serving(verifier: FakeVerifier, controller: FakeController) -> Iterator[str]:
    """Both on one address."""
    server = grpc.server(futures.ThreadPoolExecutor(8))
    verifier_pb2_grpc.add_VerifierServicer_to_server(verifier, server)
    controller_pb2_grpc.add_ControllerServicer_to_server(controller, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        controller.closing.set()
        server.stop(0).wait()


def scored(number: int, score: float, parents: list[int] | None = None, **fields: Any) -> cpb.Candidate:
    """A verified candidate of search s1, with a source that names it."""
    summary = cpb.CandidateSummary(
        candidate_id=f"s1.{number}",
        search_id="s1",
        number=number,
        state=cpb.CANDIDATE_STATE_VERIFIED,
        verdict_status=vpb.VERDICT_STATUS_OK,
        parent_ids=[f"s1.{parent}" for parent in parents or []],
        score=score,
        baseline_score=0.25,
        bound_score=2.4,
        normalized=score / 2.4,
        verdict_digest=f"{number:064x}",
        **fields,
    )
    return cpb.Candidate(summary=summary, source=f"# policy {number}\n")
