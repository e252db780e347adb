"""A search as one file: written by one controller, restored by another."""

from __future__ import annotations

import hashlib
import io
import lzma
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from tests.integration.controller.conftest import NewStack, Stack, candidates, create, get, replay, until, watch
from tests.integration.controller.test_own_suites import FILES, ForgetfulVerifier, suite_files
from tests.unit.controller.toy import CONTEXT, make_spec

from quintain.clients.controller import AsyncController
from quintain.controller.v1 import archive_pb2
from quintain.controller.v1 import controller_pb2 as pb
from quintain.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, QuintainError
from quintain.generator.v1 import generator_pb2
from quintain.verifier.v1 import verifier_pb2
from quintain_controller.adapters.archive import XzArchive
from quintain_controller.domain.archive import shareable_event, without_places
from quintain_controller.domain.events import BackendTrouble, RecordedEvent
from quintain_controller.domain.model import (
    Budget,
    Candidate,
    CandidateState,
    Gate,
    SearchState,
    Spend,
    ToolCall,
    ToolUse,
)
from quintain_controller.domain.records import ArchivedSearch, CandidateRecord, SearchRecord


async def archive(client: AsyncController, search_id: str) -> bytes:
    file = io.BytesIO()
    await client.export_search(pb.ExportSearchRequest(search_id=search_id), file)
    return file.getvalue()


async def restore(client: AsyncController, data: bytes) -> pb.Search:
    return (await client.import_search(io.BytesIO(data))).search


