"""A search as one file: written for somebody else, and restored where it came to."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import BinaryIO

from quintain.errors import Aborted, ResourceExhausted
from quintain_controller.domain import lifecycle
from quintain_controller.domain.archive import ArchiveItem, checked, restored, shareable, shareable_event
from quintain_controller.domain.records import ArchivedSearch, SearchRecord
from quintain_controller.ports import ArchiveFormat
from quintain_controller.usecases.async_store import AsyncStore

_PAGE = 200
MOST_BYTES = 2 << 30  # of one archive


@dataclass(frozen=True, slots=True)
class Archives:
    """`clock` in seconds since the epoch."""

    store: AsyncStore
    format: ArchiveFormat
    clock: Callable[[], float]

    async def export(self, search_id: str) -> AsyncIterator[bytes]:
        """The pieces of a search's file. Raises NotFound, FailedPrecondition while somebody works on the search,
        Aborted if it was changed before the last piece."""
        writer = self.format.writer()
        async for item in self._items(search_id):
            if piece := await asyncio.to_thread(writer.add, item):
                yield piece
        yield await asyncio.to_thread(writer.end)

    async def _items(self, search_id: str) -> AsyncIterator[ArchiveItem]:
        store = self.store
        record = await store(store.blocking.search, search_id)
        lifecycle.check_archivable(record)
        digest = record.spec.suite_digest
        yield ArchivedSearch(shareable(record), await store.suite_files(digest) if digest else b"")
        number = -1
        while page := await store(store.blocking.candidate_page, search_id, number, _PAGE):
            for candidate in page:
                number = candidate.number
                yield await store(store.blocking.candidate, search_id, number)
        sequence = 0
        while sequence < record.last_sequence:
            events, _ = await store(store.blocking.events_after, search_id, sequence, _PAGE)
            for event in events:
                sequence = event.sequence
                yield shareable_event(event)
        now = await store(store.blocking.search, search_id)
        if now != record:
            raise Aborted(f"search {search_id} was changed while it was archived; try again")

    async def restore(self, pieces: AsyncIterator[bytes]) -> SearchRecord:
        """Record the search of a file, as ended. Raises InvalidArgument for what is no whole archive,
        FailedPrecondition for one of a newer version, AlreadyExists, ResourceExhausted for a file that is too large;
        then nothing was recorded."""
        with tempfile.TemporaryFile() as file:
            size = 0
            async for piece in pieces:
                size += len(piece)
                if size > MOST_BYTES:
                    raise ResourceExhausted(f"the archive has more than {MOST_BYTES >> 30} GiB")
                file.write(piece)
            return await self.store(self._restore, file)

    def _restore(self, file: BinaryIO) -> SearchRecord:
        for _ in checked(self.format.read(file)):  # the whole, before the store is held up by it
            pass
        items = self.format.read(file)
        search = next(items)
        assert isinstance(search, ArchivedSearch), "checked above"
        search, more = restored(search, self.clock())
        rest = (item for item in (*items, *more) if not isinstance(item, ArchivedSearch))
        return self.store.blocking.restore(search, rest)
