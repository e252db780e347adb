"""A store that an earlier version made: its searches are continued and replayed as if nothing had changed."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest
from tests.integration.controller.conftest import NewStack, Stack, candidates, create, get, replay, watch
from tests.integration.controller.fakes import Backend
from tests.integration.controller.test_durability import essence

from quintain.controller.v1 import controller_pb2 as pb
from quintain.generator.v1 import generator_pb2
from quintain_controller.usecases import manage

DUMP = Path(__file__).parents[2] / "fixtures" / "controller_0002.sql"
IDS = dict(re.findall(r"^-- (\w+): (s\w+)$", DUMP.read_text(), re.MULTILINE))


def backend() -> Backend:
    """The one that the searches in the store had, as the dump's first lines say."""
    return Backend(usd=0.02, max_request_usd=0.10, tokens=300, outcomes={3: generator_pb2.OUTCOME_NO_CODE})


@pytest.fixture
def older(new_stack: NewStack, tmp_path: Path) -> Stack:
    folder = tmp_path / "older"
    folder.mkdir()
    with sqlite3.connect(folder / "controller.db") as connection:
        connection.executescript(DUMP.read_text())
        connection.execute("UPDATE searches SET lease_until = 0")
    return new_stack(backend(), folder=folder)


@pytest.mark.parametrize("name", ["interrupted", "killed", "paused"])
async def test_a_search_begun_by_an_older_controller_ends_like_one_of_today(
    older: Stack, new_stack: NewStack, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manage, "RULES", 1)  # as the older one began: rules that came later are not for it
    client = await older.start()
    search_id = IDS[name]
    if name == "paused":
        assert (await get(client, search_id)).state == pb.SEARCH_STATE_PAUSED
        await client.resume_search(pb.ResumeSearchRequest(search_id=search_id))
    await watch(client, search_id)
    search = await get(client, search_id)
    assert search.state == pb.SEARCH_STATE_FINISHED

    today = new_stack(backend(), folder=tmp_path / "today")
    other = await today.start()
    search.spec.ClearField("objective")
    again = await create(other, budget=search.spec.budget, strategy=search.spec.strategy, seed=search.spec.seed)
    await watch(other, again)
    assert essence(await candidates(client, search_id)) == essence(await candidates(other, again))
    fresh = await get(other, again)
    assert (search.winner.number, search.spend.usd) == (fresh.winner.number, fresh.spend.usd)
    assert [e.sequence for e in await watch(client, search_id)] == list(range(1, search.last_sequence + 1))


async def test_a_search_finished_by_an_older_controller_replays_bit_for_bit(older: Stack) -> None:
    client = await older.start()
    report, differences = await replay(client, IDS["finished"])
    assert differences == []
    assert report.winner_equal
    assert report.candidates == 11
    assert (await get(client, IDS["finished"])).state == pb.SEARCH_STATE_FINISHED
