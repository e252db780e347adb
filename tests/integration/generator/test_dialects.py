"""What servers say in their own way, word for word; nothing passes for an answer that is none."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.fault_server.server import FaultServer
from tests.support.generator import WIRES, Stack, request, stack

from quintain.errors import QuintainError
from quintain.generator.v1 import generator_pb2 as pb
from quintain_generator.backends.wire import CLIENT_OPTIONS, MAX_ANSWER_BYTES, AnswerTooLarge

CODE = "```python\ndef decide(state):\n    return sorted(state)[:2]\n```\n"
USAGE = {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}
SSE, JSON = {"content-type": "text/event-stream"}, {"content-type": "application/json"}


def chunk(content: Any, finish: str | None = None, index: int = 0) -> dict[str, Any]:
    choice = {"index": index, "delta": {"content": content}, "finish_reason": finish}
    return {"id": "chatcmpl-7", "object": "chat.completion.chunk", "created": 0, "model": "m", "choices": [choice]}


def completion(*contents: Any, finish: str = "stop", first: int = 0) -> dict[str, Any]:
    choices = [
        {"index": abs(first - n), "message": {"role": "assistant", "content": content}, "finish_reason": finish}
        for n, content in enumerate(contents)
    ]
    return {"id": "chatcmpl-7", "object": "chat.completion", "created": 0, "choices": choices, "usage": USAGE}


def says(s: Stack, answer: dict[str, Any] | Sequence[dict[str, Any]]) -> None:
    """A whole answer, or the events of a stream."""
    s.server.default = "verbatim"
    if isinstance(answer, dict):
        s.server.verbatim = (200, json.dumps(answer).encode(), JSON)
        return
    named = ((f"event: {e['type']}\n" if "type" in e else "") + f"data: {json.dumps(e)}\n\n" for e in answer)
    s.server.verbatim = (200, ("".join(named) + "data: [DONE]\n\n").encode(), SSE)


@dataclass(frozen=True)
class Failure:
    """An error, or a request that ended without an answer."""

    reason: str
    message: str
    metadata: Mapping[str, str]


async def failure(s: Stack, request_id: str = "r1") -> Failure:
    try:
        generation = await s.generate_once(request(request_id, "llm"))
    except QuintainError as error:
        return Failure(error.reason, error.message, error.metadata)
    assert generation.outcome == pb.OUTCOME_UNKNOWN
    last = generation.calls[-1]
    metadata = {"call_outcome": last.outcome, "provider_request_id": last.provider_request_id}
    return Failure("UNKNOWN", generation.detail, metadata | {"at_risk_usd": str(generation.cost.at_risk_usd)})


# ------------------------------------------------------------------------------------------- vLLM, Ollama, llama.cpp


@pytest.mark.parametrize(
    ("finish", "outcome"),
    [("abort", "server_error"), ("error", "server_error"), ("insufficient_system_resource", "overloaded")],
)
async def test_an_answer_that_the_server_gave_up_is_none_even_if_it_parses(
    tmp_path: Path, finish: str, outcome: str
) -> None:
    """vLLM ends the stream of a request that it aborts with [DONE], as if it were complete."""
    for wire in ("compatible", "compatible-whole"):
        (tmp_path / wire).mkdir()
        async with stack(tmp_path / wire, wire) as s:
            says(s, completion(CODE, finish=finish) if wire.endswith("whole") else [chunk(CODE), chunk("", finish)])
            error = await failure(s)
        assert (error.reason, error.metadata["call_outcome"], len(s.server.seen)) == ("UNKNOWN", outcome, 2)
        assert float(error.metadata["at_risk_usd"]) > 0


async def test_a_context_that_ran_out_under_another_name_is_an_answer_cut_short(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        says(s, [chunk(CODE), chunk("", "model_length")])
        assert (await s.generate_once(request("r1", "llm"))).outcome == pb.OUTCOME_TRUNCATED


@pytest.mark.parametrize(
    ("code", "reason", "calls"),
    [(400, "BACKEND_REFUSED_REQUEST", 1), ("400", "BACKEND_REFUSED_REQUEST", 1), (429, "RATE_LIMITED", 5)],
)
async def test_an_error_inside_a_stream_is_known_by_its_number(
    tmp_path: Path, code: object, reason: str, calls: int
) -> None:
    async with stack(tmp_path) as s:
        says(s, [{"error": {"message": "too late for a status", "type": "SomeError", "code": code}}])
        assert (await failure(s)).reason == reason
    assert len(s.server.seen) == calls


async def test_of_several_choices_only_the_first_is_read(tmp_path: Path) -> None:
    for wire in ("compatible", "compatible-whole"):
        (tmp_path / wire).mkdir()
        async with stack(tmp_path / wire, wire) as s:
            streamed = [chunk(CODE[:30]), chunk("nonsense (", index=1), chunk(CODE[30:], "stop"), chunk("", "stop", 1)]
            says(s, completion("nonsense (", CODE, first=1) if wire.endswith("whole") else streamed)
            assert (await s.generate_once(request("r1", "llm"))).response_text == CODE


async def test_content_may_be_a_list_of_parts_and_thinking_is_not_part_of_the_answer(tmp_path: Path) -> None:
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": CODE}, 7]
    for wire in ("compatible", "compatible-whole"):
        (tmp_path / wire).mkdir()
        async with stack(tmp_path / wire, wire) as s:
            says(s, completion(parts) if wire.endswith("whole") else [chunk(parts), chunk("", "stop")])
            assert (await s.generate_once(request("r1", "llm"))).response_text == CODE


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (404, b'{"error": "model \'x\' not found"}', "model 'x' not found"),
        (502, b"<html><h1>Bad Gateway</h1></html>", "Bad Gateway"),
        (400, b"null", "HTTP 400"),
    ],
)
async def test_an_error_that_is_no_object_is_quoted(tmp_path: Path, status: int, body: bytes, said: str) -> None:
    async with stack(tmp_path, faults=FaultServer(default="verbatim")) as s:
        s.server.verbatim = (status, body, JSON)
        assert said in (await failure(s)).message


# ------------------------------------------------------------------------------- dialects, see docs/providers.md


def sse(*events: object) -> bytes:
    return b"".join(e if isinstance(e, bytes) else f"data: {json.dumps(e)}\n\n".encode() for e in events)


DONE = b"data: [DONE]\n\n"
FILTERS = {"id": "", "choices": [], "created": 0, "model": "", "object": "", "prompt_filter_results": [{}]}
THOUGHTS = {"choices": [{"delta": {"content": "", "reasoning": CODE}}]}
THINKING = {"choices": [{"delta": {"reasoning_content": "hm"}, "index": 0, "finish_reason": None}]}
DIED = {"error": {"message": "engine died", "type": "InternalServerError", "code": 500}}
STOPPED = {"choices": [{"index": 0, "finish_reason": "stop"}]}
READING = {"id": "1", "object": "chat.completion.chunk", "choices": [], "usage": USAGE}
GONE = {**chunk("", "error"), "error": {"code": 502, "message": "Provider disconnected"}}
RETRY = {"error": {"code": 429, "message": "quota", "status": "RESOURCE_EXHAUSTED", "details": [{"retryDelay": "36s"}]}}
EXTRA = {"type": "extra_forbidden", "loc": ["body", "max_completion_tokens"], "msg": "Extra inputs are not permitted"}

DIALECTS: dict[str, tuple[int, Mapping[str, str], bytes, str]] = {
    "vllm": (200, SSE, sse(chunk("", None), chunk(CODE), chunk("", "stop"), READING, DONE), "OK"),
    "vllm error": (
        200,
        SSE,
        sse(DIED, DONE),
        "BACKEND_DOWN: engine died",
    ),
    "ollama": (200, SSE, sse(chunk(CODE, ""), chunk("", "stop"), DONE), "OK"),
    "ollama reasoning": (200, SSE, sse(THOUGHTS, chunk("", "stop"), DONE), "OK"),
    "ollama error": (
        200,
        SSE,
        sse(chunk(""), b'{"error": "model runner has stopped"}\n'),
        "BACKEND_DOWN: model runner has stopped",
    ),
    "llama.cpp": (200, SSE, sse(THINKING, chunk(CODE), chunk("", "stop"), READING, DONE), "OK"),
    "llama.cpp error": (
        200,
        SSE,
        sse(
            b'error: {"code": 400, "message": "context is full"}\n\n',
            {"error": {"code": 400, "message": "context is full", "type": "x"}},
        ),
        "BACKEND_REFUSED_REQUEST: context is full",
    ),
    "lm studio, wrong path": (
        200,
        JSON,
        b'{"error": "Unexpected endpoint or method. (POST /chat/completions)"}',
        "BACKEND_REFUSED_REQUEST: Unexpected endpoint",
    ),
    "openrouter": (200, SSE, sse(b": OPENROUTER PROCESSING\n\n", chunk(CODE), chunk("", "stop"), READING, DONE), "OK"),
    "openrouter, broken off": (200, SSE, sse(chunk(CODE), GONE), "UNKNOWN: Provider disconnected"),
    "openrouter, no credits": (
        402,
        JSON,
        b'{"error": {"code": 402, "message": "Insufficient credits"}}',
        "SPEND_LIMIT_REACHED: Insufficient credits",
    ),
    "gemini": (200, SSE, sse({**chunk(CODE, "STOP"), "usage": USAGE}, DONE), "OK"),
    "gemini, cut": (200, SSE, sse({**chunk(CODE, "MAX_TOKENS"), "usage": USAGE}, DONE), "TRUNCATED"),
    "gemini error": (
        400,
        JSON,
        b'[{"error": {"code": 400, "message": "API key not valid", "status": "X"}}]',
        "BACKEND_REFUSED_REQUEST: API key not valid",
    ),
    "gemini quota": (429, JSON, json.dumps([RETRY]).encode(), "RATE_LIMITED: quota"),
    "mistral, thinking": (
        200,
        SSE,
        sse(
            chunk([{"type": "thinking", "thinking": []}, {"type": "text", "text": CODE}]),
            chunk("", "model_length"),
            DONE,
        ),
        "TRUNCATED",
    ),
    "mistral, older field": (
        422,
        JSON,
        json.dumps({"object": "error", "message": {"detail": [EXTRA]}}).encode(),
        'BACKEND_REFUSED_REQUEST: set max_tokens_field = "max_tokens"',
    ),
    "deepseek": (
        200,
        SSE,
        sse(b": keep-alive\n\n" * 3, chunk(CODE), {**chunk("", "stop"), "usage": USAGE}, DONE),
        "OK",
    ),
    "deepseek, whole": (200, JSON, b"\n\n\n" + json.dumps(completion(CODE)).encode(), "OK"),
    "deepseek, busy": (
        200,
        SSE,
        sse(chunk(CODE), chunk("", "insufficient_system_resource"), DONE),
        "UNKNOWN: insufficient",
    ),
    "azure": (
        200,
        SSE,
        sse(FILTERS, chunk(CODE), {"choices": [{"index": 0, "finish_reason": "stop"}]}, READING, DONE),
        "OK",
    ),
    "azure, filtered": (
        400,
        JSON,
        b'{"error": {"code": "content_filter", "message": "filtered", "status": 400}}',
        "CONTENT_FILTERED",
    ),
    "fastchat": (
        200,
        SSE,
        sse({"text": "max_tokens must be at least 1", "error_code": 50001}, DONE),
        "BACKEND_DOWN: max_tokens must be at least 1",
    ),
}


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_what_servers_of_many_kinds_send_is_read_as_they_mean_it(tmp_path: Path, dialect: str) -> None:
    status, headers, body, expected = DIALECTS[dialect]
    async with stack(tmp_path, faults=FaultServer(default="verbatim"), backend={"max_calls": 1}) as s:
        s.server.verbatim = (status, body, dict(headers))
        try:
            generation = await s.generate_once(request("r1", "llm"))
            came = f"{pb.Outcome.Name(generation.outcome).removeprefix('OUTCOME_')}: {generation.detail}"
        except QuintainError as error:
            came = f"{error.reason}: {error.message}"
    reason, _, words = expected.partition(": ")
    assert came.startswith(f"{reason}: ")
    assert words in came


# --------------------------------------------------------------------------------------------------------- Anthropic


async def test_text_may_come_with_the_start_of_its_block(tmp_path: Path) -> None:
    usage = {"input_tokens": 10, "output_tokens": 1}
    message = {"id": "msg_7", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": usage}
    async with stack(tmp_path, "anthropic") as s:
        says(s, [
            {"type": "message_start", "message": message},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": CODE[:20]}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": CODE[20:]}},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}},
            {"type": "message_stop"},
        ])  # fmt: skip
        generation = await s.generate_once(request("r1", "llm"))
    assert (generation.response_text, generation.calls[0].provider_request_id) == (CODE, "msg_7")


@pytest.mark.parametrize(
    "message",
    [
        "You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC.",
        "Your credit balance is too low to access the Anthropic API.",
    ],
)
async def test_a_spend_limit_that_is_said_as_a_bad_request_is_one(tmp_path: Path, message: str) -> None:
    body = {"type": "error", "error": {"type": "invalid_request_error", "message": message}}
    async with stack(tmp_path, "anthropic", faults=FaultServer(default="verbatim")) as s:
        s.server.verbatim = (400, json.dumps(body).encode(), JSON)
        assert (await failure(s)).reason == "SPEND_LIMIT_REACHED"


# -------------------------------------------------------------------------------------------------------- every wire


@pytest.mark.parametrize("wire", WIRES)
async def test_the_id_of_a_call_is_kept_when_its_answer_cannot_be_read(tmp_path: Path, wire: str) -> None:
    async with stack(tmp_path, wire, faults=FaultServer(default="malformed")) as s:
        assert (await failure(s)).metadata["provider_request_id"] == "req_000002"


@pytest.mark.parametrize("wire", ["compatible", "compatible-whole"])
async def test_the_id_of_the_answer_names_a_call_without_a_header(tmp_path: Path, wire: str) -> None:
    """vLLM, Ollama and llama.cpp send none, and log the id of the answer."""
    async with stack(tmp_path, wire) as s:
        says(s, completion(CODE) if wire.endswith("whole") else [chunk(CODE), chunk("", "stop")])
        generation = await s.generate_once(request("r1", "llm"))
    assert generation.calls[0].provider_request_id == "chatcmpl-7"


@pytest.mark.parametrize("wire", WIRES)
async def test_json_nested_beyond_any_parser_is_malformed(tmp_path: Path, wire: str) -> None:
    async with stack(tmp_path, wire, faults=FaultServer(default="verbatim")) as s:
        deep = b"[" * 200_000
        s.server.verbatim = (200, deep, JSON) if wire.endswith("whole") else (200, b"data: " + deep + b"\n\n", SSE)
        assert (await failure(s)).metadata["call_outcome"] == "malformed"


@pytest.mark.parametrize("wire", WIRES)
async def test_a_long_error_in_any_script_reaches_the_caller_with_its_reason(tmp_path: Path, wire: str) -> None:
    """The trailers of an rpc have a limit, and beyond it the caller would get neither the reason nor what was spent."""
    body = {"type": "error", "error": {"type": "invalid_request_error", "message": "\u4e2d\x00%" * 3000}}
    ids = {"x-request-id": "i" * 20_000, "request-id": "i" * 20_000}
    async with stack(tmp_path, wire, faults=FaultServer(default="verbatim")) as s:
        s.server.verbatim = (400, json.dumps(body).encode(), JSON | ids)
        error = await failure(s)
    assert (error.reason, error.metadata["spent_usd"]) == ("BACKEND_REFUSED_REQUEST", "0.000000")
    assert "\u4e2d" in error.message


@pytest.mark.parametrize("wire", ["compatible", "compatible-whole"])
async def test_a_packed_answer_is_unpacked(tmp_path: Path, wire: str) -> None:
    async with stack(tmp_path, wire) as s:
        says(s, completion(CODE) if wire.endswith("whole") else [chunk(CODE), chunk("", "stop")])
        status, body, headers = s.server.verbatim
        s.server.verbatim = (status, gzip.compress(body), headers | {"content-encoding": "gzip"})
        assert (await s.generate_once(request("r1", "llm"))).response_text == CODE


async def test_a_small_body_is_not_unpacked_into_a_large_one() -> None:
    bomb = gzip.compress(b"line\n" * (MAX_ANSWER_BYTES // 4), 1)
    assert len(bomb) < MAX_ANSWER_BYTES // 50
    async with FaultServer(default="verbatim") as server, httpx2.AsyncClient(**CLIENT_OPTIONS) as client:
        server.verbatim = (200, bomb, {"content-encoding": "gzip"})
        async with client.stream("POST", f"{server.url}/v1/responses", json={}) as response:
            with pytest.raises(AnswerTooLarge):
                await response.aread()


@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "zstd"])
async def test_an_encoding_that_was_not_asked_for_is_not_guessed_at(tmp_path: Path, encoding: str) -> None:
    async with stack(tmp_path, faults=FaultServer(default="verbatim")) as s:
        s.server.verbatim = (200, gzip.compress(gzip.compress(b"data: {}")), SSE | {"content-encoding": encoding})
        error = await failure(s)
    assert error.metadata["call_outcome"] == "malformed"
    assert "was not asked for" in error.message
