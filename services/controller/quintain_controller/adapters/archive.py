"""The file of an archived search: `quintain/controller/v1/archive.proto` says what is in it."""

from __future__ import annotations

import hashlib
import lzma
from collections.abc import Iterator
from typing import BinaryIO

from google.protobuf.message import DecodeError

from quintain.controller.v1 import archive_pb2 as pb
from quintain.errors import FailedPrecondition, InvalidArgument
from quintain.generator.v1 import generator_pb2
from quintain.plugins.simulator import files_digest
from quintain.verifier.v1 import verifier_pb2
from quintain_controller.adapters.documents import BUDGET, CANDIDATE, CONTEXT, EVENT, GATES, SPEC, SPEND, TAGS, TOOLS
from quintain_controller.domain.archive import ArchiveItem, damaged, without_places
from quintain_controller.domain.events import RecordedEvent
from quintain_controller.domain.model import SearchState
from quintain_controller.domain.records import ArchivedSearch, CandidateRecord, SearchRecord

VERSION = 1
_FIRST_WORDS = b"quintain search archive, version "
_LENGTH_BYTES = 4
_LONGEST_FIRST_LINE = 64
_PIECE_BYTES = 1 << 20
_ENTRY_BYTES = 256 << 20  # of one entry; a suite's files are the largest
_MOST_BYTES = 16 << 30  # of all entries, unpacked
_MEMORY_BYTES = 128 << 20  # of the decompressor
_LEVEL = 2  # levels above take several times as long for a few percent


class XzArchive:
    """The `quintain_controller.ports.ArchiveFormat` that is written."""

    def writer(self) -> _Writer:
        return _Writer()

    def read(self, file: BinaryIO) -> Iterator[ArchiveItem]:
        return _read(file)


class _Writer:
    """Makes one file. Not thread safe."""

    def __init__(self) -> None:
        self._compressor = lzma.LZMACompressor(check=lzma.CHECK_CRC32, preset=_LEVEL)
        self._digest = hashlib.sha256()
        self._begin = _FIRST_WORDS + str(VERSION).encode() + b"\n"
        self._candidates = self._events = 0

    def add(self, item: ArchiveItem) -> bytes:
        match item:
            case ArchivedSearch(record, suite_files):
                search = self._entry(pb.ArchiveEntry(search=_encode_search(record)))
                suite = pb.ArchiveEntry(suite=pb.ArchivedSuite(suite_files=suite_files))
                begin, self._begin = self._begin, b""
                return begin + search + (self._entry(suite) if suite_files else b"")
            case CandidateRecord():
                self._candidates += 1
                return self._entry(pb.ArchiveEntry(candidate=_encode_candidate(item)))
            case RecordedEvent(sequence, at, spend, event):
                self._events += 1
                archived = pb.ArchivedEvent(
                    sequence=sequence,
                    at_seconds=at,
                    spend=SPEND.dump_json(spend).decode(),
                    event=EVENT.dump_json(event).decode(),
                )
                return self._entry(pb.ArchiveEntry(event=archived))

    def end(self) -> bytes:
        end = pb.ArchiveEnd(candidates=self._candidates, events=self._events, digest=self._digest.hexdigest())
        return self._entry(pb.ArchiveEntry(end=end)) + self._compressor.flush()

    def _entry(self, entry: pb.ArchiveEntry) -> bytes:
        content = entry.SerializeToString(deterministic=True)
        framed = len(content).to_bytes(_LENGTH_BYTES) + content
        self._digest.update(framed)
        return self._compressor.compress(framed)


def _read(file: BinaryIO) -> Iterator[ArchiveItem]:
    """The items of a file. Raises InvalidArgument at the first thing that is not as it was written."""
    file.seek(0)
    _check_version(file.readline(_LONGEST_FIRST_LINE))
    entries = _Entries(file)
    candidates = events = 0
    try:
        waiting: SearchRecord | None = None
        while True:
            digest = entries.digest()
            entry = entries.next()
            kind = entry.WhichOneof("entry")
            if kind == "suite" and waiting is not None:
                yield ArchivedSearch(waiting, _check_suite(waiting, entry.suite.suite_files))
                waiting = None
                continue
            if waiting is not None:
                yield ArchivedSearch(waiting, _check_suite(waiting, b""))
                waiting = None
            if kind == "search":
                waiting = _decode_search(entry.search)
            elif kind == "candidate":
                candidates += 1
                yield _decode_candidate(entry.candidate)
            elif kind == "event":
                events += 1
                yield _decode_event(entry.event)
            elif kind == "end":
                if (entry.end.candidates, entry.end.events, entry.end.digest) != (candidates, events, digest):
                    raise damaged("its digest is another one")
                entries.check_end()
                return
            else:
                raise damaged(f"an entry is {kind or 'unknown'} where none such may be")
    except lzma.LZMAError as error:
        raise damaged(f"{error}") from error
    except DecodeError as error:
        raise damaged("a message in it cannot be read") from error
    except ValueError as error:  # pydantic's, or a state that there is not
        raise damaged(f"a document in it cannot be read: {str(error).splitlines()[0]}") from error


def _check_version(line: bytes) -> None:
    words = line.removeprefix(_FIRST_WORDS).strip()
    if not line.startswith(_FIRST_WORDS) or not words.isdigit():
        raise InvalidArgument("this is no archive of a search (`quintain archive` makes one)", reason="NOT_AN_ARCHIVE")
    if int(words) > VERSION:
        raise FailedPrecondition(
            f"the archive was made by a newer quintain: its format has version {int(words)}, this one reads {VERSION}",
            reason="ARCHIVE_TOO_NEW",
        )


