"""kill -9 at random points: nothing is paid twice, and the ledger knows every call that the provider completed."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sqlite3
import sys
import urllib.request
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.support.generator import KEY, MODEL, PRICES, request

from quintain.generator.v1 import generator_pb2 as pb
from quintain.generator.v1.generator_pb2_grpc import GeneratorStub

REQUESTS, KILLS, CONCURRENT = 100, 20, 4

# Imports what is slow to import, but not grpc (which does not survive a fork), and forks a generator on each "start".
NURSERY = """
import os, signal, sys
import openai.resources.chat, sqlalchemy.dialects.sqlite
import quintain_generator.adapters.store.sql
import quintain_generator.backends.openai_chat, quintain_generator.backends.offline
assert "grpc" not in sys.modules
child = 0
for line in sys.stdin:
    if line == "kill\\n":
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    else:
        child = os.fork()
        if child == 0:
            from quintain_generator.main import main
            os._exit(main(["--config", sys.argv[1]]))
    print("done", flush=True)
"""


class Lives:
    """One generator process after the other on the same store."""

    def __init__(self, config: Path, address_file: Path) -> None:
        self._config, self._address_file = config, address_file
        self.address = ""
        self.serving = asyncio.Event()
        self._nursery: Process

    async def open(self) -> None:
        with (self._config.parent / "generator.log").open("ab") as log:
            self._nursery = await asyncio.create_subprocess_exec(
                sys.executable, "-c", NURSERY, str(self._config), stdin=PIPE, stdout=PIPE, stderr=log
            )

    async def start(self) -> None:
        self._address_file.unlink(missing_ok=True)
        await self._tell("start")
        while not self._address_file.exists():
            await asyncio.sleep(0.005)
        self.address = json.loads(self._address_file.read_text())["address"]
        self.serving.set()

    async def kill(self) -> None:
        self.serving.clear()
        await self._tell("kill")

    async def close(self) -> None:
        await self.kill()
        self._nursery.kill()
        await self._nursery.wait()

    async def _tell(self, word: str) -> None:
        assert self._nursery.stdin is not None
        assert self._nursery.stdout is not None
        self._nursery.stdin.write(f"{word}\n".encode())
        await self._nursery.stdin.drain()
        assert await self._nursery.stdout.readline() == b"done\n"


async def _generate(lives: Lives, number: int) -> pb.Generation:
    """Ask until there is a result, through as many lives as it takes."""
    message = request(f"crash/{number}", "llm", mark=f"n{number}")
    while True:
        await lives.serving.wait()
        async with grpc.aio.insecure_channel(lives.address) as channel:
            try:
                async for response in GeneratorStub(channel).Generate(message, timeout=30.0):
                    if response.HasField("result"):
                        return response.result
            except grpc.aio.AioRpcError as error:
                if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
                    raise
        await asyncio.sleep(0.005)


async def _kill_often(lives: Lives, done: list[pb.Generation], rng: random.Random) -> None:
    for life in range(1, KILLS + 1):
        while len(done) < min(REQUESTS - 1, life * REQUESTS // (KILLS + 1)):
            await asyncio.sleep(0.002)
        await asyncio.sleep(rng.uniform(0.0, 0.06))  # anywhere in the life of the calls in flight
        await lives.kill()
        await lives.start()


def _ledger(store: Path) -> Iterator[tuple[str, str | None, float | None, float]]:
    with sqlite3.connect(store) as connection:
        yield from connection.execute("SELECT request_id, reply, charged_usd, at_risk_usd FROM generation_call")


@pytest.mark.crash
@pytest.mark.timeout(400)
async def test_twenty_kills_of_a_hundred_requests_pay_nothing_twice(tmp_path: Path) -> None:
    fault_server = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.fault_server", "--delay-seconds", "0.03", stdout=PIPE, env=os.environ
    )
    assert fault_server.stdout is not None
    url = (await fault_server.stdout.readline()).decode().strip()
    (tmp_path / "key").write_text(KEY)
    (tmp_path / "prices.toml").write_text(PRICES)
    config = tmp_path / "generator.toml"
    config.write_text(
        f'store_url = "sqlite:///{tmp_path}/generator.db"\nprice_file = "{tmp_path}/prices.toml"\n'
        f'[server]\naddress_file = "{tmp_path}/address"\n'
        f'[backends.llm]\nkind = "openai-compatible"\nmodel = "{MODEL}"\nmax_concurrency = {CONCURRENT}\n'
        f'[backends.llm.options]\nbase_url = "{url}/v1"\napi_key_file = "{tmp_path}/key"\n'
    )
    lives = Lives(config, tmp_path / "address")
    done: list[pb.Generation] = []
    places = asyncio.Semaphore(CONCURRENT)

    async def one(number: int) -> None:
        async with places:
            done.append(await _generate(lives, number))

    await lives.open()
    await lives.start()
    try:
        killing = asyncio.create_task(_kill_often(lives, done, random.Random(7)))
        await asyncio.gather(*(one(number) for number in range(REQUESTS)))
        await killing
        with urllib.request.urlopen(f"{url}/control/stats") as answer:
            stats: dict[str, Any] = json.load(answer)
    finally:
        await lives.close()
        fault_server.kill()
        await fault_server.wait()

    outcomes = Counter(pb.Outcome.Name(g.outcome) for g in done)
    assert sum(outcomes.values()) == REQUESTS
    assert set(outcomes) <= {"OUTCOME_OK", "OUTCOME_UNKNOWN"}
    assert outcomes["OUTCOME_UNKNOWN"] >= KILLS // 2, "the kills missed the calls; nothing was tested"

    received = Counter(call["mark"] for call in stats["calls"])
    assert max(received.values()) == 1, "a request was sent twice"

    unknown = {g.request_id for g in done if g.outcome == pb.OUTCOME_UNKNOWN}
    rows = list(_ledger(tmp_path / "generator.db"))
    assert len(rows) == REQUESTS
    at_risk = {request_id for request_id, _, _, risk in rows if risk > 0}
    charged = {request_id for request_id, _, usd, _ in rows if usd}
    assert at_risk == unknown
    assert charged == {g.request_id for g in done} - unknown

    completed = {f"crash/{call['mark'][1:]}" for call in stats["calls"] if call["completed"]}
    assert charged <= completed
    assert completed <= charged | at_risk, "the provider completed a call that the ledger does not know"
    assert stats["completed"] == len(charged) + len(completed & at_risk)
    print(
        f"{KILLS} kills, {REQUESTS} requests, {stats['received']} calls: the provider completed {stats['completed']};"
        f" ledger: {len(charged)} charged, {len(at_risk)} at risk, {len(completed & at_risk)} of them completed"
    )
