"""The `replay` backend: records every exchange of another backend, and plays it back bit for bit without it.

A recording is a folder with one JSON file for each exchange, named by the digest of the task, the allowance, the turn
and the number of the call within its request, and by how many requests had asked the same before. (So a generator that
is restarted in the middle of a request goes on with the right exchange.) The file holds what was asked, for people, and
the prompt as it was sent: playing refuses a prompt that has changed since.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, TypeAdapter

from quintain.plugins.backend import (
    Backend,
    BackendCall,
    BackendOptions,
    BackendReply,
    CallOutcome,
    Capabilities,
    Operator,
)
from quintain_generator.adapters.registry import make_backend
from quintain_generator.config import BackendSettings
from quintain_generator.usecases.endpoint import MIN_SECRET_CHARACTERS

_REPLY = TypeAdapter(BackendReply)
_PLAIN: TypeAdapter[Any] = TypeAdapter(Any)


class ReplayOptions(BackendOptions):
    """`inner` (kind, model, options) is needed to record, and refused in play."""

    folder: Path
    mode: Literal["record", "play"] = "play"
    inner: dict[str, Any] = Field(default={}, description="the backend to record: kind, model, options")


class ReplayBackend(Backend):
    Options: ClassVar[type[BackendOptions]] = ReplayOptions

    def __init__(self, model: str, options: ReplayOptions) -> None:
        self._inner: Backend | None = None
        if options.mode == "record":
            self._inner = make_backend("options.inner", BackendSettings.model_validate(options.inner))
            if self._inner.batches is not None:
                raise ValueError("options.inner: batches cannot be recorded; record with batch = false")
            model = self._inner.model
            options.folder.mkdir(parents=True, exist_ok=True)
        elif options.inner:
            raise ValueError("options.inner: only for mode = 'record'")
        elif not options.folder.is_dir():
            raise ValueError(f"options.folder: {options.folder} is not a folder with a recording")
        super().__init__(model, options)
        self._folder = options.folder
        self._asked: Counter[str] = Counter()

    @property
    def capabilities(self) -> Capabilities:
        if self._inner is not None:
            return self._inner.capabilities
        return Capabilities(
            operators=frozenset(Operator),
            deterministic=True,
            priced=False,
            prompt=True,
            repeatable=True,
        )

    @property
    def unavailable_reason(self) -> str:
        return self._inner.unavailable_reason if self._inner is not None else ""

    @property
    def secrets(self) -> tuple[str, ...]:
        return self._inner.secrets if self._inner is not None else ()

    async def generate(self, call: BackendCall) -> BackendReply:
        asked = {
            "task": _PLAIN.dump_python(call.task, mode="json"),
            "allowance": _PLAIN.dump_python(call.allowance, mode="json"),
            "attempt": call.attempt,
            "turn": sum(1 for message in call.messages if message.role == "assistant"),
        }
        messages = _PLAIN.dump_python(call.messages, mode="json")
        if call.turns:
            messages = {"prompt": messages, "turns": _PLAIN.dump_python(call.turns, mode="json")}
        digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:32]
        file = self._folder / f"{digest}-{self._asked[digest]}.json"
        self._asked[digest] += 1
        if self._inner is None:
            return await asyncio.to_thread(_play, file, messages)
        reply = await self._inner.generate(call)
        exchange = {"asked": asked, "messages": messages, "reply": _PLAIN.dump_python(reply, mode="json")}
        await asyncio.to_thread(_write, file, self._redacted(exchange))
        return reply

    async def close(self) -> None:
        if self._inner is not None:
            await self._inner.close()

    def _redacted(self, exchange: dict[str, Any]) -> str:
        text = json.dumps(exchange, indent=1, sort_keys=True)
        for secret in self.secrets:
            if len(secret) >= MIN_SECRET_CHARACTERS:
                text = text.replace(json.dumps(secret)[1:-1], "[redacted]")
        return text


def _play(file: Path, messages: Any) -> BackendReply:
    try:
        recorded = json.loads(file.read_text())
        prompt, reply = recorded["messages"], _REPLY.validate_python(recorded["reply"])
    except FileNotFoundError:
        return BackendReply(CallOutcome.BAD_REQUEST, detail=f"the recording has no exchange {file.stem}", sent=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        detail = f"the recorded exchange {file.stem} cannot be read ({type(error).__name__}); record it again"
        return BackendReply(CallOutcome.BAD_REQUEST, detail=detail, sent=False)
    if prompt and prompt != messages:
        detail = f"the prompt is not the one of the recorded exchange {file.stem}; record it again"
        return BackendReply(CallOutcome.BAD_REQUEST, detail=detail, sent=False)
    return reply


def _write(file: Path, text: str) -> None:
    partial = file.with_suffix(".partial")
    with partial.open("w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(file)
