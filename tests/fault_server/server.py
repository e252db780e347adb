"""The fault server itself: HTTP/1.1 over asyncio, no framework, so that it can break the protocol where it likes.

Each request takes the next fault of the script, or the fault named by the model (``fault-<name>``), or the default.
Control, for a server in another process: ``GET /control/stats``; ``POST /control/faults`` with a JSON list of names;
``POST /control/calm`` to forget those that have not happened yet.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Any

from tests.fault_server.answers import (
    DEFAULT_POLICY,
    PROTOCOLS,
    Answer,
    Call,
    Responses,
    diff_answer,
    fenced,
    policy_for,
    prompt_of,
)
from tests.fault_server.batches import BATCH_PATHS, BatchDesk
from tests.fault_server.conversations import Script, complaint, play, said_next
from tests.fault_server.log import ERRORS, Seen
from tests.fault_server.oddities import ODDITIES, odd_response

# name -> (body, headers) of a 200 that is no answer of any protocol
NO_PROTOCOL: dict[str, tuple[bytes, dict[str, str]]] = {
    "empty_body": (b"", {}),
    "malformed": (b"<html>the proxy says hello</html>", {"content-type": "text/html"}),
    "gzip_rubbish": (b"\x00\x01 not compressed", {"content-encoding": "gzip"}),
    "json_list": (b"[]", {}),
}
# name -> what becomes of an answer that is sent as a whole
SPOILT: dict[str, Callable[[bytes, Any], bytes]] = {
    "invalid_utf8": lambda body, _protocol: body.replace(b"rationale", b"\xff\xfe"),
    "malformed_mid_stream": lambda body, _protocol: body[: len(body) // 2],
    "error_event": lambda _body, protocol: json.dumps(protocol.error_body("server_error", "", "in vain")).encode(),
}
FINISHES = {"truncated": "length", "refusal": "refusal", "content_filter": "content_filter"}
BROKEN = ("hang", "hang_mid_stream", "drip", "reset", "reset_mid_stream", "cut_mid_stream", "clean_cut",
          "empty_body", "malformed", "malformed_mid_stream", "error_event", "flood", "invalid_utf8")  # fmt: skip
ANSWERED = ("ok", "empty", "reasoning_only", "no_usage", "diff", "bad_diff", "cached", "constant",
            "cut_after_answer", "hang_after_answer", "unknown_events", "odd_usage", "nameless")  # fmt: skip

_MARK = re.compile(r"request-mark-(\w+)")


class FaultServer:
    """Use as an async context manager; `url` is then its base address."""

    def __init__(
        self,
        script: Iterable[str] = (),
        *,
        default: str = "ok",
        policies: Sequence[str] = (DEFAULT_POLICY,),
        delay_seconds: float = 0.0,
        drip_seconds: float = 0.2,
        conversation: Script = play,
        batch_looks: int = 1,
    ) -> None:
        self.script = deque(script)
        self.seen: list[Seen] = []
        self.batches = BatchDesk(self._note_batched, self._make_answer, looks=batch_looks)
        self.default = default
        self.verbatim: tuple[int, bytes, dict[str, str]] = (200, b"", {})  # what the fault of that name says
        self._policies = list(policies)
        self._conversation = conversation
        self._delay = delay_seconds
        self._drip = drip_seconds
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def completed(self) -> int:
        return sum(seen.completed for seen in self.seen)

    async def start(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", port, limit=64 * 1024 * 1024)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def __aenter__(self) -> FaultServer:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    # ------------------------------------------------------------------------------------------ transport

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            while await self._one_request(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(task)
            writer.close()

    async def _one_request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection may be used again."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        request_line, *header_lines = head.split("\r\n")
        method, path, _ = request_line.split(" ", 2)
        headers = {name.strip().lower(): value.strip() for name, _, value in (h.partition(":") for h in header_lines)}
        raw = await reader.readexactly(int(headers.get("content-length", "0")))
        if path.startswith("/control/"):
            return await self._control(writer, method, path, raw)
        if path.startswith(BATCH_PATHS):
            status, text = self.batches.answer(method, path, headers, raw)
            if status == 0:
                _reset(writer)
                return False
            await _send(writer, status, {"content-type": "application/json"}, text)
            return True
        body = json.loads(raw)
        path, _, query = path.partition("?")
        seen = self._note(path, body)
        seen.query = query
        self.seen.append(seen)
        seen.request_id = f"req_{len(self.seen):06d}"
        gone = asyncio.create_task(self._watch_for_leaving(reader, seen))
        try:
            if self._delay:
                await asyncio.wait({gone}, timeout=self._delay)
            return await self._answer(writer, path, body, seen, headers, gone)
        except ConnectionError:
            seen.gone = True
            return False
        finally:
            gone.cancel()

    @staticmethod
    async def _watch_for_leaving(reader: asyncio.StreamReader, seen: Seen) -> None:
        # A client sends nothing while it waits for the answer, so an end of input is its leaving.
        while not reader.at_eof():
            await asyncio.sleep(0.01)
        seen.gone = True

    def _note_batched(self, path: str, body: dict[str, Any], batch_id: str) -> Seen:
        seen = self._note(path, body)
        seen.request_id = batch_id
        self.seen.append(seen)
        return seen

    def _note(self, path: str, body: dict[str, Any]) -> Seen:
        model = str(body.get("model", ""))
        fault = self.script.popleft() if self.script else self.default
        if model.startswith("fault-"):
            fault = model.removeprefix("fault-")
        mark = _MARK.search(prompt_of(body))
        limit = body.get("max_tokens") or body.get("max_completion_tokens") or body.get("max_output_tokens") or 0
        digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        return Seen(
            path, model, fault, bool(body.get("stream")), mark[1] if mark else "", limit, digest=digest, body=body
        )

    async def _control(self, writer: asyncio.StreamWriter, method: str, path: str, raw: bytes) -> bool:
        if method == "POST" and path == "/control/faults":
            self.script.extend(json.loads(raw))
        elif method == "POST" and path == "/control/calm":
            self.script.clear()
        seen = [{k: v for k, v in asdict(s).items() if k != "body"} for s in self.seen]
        stats = {"received": len(self.seen), "completed": self.completed, "calls": seen}
        await _send(writer, 200, {"content-type": "application/json"}, json.dumps(stats).encode())
        return True

    # ------------------------------------------------------------------------------------------ faults

    async def _answer(
        self,
        writer: asyncio.StreamWriter,
        path: str,
        body: dict[str, Any],
        seen: Seen,
        headers: dict[str, str],
        gone: asyncio.Task[None],
    ) -> bool:
        protocol = PROTOCOLS[path]
        request_id = {protocol.request_id_header: seen.request_id}
        fault = seen.fault
        if fault in ERRORS or fault == "echo_key":
            key = headers.get("authorization", headers.get("x-api-key", ""))
            status, kind, code, extra = ERRORS.get(fault, (400, "invalid_request_error", "", {}))
            message = f"told to fail with {fault}" + (f"; your key is {key}" if fault == "echo_key" else "")
            text = json.dumps(protocol.error_body(kind, code, message)).encode()
            await _send(writer, status, {"content-type": "application/json", **request_id, **extra}, text)
            return True
        if fault == "hang":
            await gone
            return False
        if fault == "reset":
            _reset(writer)
            return False
        if fault == "verbatim":
            status, text, extra = self.verbatim
            await _send(writer, status, extra, text)
            return True
        if fault in NO_PROTOCOL:
            text, extra = NO_PROTOCOL[fault]
            content_type = "text/event-stream" if seen.stream else "application/json"
            await _send(writer, 200, {"content-type": content_type, **request_id, **extra}, text)
            return True
        if wrong := complaint(body):
            text = json.dumps(protocol.error_body("invalid_request_error", "", wrong)).encode()
            await _send(writer, 400, {"content-type": "application/json", **request_id}, text)
            return True
        answer = self._make_answer(body, seen)
        seen.input_tokens, seen.output_tokens = answer.input_tokens, answer.output_tokens
        if fault in ODDITIES:
            status, content_type, text = odd_response(fault, protocol, answer, stream=seen.stream)
            await _send(writer, status, {"content-type": content_type, **request_id}, text)
            seen.completed = status == 200
            return True
        if fault == "flood":
            await _send_head(writer, 200, {"transfer-encoding": "chunked", **request_id})
            while True:  # until the client has had enough
                await _chunk(writer, b"a" * 1024 * 1024)
        if not seen.stream:
            if fault in SPOILT:
                text = SPOILT[fault](json.dumps(protocol.body(answer)).encode(), protocol)
                await _send(writer, 200, {"content-type": "application/json", **request_id}, text)
                return True
            if fault in BROKEN:  # mid-stream faults without a stream: half a body
                whole = json.dumps(protocol.body(answer)).encode()
                await _send_head(writer, 200, {"content-length": str(len(whole)), **request_id})
                return await self._break_off(writer, whole[: len(whole) // 2], fault, gone)
            await _send(
                writer, 200, {"content-type": "application/json", **request_id},
                json.dumps(protocol.body(answer)).encode(),
            )  # fmt: skip
            seen.completed = True
            return True
        await _send_head(
            writer, 200, {"content-type": "text/event-stream", "transfer-encoding": "chunked", **request_id}
        )
        events = protocol.events(answer)
        if fault in BROKEN:
            return await self._broken_stream(writer, events, fault, protocol, gone)
        if fault == "unknown_events":
            events[2:2] = protocol.unknown_events()
        elif fault == "cut_after_answer" and protocol is not Responses:
            events.pop()  # the word that closes the stream, after the one that ends the answer
        for event in events:
            await _chunk(writer, event)
        seen.completed = True
        if fault == "cut_after_answer":
            return False
        if fault == "hang_after_answer":  # with a sign of life now and then
            while not gone.done():
                await _chunk(writer, b": alive\n\n" + protocol.unknown_events()[-1])
                await asyncio.wait({gone}, timeout=self._drip)
            return False
        await _chunk(writer, b"")
        return True

    def _make_answer(self, body: dict[str, Any], seen: Seen) -> Answer:
        prompt = prompt_of(body)
        fault = seen.fault
        tokens = len(prompt) // 4 + 1
        code = policy_for(prompt, self._policies)
        kind = fault.removeprefix("fence_") if fault.startswith("fence_") else "python"
        text = fenced(self._policies[0] if fault == "constant" else code, kind)
        if fault in ("diff", "bad_diff"):
            text = diff_answer(applies=fault == "diff")
        elif fault in ("empty", "reasoning_only"):
            text = ""
        elif fault == "truncated":
            text = text[: len(text) // 2]
        elif fault in ("refusal", "content_filter"):
            text = "I cannot help with that."
        calls: tuple[Call, ...] = ()
        if body.get("tools") and fault == "ok":
            text, calls = said_next(body, self._conversation, self._policies)
        finish = "length" if fault == "reasoning_only" else FINISHES.get(fault, "stop")
        return Answer(
            text,
            "" if fault == "nameless" else seen.model,
            tokens,
            finish,
            usage=fault != "no_usage",
            cached_tokens=tokens // 2 if fault == "cached" else 0,
            reasoning_tokens=seen.max_tokens if fault == "reasoning_only" else 0,
            odd_usage=fault == "odd_usage",
            calls=calls,
        )

    async def _broken_stream(
        self, writer: asyncio.StreamWriter, events: list[bytes], fault: str, protocol: Any, gone: asyncio.Task[None]
    ) -> bool:
        half = events[: len(events) // 2]
        if fault == "drip":
            for byte in b"".join(events):
                await _chunk(writer, bytes([byte]))
                done, _ = await asyncio.wait({gone}, timeout=self._drip)
                if done:
                    return False
        for event in half:
            await _chunk(writer, event)
        if fault == "clean_cut":
            await _chunk(writer, b"")
            return True
        if fault == "malformed_mid_stream":
            await _chunk(writer, b"event: message_delta\ndata: {not json\n\n")
            await _chunk(writer, b"")
            return True
        if fault == "invalid_utf8":
            await _chunk(writer, b'data: "\xff\xfe"\n\n')
            await _chunk(writer, b"")
            return True
        if fault == "error_event":
            await _chunk(writer, protocol.error_event("told to fail in the middle"))
            await _chunk(writer, b"")
            return True
        return await self._break_off(writer, b"", fault, gone)

    async def _break_off(
        self, writer: asyncio.StreamWriter, first: bytes, fault: str, gone: asyncio.Task[None]
    ) -> bool:
        writer.write(first)
        await writer.drain()
        if fault in ("hang_mid_stream", "drip"):
            await gone
        elif fault == "reset_mid_stream":
            _reset(writer)
        return False


async def _send_head(writer: asyncio.StreamWriter, status: int, headers: dict[str, str]) -> None:
    lines = [f"HTTP/1.1 {status} told", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    writer.write("\r\n".join(lines).encode())
    await writer.drain()


async def _send(writer: asyncio.StreamWriter, status: int, headers: dict[str, str], body: bytes) -> None:
    await _send_head(writer, status, {**headers, "content-length": str(len(body))})
    writer.write(body)
    await writer.drain()


async def _chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
    await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST instead of FIN."""
    sock: socket.socket = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
