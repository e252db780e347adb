"""The Controller contract over the use cases."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import grpc

from quintain.controller.v1 import controller_pb2 as pb
from quintain.controller.v1 import controller_pb2_grpc as stubs
from quintain.errors import InvalidArgument, NotFound
from quintain.plugins.doors import STRATEGIES
from quintain.plugins.loading import PluginError
from quintain.service import paging
from quintain.type.v1 import type_pb2
from quintain.verifier.v1 import verifier_pb2
from quintain_controller.domain.model import candidate_id, parse_candidate_id
from quintain_controller.domain.records import SearchRecord, UnreadableSearch
from quintain_controller.ports import Generator
from quintain_controller.rpc import from_proto, to_proto
from quintain_controller.rpc.checks import MOST_PARALLEL, check_budget, check_spec, check_update
from quintain_controller.usecases.archives import Archives
from quintain_controller.usecases.async_store import AsyncStore
from quintain_controller.usecases.manage import SearchManager
from quintain_controller.usecases.notebooks import read_notebook
from quintain_controller.usecases.notifier import Notifier
from quintain_controller.usecases.replay import DEFAULT_PARALLEL, Replays
from quintain_controller.usecases.requests import remake_request

_EVENTS_AT_ONCE = 200
_SEARCHES_AT_ONCE = 20
_PIECE_BYTES = 1 << 20  # of an archive in one message

Context = grpc.aio.ServicerContext[Any, Any]


class ControllerServicer(stubs.ControllerServicer):
    def __init__(
        self,
        store: AsyncStore,
        manager: SearchManager,
        generator: Generator,
        notifier: Notifier,
        replays: Replays,
        archives: Archives,
    ) -> None:
        self._store, self._manager, self._generator, self._notifier = store, manager, generator, notifier
        self._replays, self._archives = replays, archives

    async def CreateSearch(self, request: pb.CreateSearchRequest, context: Context) -> pb.CreateSearchResponse:
        check_spec(request.spec, request.request_id)
        spec = from_proto.with_suite_digest(request.spec)
        draft = from_proto.decode_spec(spec)
        files = spec.suite_files.SerializeToString(deterministic=True) if spec.suite_files.files else b""
        if request.validate_only:
            return pb.CreateSearchResponse(estimate=to_proto.encode_estimate(await self._manager.preview(draft, files)))
        digest = _digest(request.spec.SerializeToString(deterministic=True))
        record = await self._manager.create(request.request_id, digest, draft, suite_files=files)
        estimate = await self._manager.estimate(record.spec, record.context)
        return pb.CreateSearchResponse(search=await self._search(record), estimate=to_proto.encode_estimate(estimate))

    async def GetSearch(self, request: pb.GetSearchRequest, context: Context) -> pb.GetSearchResponse:
        record = await self._store(self._store.blocking.search, request.search_id)
        return pb.GetSearchResponse(search=await self._search(record))

    async def ListSearches(self, request: pb.ListSearchesRequest, context: Context) -> pb.ListSearchesResponse:
        """Without the sources of seed policies: GetSearch has them."""
        page = paging.Page[pb.Search](paging.page_size(request.page_size))
        after: tuple[float, str] | None = None
        if request.page_token:
            after = paging.decode_token(request.page_token, "searches", float, str)
        while records := await self._store(self._store.blocking.search_page, _SEARCHES_AT_ONCE, after):
            for record in records:
                if not page.add(await self._listed(record)):
                    assert after is not None  # a page has one entry at least
                    more = paging.encode_token("searches", *after)
                    return pb.ListSearchesResponse(searches=page.entries, next_page_token=more)
                after = (record.created_at, record.search_id)
        return pb.ListSearchesResponse(searches=page.entries)

    async def CancelSearch(self, request: pb.CancelSearchRequest, context: Context) -> pb.CancelSearchResponse:
        return pb.CancelSearchResponse(search=await self._search(await self._manager.cancel(request.search_id)))

    async def PauseSearch(self, request: pb.PauseSearchRequest, context: Context) -> pb.PauseSearchResponse:
        return pb.PauseSearchResponse(search=await self._search(await self._manager.pause(request.search_id)))

    async def ResumeSearch(self, request: pb.ResumeSearchRequest, context: Context) -> pb.ResumeSearchResponse:
        return pb.ResumeSearchResponse(search=await self._search(await self._manager.resume(request.search_id)))

    async def ExtendBudget(self, request: pb.ExtendBudgetRequest, context: Context) -> pb.ExtendBudgetResponse:
        check_budget(request.budget)
        record = await self._manager.extend(request.search_id, from_proto.decode_budget(request.budget))
        return pb.ExtendBudgetResponse(search=await self._search(record))

    async def UpdateSearch(self, request: pb.UpdateSearchRequest, context: Context) -> pb.UpdateSearchResponse:
        check_update(request)
        labels = from_proto.decode_labels(request)
        record = await self._store(self._store.blocking.update_labels, request.search_id, labels)
        return pb.UpdateSearchResponse(search=await self._search(record))

    async def ForkSearch(self, request: pb.ForkSearchRequest, context: Context) -> pb.ForkSearchResponse:
        search_id, number = _candidate_id(request.candidate_id)
        original = await self._store(self._store.blocking.search, search_id)
        candidate = await self._store(self._store.blocking.candidate, search_id, number)
        if not candidate.source:
            raise InvalidArgument.of("candidate_id", f"{request.candidate_id} has no source to begin with")
        spec = from_proto.merge_spec(replace(original.spec, budget=original.budget), request.spec)
        check_spec(spec, request.request_id)
        record = await self._manager.create(
            request.request_id,
            _digest(request.candidate_id.encode() + b"\n" + request.spec.SerializeToString(deterministic=True)),
            from_proto.decode_spec(spec),
            forked_from=candidate_id(search_id, number),
            first_policy=candidate.source,
        )
        return pb.ForkSearchResponse(search=await self._search(record))

    async def DeleteSearch(self, request: pb.DeleteSearchRequest, context: Context) -> pb.DeleteSearchResponse:
        await self._manager.delete(request.search_id)
        return pb.DeleteSearchResponse()

    async def WatchSearch(
        self, request: pb.WatchSearchRequest, context: Context
    ) -> AsyncIterator[pb.WatchSearchResponse]:
        if request.after_sequence < 0:
            raise InvalidArgument.of("after_sequence", "must not be negative")
        last = request.after_sequence
        record = await self._store(self._store.blocking.search, request.search_id)
        fidelity = type_pb2.SimulatorDescription.FromString(record.context.simulator).fidelity
        changed = self._notifier.subscribe(request.search_id)
        try:
            while True:
                found, ended = await self._store(
                    self._store.blocking.events_after, request.search_id, last, _EVENTS_AT_ONCE
                )
                for event in found:
                    last = event.sequence
                    yield pb.WatchSearchResponse(event=to_proto.encode_event(request.search_id, event, fidelity))
                if ended:
                    return
                if len(found) < _EVENTS_AT_ONCE:
                    await changed.wait()
                    changed.clear()
        finally:
            self._notifier.unsubscribe(request.search_id, changed)

    async def ListCandidates(self, request: pb.ListCandidatesRequest, context: Context) -> pb.ListCandidatesResponse:
        size, after, kind = paging.page_size(request.page_size), -1, f"candidates of {request.search_id}"
        if request.page_token:
            (after,) = paging.decode_token(request.page_token, kind, int)
        page = paging.Page[pb.CandidateSummary](size)
        for candidate in await self._store(self._store.blocking.candidate_page, request.search_id, after, size + 1):
            if not page.add(to_proto.encode_summary(request.search_id, candidate)):
                return pb.ListCandidatesResponse(
                    candidates=page.entries, next_page_token=paging.encode_token(kind, after)
                )
            after = candidate.number
        return pb.ListCandidatesResponse(candidates=page.entries)

    async def GetCandidate(self, request: pb.GetCandidateRequest, context: Context) -> pb.GetCandidateResponse:
        search_id, number = _candidate_id(request.candidate_id)
        record = await self._store(self._store.blocking.search, search_id)
        candidate = await self._store(self._store.blocking.candidate, search_id, number)
        sent: bytes | None = None
        if candidate.candidate.plan is not None:
            wanted = await self._store(remake_request, self._store.blocking, record, candidate.candidate)
            sent = self._generator.encode(record.context, wanted)
        return pb.GetCandidateResponse(candidate=to_proto.encode_candidate(search_id, candidate, sent))

    async def GetSuiteFiles(self, request: pb.GetSuiteFilesRequest, context: Context) -> pb.GetSuiteFilesResponse:
        record = await self._store(self._store.blocking.search, request.search_id)
        if not record.spec.suite_digest:
            raise NotFound(f"search {request.search_id} has a suite of its simulator's, {record.spec.suite!r}")
        found = await self._store.suite_files(record.spec.suite_digest)
        return pb.GetSuiteFilesResponse(suite_files=verifier_pb2.SuiteFiles.FromString(found))

    async def GetNotebook(self, request: pb.GetNotebookRequest, context: Context) -> pb.GetNotebookResponse:
        candidates, lessons = await read_notebook(self._store, request.search_id)
        return to_proto.encode_notebook(candidates, lessons)

    async def ReplaySearch(
        self, request: pb.ReplaySearchRequest, context: Context
    ) -> AsyncIterator[pb.ReplaySearchResponse]:
        parallel = request.parallel_verifications or DEFAULT_PARALLEL
        if not 1 <= parallel <= MOST_PARALLEL:
            raise InvalidArgument.of("parallel_verifications", f"{parallel} is not within 1 and {MOST_PARALLEL}")
        said: asyncio.Queue[pb.ReplaySearchResponse | None] = asyncio.Queue()

        def progress(done: int, total: int) -> None:
            counts = pb.ReplayProgress(verifications_done=done, verifications_total=total)
            said.put_nowait(pb.ReplaySearchResponse(progress=counts))

        def differed(difference: str) -> None:
            said.put_nowait(pb.ReplaySearchResponse(difference=difference))

        running = asyncio.create_task(
            self._replays.run(request.search_id, parallel=parallel, progress=progress, differed=differed)
        )
        running.add_done_callback(lambda _: said.put_nowait(None))
        try:
            while (response := await said.get()) is not None:
                yield response
            yield pb.ReplaySearchResponse(report=to_proto.encode_replay(await running))
        finally:
            running.cancel()

    async def ExportSearch(
        self, request: pb.ExportSearchRequest, context: Context
    ) -> AsyncIterator[pb.ExportSearchResponse]:
        offset = 0
        async for piece in self._archives.export(request.search_id):
            for begin in range(0, len(piece), _PIECE_BYTES):
                data = piece[begin : begin + _PIECE_BYTES]
                yield pb.ExportSearchResponse(data=data, offset=offset)
                offset += len(data)

    async def ImportSearch(
        self, requests: AsyncIterator[pb.ImportSearchRequest], context: Context
    ) -> pb.ImportSearchResponse:
        record = await self._archives.restore(request.data async for request in requests)
        return pb.ImportSearchResponse(search=await self._search(record))

    async def ListStrategies(self, request: pb.ListStrategiesRequest, context: Context) -> pb.ListStrategiesResponse:
        names, more = paging.page_of(STRATEGIES.names(), request.page_size, request.page_token, "strategies")
        return pb.ListStrategiesResponse(strategies=[_strategy(name) for name in names], next_page_token=more)

    async def _listed(self, record: SearchRecord | UnreadableSearch) -> pb.Search:
        if isinstance(record, UnreadableSearch):
            return to_proto.encode_unreadable(record)
        search = await self._search(record)
        for policy in search.spec.seed_policies:
            policy.ClearField("source")
        return search

    async def _search(self, record: SearchRecord) -> pb.Search:
        numbers = [n for n in (record.best_number, record.winner_number) if n is not None]
        known = await self._store(self._store.blocking.candidates, record.search_id, numbers) if numbers else {}
        best = known.get(record.best_number) if record.best_number is not None else None
        winner = known.get(record.winner_number) if record.winner_number is not None else None
        return to_proto.encode_search(record, best, winner)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _candidate_id(text: str) -> tuple[str, int]:
    try:
        return parse_candidate_id(text)
    except ValueError as error:
        raise InvalidArgument.of("candidate_id", str(error)) from None


def _strategy(name: str) -> pb.Strategy:
    try:
        plugin = STRATEGIES.load(name)
    except PluginError as error:
        return pb.Strategy(name=name, unavailable_reason=str(error))
    schema = json.dumps(plugin.options.model_json_schema(), sort_keys=True)
    return pb.Strategy(name=name, description=plugin.description, options_schema=schema)
