"""The Controller client, sync and asyncio: the contract's messages in and out, typed errors, retries."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Any, BinaryIO

from quintain.clients.channel import AsyncCaller, ClientSettings, SyncCaller
from quintain.controller.v1 import controller_pb2 as pb
from quintain.controller.v1 import controller_pb2_grpc as stubs

_PIECE_BYTES = 1 << 20  # of an archive in one message


def _pieces(file: BinaryIO) -> Iterator[pb.ImportSearchRequest]:
    """The whole file, from its begin: each try of the call asks for it again."""
    file.seek(0)
    while data := file.read(_PIECE_BYTES):
        yield pb.ImportSearchRequest(data=data)


def _settings(address: str | ClientSettings, options: dict[str, Any]) -> ClientSettings:
    if isinstance(address, ClientSettings):
        return address
    return ClientSettings(address=address, **options)


class Controller:
    """Thread-safe client. `address` is host:port or full settings; keywords are those of ClientSettings."""

    def __init__(self, address: str | ClientSettings, **options: Any) -> None:
        self._caller = SyncCaller(_settings(address, options))
        self._stub = stubs.ControllerStub(self._caller.channel)

    def create_search(self, request: pb.CreateSearchRequest, timeout: float | None = None) -> pb.CreateSearchResponse:
        response: pb.CreateSearchResponse = self._caller.unary(self._stub.CreateSearch, request, timeout)
        return response

    def get_search(self, request: pb.GetSearchRequest, timeout: float | None = None) -> pb.GetSearchResponse:
        response: pb.GetSearchResponse = self._caller.unary(self._stub.GetSearch, request, timeout)
        return response

    def list_searches(self, request: pb.ListSearchesRequest, timeout: float | None = None) -> pb.ListSearchesResponse:
        response: pb.ListSearchesResponse = self._caller.unary(self._stub.ListSearches, request, timeout)
        return response

    def cancel_search(self, request: pb.CancelSearchRequest, timeout: float | None = None) -> pb.CancelSearchResponse:
        response: pb.CancelSearchResponse = self._caller.unary(self._stub.CancelSearch, request, timeout)
        return response

    def pause_search(self, request: pb.PauseSearchRequest, timeout: float | None = None) -> pb.PauseSearchResponse:
        response: pb.PauseSearchResponse = self._caller.unary(self._stub.PauseSearch, request, timeout)
        return response

    def resume_search(self, request: pb.ResumeSearchRequest, timeout: float | None = None) -> pb.ResumeSearchResponse:
        response: pb.ResumeSearchResponse = self._caller.unary(self._stub.ResumeSearch, request, timeout)
        return response

    def extend_budget(self, request: pb.ExtendBudgetRequest, timeout: float | None = None) -> pb.ExtendBudgetResponse:
        response: pb.ExtendBudgetResponse = self._caller.unary(self._stub.ExtendBudget, request, timeout)
        return response

    def update_search(self, request: pb.UpdateSearchRequest, timeout: float | None = None) -> pb.UpdateSearchResponse:
        response: pb.UpdateSearchResponse = self._caller.unary(self._stub.UpdateSearch, request, timeout)
        return response

    def fork_search(self, request: pb.ForkSearchRequest, timeout: float | None = None) -> pb.ForkSearchResponse:
        response: pb.ForkSearchResponse = self._caller.unary(self._stub.ForkSearch, request, timeout)
        return response

    def delete_search(self, request: pb.DeleteSearchRequest, timeout: float | None = None) -> pb.DeleteSearchResponse:
        response: pb.DeleteSearchResponse = self._caller.unary(self._stub.DeleteSearch, request, timeout)
        return response

    def list_candidates(
        self, request: pb.ListCandidatesRequest, timeout: float | None = None
    ) -> pb.ListCandidatesResponse:
        response: pb.ListCandidatesResponse = self._caller.unary(self._stub.ListCandidates, request, timeout)
        return response

    def get_candidate(self, request: pb.GetCandidateRequest, timeout: float | None = None) -> pb.GetCandidateResponse:
        response: pb.GetCandidateResponse = self._caller.unary(self._stub.GetCandidate, request, timeout)
        return response

    def get_suite_files(
        self, request: pb.GetSuiteFilesRequest, timeout: float | None = None
    ) -> pb.GetSuiteFilesResponse:
        response: pb.GetSuiteFilesResponse = self._caller.unary(self._stub.GetSuiteFiles, request, timeout)
        return response

    def get_notebook(self, request: pb.GetNotebookRequest, timeout: float | None = None) -> pb.GetNotebookResponse:
        response: pb.GetNotebookResponse = self._caller.unary(self._stub.GetNotebook, request, timeout)
        return response

    def list_strategies(
        self, request: pb.ListStrategiesRequest, timeout: float | None = None
    ) -> pb.ListStrategiesResponse:
        response: pb.ListStrategiesResponse = self._caller.unary(self._stub.ListStrategies, request, timeout)
        return response

    def watch_search(self, search_id: str, after_sequence: int = 0, timeout: float | None = None) -> Iterator[pb.Event]:
        """Events after a sequence number, without gap or repeat, over broken connections, until the search ends."""
        last = after_sequence

        def request() -> pb.WatchSearchRequest:
            return pb.WatchSearchRequest(search_id=search_id, after_sequence=last)

        for response in self._caller.stream(self._stub.WatchSearch, request, timeout):
            last = response.event.sequence
            yield response.event

    def replay_search(
        self, request: pb.ReplaySearchRequest, timeout: float | None = None
    ) -> Iterator[pb.ReplaySearchResponse]:
        """Progress and differences, then the report. Over a broken connection it begins anew."""
        return self._caller.stream(self._stub.ReplaySearch, lambda: request, timeout)

    def export_search(self, request: pb.ExportSearchRequest, file: BinaryIO, timeout: float | None = None) -> None:
        """Write a search's archive into an empty file, which can seek. Over a broken connection it begins anew."""
        for response in self._caller.stream(self._stub.ExportSearch, lambda: request, timeout):
            file.seek(response.offset)
            file.truncate()
            file.write(response.data)

    def import_search(self, file: BinaryIO, timeout: float | None = None) -> pb.ImportSearchResponse:
        """Restore a search from its archive, a file that can seek."""

        def send(_: None, **options: Any) -> pb.ImportSearchResponse:
            response: pb.ImportSearchResponse = self._stub.ImportSearch(_pieces(file), **options)
            return response

        return self._caller.unary(send, None, timeout)

    def close(self) -> None:
        self._caller.close()

    def __enter__(self) -> Controller:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncController:
    """asyncio client; belongs to one event loop. `address` is host:port or full settings; keywords are those of
    ClientSettings."""

    def __init__(self, address: str | ClientSettings, **options: Any) -> None:
        self._caller = AsyncCaller(_settings(address, options))
        self._stub = stubs.ControllerStub(self._caller.channel)

    async def create_search(
        self, request: pb.CreateSearchRequest, timeout: float | None = None
    ) -> pb.CreateSearchResponse:
        response: pb.CreateSearchResponse = await self._caller.unary(self._stub.CreateSearch, request, timeout)
        return response

    async def get_search(self, request: pb.GetSearchRequest, timeout: float | None = None) -> pb.GetSearchResponse:
        response: pb.GetSearchResponse = await self._caller.unary(self._stub.GetSearch, request, timeout)
        return response

    async def list_searches(
        self, request: pb.ListSearchesRequest, timeout: float | None = None
    ) -> pb.ListSearchesResponse:
        response: pb.ListSearchesResponse = await self._caller.unary(self._stub.ListSearches, request, timeout)
        return response

    async def cancel_search(
        self, request: pb.CancelSearchRequest, timeout: float | None = None
    ) -> pb.CancelSearchResponse:
        response: pb.CancelSearchResponse = await self._caller.unary(self._stub.CancelSearch, request, timeout)
        return response

    async def pause_search(
        self, request: pb.PauseSearchRequest, timeout: float | None = None
    ) -> pb.PauseSearchResponse:
        response: pb.PauseSearchResponse = await self._caller.unary(self._stub.PauseSearch, request, timeout)
        return response

    async def resume_search(
        self, request: pb.ResumeSearchRequest, timeout: float | None = None
    ) -> pb.ResumeSearchResponse:
        response: pb.ResumeSearchResponse = await self._caller.unary(self._stub.ResumeSearch, request, timeout)
        return response

    async def extend_budget(
        self, request: pb.ExtendBudgetRequest, timeout: float | None = None
    ) -> pb.ExtendBudgetResponse:
        response: pb.ExtendBudgetResponse = await self._caller.unary(self._stub.ExtendBudget, request, timeout)
        return response

    async def update_search(
        self, request: pb.UpdateSearchRequest, timeout: float | None = None
    ) -> pb.UpdateSearchResponse:
        response: pb.UpdateSearchResponse = await self._caller.unary(self._stub.UpdateSearch, request, timeout)
        return response

    async def fork_search(self, request: pb.ForkSearchRequest, timeout: float | None = None) -> pb.ForkSearchResponse:
        response: pb.ForkSearchResponse = await self._caller.unary(self._stub.ForkSearch, request, timeout)
        return response

    async def delete_search(
        self, request: pb.DeleteSearchRequest, timeout: float | None = None
    ) -> pb.DeleteSearchResponse:
        response: pb.DeleteSearchResponse = await self._caller.unary(self._stub.DeleteSearch, request, timeout)
        return response

    async def list_candidates(
        self, request: pb.ListCandidatesRequest, timeout: float | None = None
    ) -> pb.ListCandidatesResponse:
        response: pb.ListCandidatesResponse = await self._caller.unary(self._stub.ListCandidates, request, timeout)
        return response

    async def get_candidate(
        self, request: pb.GetCandidateRequest, timeout: float | None = None
    ) -> pb.GetCandidateResponse:
        response: pb.GetCandidateResponse = await self._caller.unary(self._stub.GetCandidate, request, timeout)
        return response

    async def get_suite_files(
        self, request: pb.GetSuiteFilesRequest, timeout: float | None = None
    ) -> pb.GetSuiteFilesResponse:
        response: pb.GetSuiteFilesResponse = await self._caller.unary(self._stub.GetSuiteFiles, request, timeout)
        return response

    async def get_notebook(
        self, request: pb.GetNotebookRequest, timeout: float | None = None
    ) -> pb.GetNotebookResponse:
        response: pb.GetNotebookResponse = await self._caller.unary(self._stub.GetNotebook, request, timeout)
        return response

    async def list_strategies(
        self, request: pb.ListStrategiesRequest, timeout: float | None = None
    ) -> pb.ListStrategiesResponse:
        response: pb.ListStrategiesResponse = await self._caller.unary(self._stub.ListStrategies, request, timeout)
        return response

    async def watch_search(
        self, search_id: str, after_sequence: int = 0, timeout: float | None = None
    ) -> AsyncIterator[pb.Event]:
        """Events after a sequence number, without gap or repeat, over broken connections, until the search ends."""
        last = after_sequence

        def request() -> pb.WatchSearchRequest:
            return pb.WatchSearchRequest(search_id=search_id, after_sequence=last)

        async for response in self._caller.stream(self._stub.WatchSearch, request, timeout):
            last = response.event.sequence
            yield response.event

    def replay_search(
        self, request: pb.ReplaySearchRequest, timeout: float | None = None
    ) -> AsyncIterator[pb.ReplaySearchResponse]:
        """Progress and differences, then the report. Over a broken connection it begins anew."""
        return self._caller.stream(self._stub.ReplaySearch, lambda: request, timeout)

    async def export_search(
        self, request: pb.ExportSearchRequest, file: BinaryIO, timeout: float | None = None
    ) -> None:
        """Write a search's archive into an empty file, which can seek. Over a broken connection it begins anew."""
        async for response in self._caller.stream(self._stub.ExportSearch, lambda: request, timeout):
            file.seek(response.offset)
            file.truncate()
            file.write(response.data)

    async def import_search(self, file: BinaryIO, timeout: float | None = None) -> pb.ImportSearchResponse:
        """Restore a search from its archive, a file that can seek."""

        def send(_: None, **options: Any) -> Any:
            return self._stub.ImportSearch(_pieces(file), **options)

        response: pb.ImportSearchResponse = await self._caller.unary(send, None, timeout)
        return response

    async def close(self) -> None:
        await self._caller.close()

    async def __aenter__(self) -> AsyncController:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
