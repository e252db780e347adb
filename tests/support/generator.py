"""A generator over a fault server, in this process, for tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from tests.fault_server.server import FaultServer

from quintain.clients.generator import AsyncGenerator
from quintain.generator.v1 import generator_pb2 as pb
from quintain.generator.v1.generator_pb2_grpc import GeneratorStub
from quintain.service.server import start_server
from quintain.type.v1 import type_pb2
from quintain.wire.status import from_rpc_error
from quintain_generator.config import GeneratorSettings
from quintain_generator.service import GeneratorService

PARENT = '"""A policy."""\n\n\ndef decide(state):\n    return sorted(state)\n'
MODEL = "priced-model"
KEY = "sk-test-0123456789abcdef-very-secret"

PRICES = f"""
[[price]]
model = "{MODEL}"
effective = 2026-01-01
source = "invented for tests"
input = 2.0
output = 10.0
cache_read = 0.2
cache_write = 2.5
batch = 0.5
"""


def simulator() -> type_pb2.SimulatorDescription:
    return type_pb2.SimulatorDescription(
        name="toy",
        title="a toy",
        build="b1",
        policy_guide="Define `decide(state)`.",
        required_definitions=[type_pb2.RequiredDefinition(kind="function", name="decide", description="decides")],
    )


def task(
    operator: pb.Operator.ValueType = pb.OPERATOR_FULL,
    mark: str = "",
    parent: str = PARENT,
    seed: int = 1,
    **fields: Any,
) -> pb.Task:
    """`mark` comes back in the fault server's record of the call."""
    source = parent + (f"# request-mark-{mark}\n" if mark else "")
    return pb.Task(
        simulator=simulator(),
        objective=type_pb2.Objective(
            name="speed", metric="speed", unit="1/s", direction=type_pb2.DIRECTION_MAXIMIZE, description="Be fast."
        ),
        operator=operator,
        parents=[pb.Example(candidate_id="c1", source=source, score=1.0, feedback="Too slow.")],
        seed=seed,
        **fields,
    )


def request(request_id: str, backend: str = "", **fields: Any) -> pb.GenerateRequest:
    allowance = fields.pop("allowance", pb.Allowance())
    return pb.GenerateRequest(request_id=request_id, backend=backend, task=task(**fields), allowance=allowance)


def backend_settings(kind: str, url: str, key_file: Path, model: str = MODEL, **settings: Any) -> dict[str, Any]:
    """Settings of an LLM backend at the fault server, impatient enough for tests. `kind` is one of WIRES."""
    plugin, options = (WIRES | BATCH_WIRES)[kind]
    base = url if plugin == "anthropic" else f"{url}/v1"
    return {
        "kind": plugin,
        "model": model,
        "options": {"base_url": base, "api_key_file": str(key_file), **options},
        "retry_base_seconds": 0.01,
        "retry_max_seconds": 0.05,
        "breaker_failures": 100,
        **settings,
    }


# name -> (plugin, options): every wire protocol, streamed and not
WIRES: dict[str, tuple[str, dict[str, Any]]] = {
    "openai": ("openai", {"stream": True}),
    "openai-whole": ("openai", {"stream": False}),
    "compatible": ("openai-compatible", {"stream": True}),
    "compatible-whole": ("openai-compatible", {"stream": False}),
    "anthropic": ("anthropic", {}),
}
BATCH_WIRES: dict[str, tuple[str, dict[str, Any]]] = {
    "openai-batch": ("openai", {"batch": True, "batch_poll_seconds": 0.05}),
    "anthropic-batch": ("anthropic", {"batch": True, "batch_poll_seconds": 0.05}),
}


@dataclass
class Stack:
    service: GeneratorService
    client: AsyncGenerator
    server: FaultServer
    address: str
    metrics_address: str
    store: Path

    async def generate_once(self, message: pb.GenerateRequest, timeout: float = 8.0) -> pb.Generation:
        """One rpc, without the client's own retries."""
        async with grpc.aio.insecure_channel(self.address) as channel:
            try:
                async for response in GeneratorStub(channel).Generate(message, timeout=timeout):
                    if response.HasField("result"):
                        return response.result
            except grpc.RpcError as error:
                raise from_rpc_error(error) from None
        raise AssertionError("no result")


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def stack(
    folder: Path,
    kind: str = "compatible",
    *,
    faults: FaultServer | None = None,
    model: str = MODEL,
    backend: Mapping[str, Any] | None = None,
    **settings: Any,
) -> AsyncIterator[Stack]:
    """A fault server, a generator with one backend ``llm`` that uses it, and a client."""
    key_file, price_file, store = folder / "key", folder / "prices.toml", folder / "generator.db"
    key_file.write_text(KEY + "\n")
    price_file.write_text(PRICES)
    async with faults or FaultServer() as server:
        document = {
            "store_url": f"sqlite:///{store}",
            "price_file": str(price_file),
            "backends": {"llm": {**backend_settings(kind, server.url, key_file, model), **(backend or {})}},
            **settings,
        }
        parsed = GeneratorSettings.model_validate(document)
        service = GeneratorService(parsed)
        running = await start_server(service, parsed.server)
        try:
            async with AsyncGenerator(running.address) as client:
                yield Stack(service, client, server, running.address, running.metrics_address, store)
        finally:
            await running.stop()