@pytest.fixture(params=["sqlite", "postgresql"])
async def elsewhere(request: pytest.FixtureRequest, new_stack: NewStack, tmp_path: Path) -> Stack:
    """Another controller, with a store of its own."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    url = "" if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))
    return new_stack(folder=folder, store_url=url, verifier=ForgetfulVerifier())


async def finished(stack: Stack, **fields: Any) -> tuple[AsyncController, str]:
    client = await stack.start()
    search_id = await create(client, **({"budget": pb.Budget(candidates=8)} | fields))
    await watch(client, search_id)
    return client, search_id


async def test_a_restored_search_is_the_search(new_stack: NewStack, elsewhere: Stack) -> None:
    first, search_id = await finished(
        new_stack(verifier=ForgetfulVerifier()), suite_files=suite_files(), title="for a colleague"
    )
    await first.update_search(pb.UpdateSearchRequest(search_id=search_id, notes="see #3", add_tags=["nightly"]))
    data = await archive(first, search_id)
    second = await elsewhere.start()
    restored = await restore(second, data)
    expected = await get(first, search_id)
    assert restored.HasField("restored_at")
    restored.ClearField("restored_at")
    assert restored == expected
    assert await candidates(second, search_id) == await candidates(first, search_id)
    for summary in await candidates(first, search_id):
        request = pb.GetCandidateRequest(candidate_id=summary.candidate_id)
        assert await second.get_candidate(request) == await first.get_candidate(request)  # the prompt, too
    assert await watch(second, search_id) == await watch(first, search_id)
    files = (await second.get_suite_files(pb.GetSuiteFilesRequest(search_id=search_id))).suite_files
    assert {file.name: file.content for file in files.files} == FILES
    assert (await archive(second, search_id))[:40] == data[:40]


async def test_a_restored_search_is_replayed_and_forked_but_never_goes_on(
    new_stack: NewStack, elsewhere: Stack
) -> None:
    first, search_id = await finished(new_stack(verifier=ForgetfulVerifier()), suite_files=suite_files())
    data = await archive(first, search_id)
    second = await elsewhere.start()
    await restore(second, data)
    report, differences = await replay(second, search_id)
    assert report.equal, differences
    assert (report.candidates, report.verdicts) == (9, report.verdicts_equal)
    assert elsewhere.generator.calls == {}
    with pytest.raises(FailedPrecondition, match="restored from an archive"):
        await second.extend_budget(pb.ExtendBudgetRequest(search_id=search_id, budget=pb.Budget(candidates=90)))
    with pytest.raises(FailedPrecondition, match="has ended"):
        await second.resume_search(pb.ResumeSearchRequest(search_id=search_id))
    best = (await get(second, search_id)).best.candidate_id
    fork = pb.ForkSearchRequest(candidate_id=best, spec=pb.SearchSpec(budget=pb.Budget(candidates=3)))
    forked = (await second.fork_search(fork)).search
    await watch(second, forked.search_id)
    assert (await get(second, forked.search_id)).state == pb.SEARCH_STATE_FINISHED
    await second.delete_search(pb.DeleteSearchRequest(search_id=search_id))
    with pytest.raises(NotFound):
        await get(second, search_id)
    assert (await restore(second, data)).search_id == search_id


async def test_a_search_that_is_here_already_is_not_restored_over(stack: Stack) -> None:
    client, search_id = await finished(stack)
    data = await archive(client, search_id)
    with pytest.raises(AlreadyExists, match=search_id):
        await restore(client, data)
    assert not (await get(client, search_id)).HasField("restored_at")


async def test_a_search_at_work_is_not_archived_and_a_paused_one_has_ended_where_it_is_restored(
    stack: Stack, elsewhere: Stack
) -> None:
    stack.generator.gate.clear()
    client = await stack.start()
    search_id = await create(client)
    with pytest.raises(FailedPrecondition, match="pause or cancel"):
        await archive(client, search_id)
    await client.pause_search(pb.PauseSearchRequest(search_id=search_id))
    stack.generator.gate.set()

    async def settled() -> bool:
        try:
            return bool(await archive(client, search_id))
        except FailedPrecondition:
            return False

    await until(settled)
    second = await elsewhere.start()
    restored = await restore(second, await archive(client, search_id))
    assert restored.state == pb.SEARCH_STATE_CANCELLED
    assert restored.stop_reason == "it was paused when it was archived"
    assert (restored.spend.reserved_usd, restored.spend.reserved_tokens) == (0.0, 0)
    events = await watch(second, search_id)
    assert [event.sequence for event in events] == list(range(1, restored.last_sequence + 1))
    report, differences = await replay(second, search_id)
    assert report.equal, differences


async def test_whatever_is_damaged_is_refused_and_nothing_is_restored(new_stack: NewStack, tmp_path: Path) -> None:
    first, search_id = await finished(new_stack(verifier=ForgetfulVerifier()), suite_files=suite_files())
    data = await archive(first, search_id)
    folder = tmp_path / "other"
    folder.mkdir()
    other = await new_stack(folder=folder).start()
    begin = data.index(b"\n") + 1
    for cut in range(begin, len(data), max(1, len(data) // 40)):
        with pytest.raises(InvalidArgument, match="the archive is damaged"):
            await restore(other, data[:cut])
    for place in range(begin, len(data), max(1, len(data) // 60)):
        broken = bytearray(data)
        broken[place] ^= 0x10
        with pytest.raises(InvalidArgument, match="the archive is damaged"):
            await restore(other, bytes(broken))
    for wrong in (data + b"x", data + data[begin:], data[:begin] + data[begin:] * 2):
        with pytest.raises(InvalidArgument, match="the archive is damaged"):
            await restore(other, wrong)
    for nothing in (b"", b"PK\x03\x04", b"quintain search archive, version x\n", data[begin:]):
        with pytest.raises(InvalidArgument, match="no archive of a search") as refused:
            await restore(other, nothing)
        assert refused.value.reason == "NOT_AN_ARCHIVE"
    with pytest.raises(FailedPrecondition, match="newer quintain: its format has version 2, this one reads 1"):
        await restore(other, data.replace(b"version 1\n", b"version 2\n", 1))
    assert (await other.list_searches(pb.ListSearchesRequest())).searches == []
    assert (await restore(other, data)).search_id == search_id


def entries(data: bytes) -> list[archive_pb2.ArchiveEntry]:
    unpacked, found = lzma.decompress(data[data.index(b"\n") + 1 :]), []
    while unpacked:
        size = int.from_bytes(unpacked[:4])
        found.append(archive_pb2.ArchiveEntry.FromString(unpacked[4 : 4 + size]))
        unpacked = unpacked[4 + size :]
    return found


async def test_an_archive_made_by_hand_must_be_one_whole_search(
    stack: Stack, new_stack: NewStack, tmp_path: Path
) -> None:
    """Its digest may be right: what it holds is checked even so."""
    client, search_id = await finished(stack)
    whole = entries(await archive(client, search_id))
    folder = tmp_path / "other"
    folder.mkdir()
    other = await new_stack(folder=folder).start()

    def changed(change: Any) -> bytes:
        made = [archive_pb2.ArchiveEntry.FromString(e.SerializeToString()) for e in whole[:-1]]
        made = change(made) or made
        return packed(made)

    def search(**fields: Any) -> Any:
        return lambda made: [setattr(made[0].search, key, value) for key, value in fields.items()] and None

    for wrong in (
        lambda made: made[1:],  # no search
        lambda made: made[:1] + made,  # two
        lambda made: made[:1] + made[2:],  # a candidate is missing
        lambda made: made[:-1],  # an event is
        search(search_id="../../etc"),
        search(state=1),
        search(state=77),
        search(best_number=100),
        search(told=100),
        search(spec="{}"),
        search(tags='["\\u001b[2J"]'),
        lambda made: made[1].candidate.__setattr__("verdict", b"\xff"),
    ):
        with pytest.raises(InvalidArgument, match="the archive is damaged"):
            await restore(other, changed(wrong))
    assert (await other.list_searches(pb.ListSearchesRequest())).searches == []
    assert (await restore(other, changed(lambda made: None))).search_id == search_id


def packed(made: list[archive_pb2.ArchiveEntry]) -> bytes:
    """As a writer would."""
    frames = b"".join(len(c := e.SerializeToString()).to_bytes(4) + c for e in made)
    end = archive_pb2.ArchiveEnd(
        candidates=sum(e.HasField("candidate") for e in made),
        events=sum(e.HasField("event") for e in made),
        digest=hashlib.sha256(frames).hexdigest(),
    )
    last = archive_pb2.ArchiveEntry(end=end).SerializeToString()
    return b"quintain search archive, version 1\n" + lzma.compress(frames + len(last).to_bytes(4) + last)


def test_every_field_of_a_record_survives() -> None:
    """A field that is new to a record fails here until an archive holds it."""
    search = SearchRecord(
        "s" + "0" * 12, make_spec("evolve"), CONTEXT, Budget(candidates=1), Spend(tokens=2), SearchState.FINISHED, "r",
        False, 1, 1, (Gate("g", True, "d", 1),), 1.5, 2.5, 3, "s1.2", False, 2, "n", ("t",),
    )  # fmt: skip
    use = ToolUse(ToolCall("i", "n", "{}"), "c", False, 1, 0.5, False)
    result = verifier_pb2.VerifyResult(verdict=verifier_pb2.Verdict(digest="v")).SerializeToString()
    candidate = CandidateRecord(
        Candidate(0, CandidateState.REJECTED, None, summary="s"), 1.5, "source", "feedback",
        generator_pb2.Generation(request_id="g").SerializeToString(), result, result, (use,),
    )  # fmt: skip
    event = RecordedEvent(1, 2.5, Spend(usd_nano=1), BackendTrouble("b", "r", True))
    # What an archive cannot say, because it is the same in all: nobody works on it, and it was never restored.
    same = {"paused_by_user": False, "needs_owner": False, "restored_at": None}
    for record in (search, candidate, event):
        unset = [
            f.name for f in fields(record) if f.name not in same and getattr(record, f.name) in (None, "", (), b"")
        ]
        assert unset == []
    writer = XzArchive().writer()
    made = b"".join(map(writer.add, (ArchivedSearch(search), candidate, event))) + writer.end()
    assert list(XzArchive().read(io.BytesIO(made))) == [ArchivedSearch(search), candidate, event]


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    bomb = b"quintain search archive, version 1\n" + lzma.compress(b"\xff" * (8 << 20), preset=0)
    with pytest.raises(QuintainError, match="an entry of"):
        list(XzArchive().read(io.BytesIO(bomb)))


def test_no_place_of_the_machine_is_in_an_archive() -> None:
    said = "cannot reach http://10.1.2.3:8000/v1 (localhost:7071): no file /home/ann/.quintain/store.db, ~/keys/a.pem"
    assert without_places(said) == "cannot reach <address> (<address>): no file <path>, <path>"
    assert without_places("budget used up: candidates: 20 of 20") == "budget used up: candidates: 20 of 20"
    call = generator_pb2.Call(error="connection to gpu7.example:8000 refused, see /var/log/llm.log")
    generation = generator_pb2.Generation(calls=[call]).SerializeToString()
    candidate = Candidate(0, CandidateState.REJECTED, None)
    writer = XzArchive().writer()
    made = writer.add(CandidateRecord(candidate, 0.0, None, None, generation, None, None)) + writer.end()
    unpacked = lzma.decompress(made)
    assert b"refused, see <path>" in unpacked
    assert b"gpu7" not in unpacked
    event = shareable_event(RecordedEvent(1, 0.0, Spend(), BackendTrouble("b", said, True))).event
    assert "10.1.2.3" not in repr(event)