class _Entries:
    """The entries of a file behind its first line."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decompressor = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_MEMORY_BYTES)
        self._unpacked = bytearray()
        self._total = 0
        self._seen = hashlib.sha256()

    def digest(self) -> str:
        """Of all entries so far."""
        return self._seen.hexdigest()

    def next(self) -> pb.ArchiveEntry:
        length = self._take(_LENGTH_BYTES)
        size = int.from_bytes(length)
        if size > _ENTRY_BYTES:
            raise damaged(f"an entry of {size} bytes")
        content = self._take(size)
        self._seen.update(length + content)
        return pb.ArchiveEntry.FromString(content)

    def check_end(self) -> None:
        if self._unpacked or (not self._decompressor.eof and self._more()):
            raise damaged("something follows its end")
        if not self._decompressor.eof or self._decompressor.unused_data or self._file.read(1):
            raise damaged("it does not end where it should")

    def _take(self, size: int) -> bytes:
        while len(self._unpacked) < size:
            if not (more := self._more()):
                raise damaged("it ends too early")
            self._total += len(more)
            if self._total > _MOST_BYTES:
                raise damaged(f"more than {_MOST_BYTES >> 30} GiB, unpacked")
            self._unpacked += more
        taken = bytes(self._unpacked[:size])
        del self._unpacked[:size]
        return taken

    def _more(self) -> bytes:
        """At most so many bytes more; empty at the end."""
        while not self._decompressor.eof:
            packed = self._file.read(_PIECE_BYTES) if self._decompressor.needs_input else b""
            ended = self._decompressor.needs_input and not packed
            if unpacked := self._decompressor.decompress(packed, _PIECE_BYTES):
                return unpacked
            if ended:
                break
        return b""


def _encode_search(record: SearchRecord) -> pb.ArchivedSearch:
    return pb.ArchivedSearch(
        search_id=record.search_id,
        spec=SPEC.dump_json(record.spec).decode(),
        context=CONTEXT.dump_json(record.context).decode(),
        budget=BUDGET.dump_json(record.budget).decode(),
        spend=SPEND.dump_json(record.spend).decode(),
        gates=GATES.dump_json(record.gates).decode(),
        tags=TAGS.dump_json(record.tags).decode(),
        state=record.state,
        reason=record.reason,
        best_number=record.best_number,
        winner_number=record.winner_number,
        created_at_seconds=record.created_at,
        ended_at_seconds=record.ended_at,
        last_sequence=record.last_sequence,
        forked_from_candidate_id=record.forked_from,
        told=record.told,
        notes=record.notes,
    )


def _decode_search(search: pb.ArchivedSearch) -> SearchRecord:
    return SearchRecord(
        search_id=search.search_id,
        spec=SPEC.validate_json(search.spec),
        context=CONTEXT.validate_json(search.context),
        budget=BUDGET.validate_json(search.budget),
        spend=SPEND.validate_json(search.spend),
        state=SearchState(search.state),
        reason=search.reason,
        paused_by_user=False,
        best_number=search.best_number if search.HasField("best_number") else None,
        winner_number=search.winner_number if search.HasField("winner_number") else None,
        gates=GATES.validate_json(search.gates),
        created_at=search.created_at_seconds,
        ended_at=search.ended_at_seconds if search.HasField("ended_at_seconds") else None,
        last_sequence=search.last_sequence,
        forked_from=search.forked_from_candidate_id,
        needs_owner=False,
        told=search.told,
        notes=search.notes,
        tags=TAGS.validate_json(search.tags),
    )


def _check_suite(record: SearchRecord, suite_files: bytes) -> bytes:
    files = verifier_pb2.SuiteFiles.FromString(suite_files)
    found = files_digest({file.name: file.content for file in files.files}) if suite_files else ""
    if found != record.spec.suite_digest:
        raise damaged("its suite is not the search's")
    return suite_files


def _encode_candidate(record: CandidateRecord) -> pb.ArchivedCandidate:
    return pb.ArchivedCandidate(
        document=CANDIDATE.dump_json(record.candidate).decode(),
        created_at_seconds=record.created_at,
        source=record.source,
        feedback=record.feedback,
        generation=None if record.generation is None else _shareable_generation(record.generation),
        verdict=record.verdict,
        held_out=record.held_out,
        tools=TOOLS.dump_json(record.tools).decode() if record.tools else None,
    )


def _shareable_generation(record: bytes) -> bytes:
    generation = generator_pb2.Generation.FromString(record)
    for call in generation.calls:
        call.error = without_places(call.error)
    return generation.SerializeToString(deterministic=True)


def _decode_candidate(archived: pb.ArchivedCandidate) -> CandidateRecord:
    generation = archived.generation if archived.HasField("generation") else None
    verdict = archived.verdict if archived.HasField("verdict") else None
    held_out = archived.held_out if archived.HasField("held_out") else None
    generator_pb2.Generation.FromString(generation or b"")
    for result in (verdict, held_out):
        verifier_pb2.VerifyResult.FromString(result or b"")
    return CandidateRecord(
        candidate=CANDIDATE.validate_json(archived.document),
        created_at=archived.created_at_seconds,
        source=archived.source if archived.HasField("source") else None,
        feedback=archived.feedback if archived.HasField("feedback") else None,
        generation=generation,
        verdict=verdict,
        held_out=held_out,
        tools=TOOLS.validate_json(archived.tools) if archived.HasField("tools") else (),
    )


def _decode_event(archived: pb.ArchivedEvent) -> RecordedEvent:
    spend, event = SPEND.validate_json(archived.spend), EVENT.validate_json(archived.event)
    return RecordedEvent(archived.sequence, archived.at_seconds, spend, event)
