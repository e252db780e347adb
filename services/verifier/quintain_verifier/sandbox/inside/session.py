"""The policy's process from the moment it is locked down: one channel, one guest session, strictly in turns.

Every message is a little-endian length and a JSON array. To here: ``["load", {...}]``, ``["ask", message]``,
``["reply", value]``. From here: ``["ready", report]``, ``["loaded", info]``, ``["answer", value]``,
``["query", value]``, ``["error", type, message, line, frames]``, ``["unsendable", what]``.
The policy shares this process and may overwrite anything in it: the service believes none of it.
"""

import json
import os
import struct
import sys
from collections.abc import Callable
from types import ModuleType, TracebackType
from typing import Any, NoReturn, Protocol

from quintain_verifier.sandbox.inside.control import CHANNEL_FD
from quintain_verifier.sandbox.inside.determinism import seed_run

POLICY_FILENAME = "policy.py"
GUEST_FILENAME = "guest.py"
MAX_TYPE_CHARACTERS = 200
MAX_MESSAGE_CHARACTERS = 2000
MAX_FRAMES = 20
_RESERVE_BYTES = 4 << 20  # let go of when memory runs out, so that this can still be said

_LENGTH = struct.Struct("<I")
_READ_BYTES = 1 << 16


class _Guest(Protocol):
    info: Any

    def answer(self, message: Any) -> Any: ...


class Channel:
    """Frames over CHANNEL_FD. Ends the process when the other side is gone."""

    def __init__(self) -> None:
        # own references, so that a policy that patches os or json breaks its own toys only
        self._read, self._write = os.read, os.write
        self._decode = json.JSONDecoder().raw_decode  # what the other side sends has no space around it
        self._encode = strict_encoder()

    def receive(self) -> Any:
        data = self._read(CHANNEL_FD, _READ_BYTES)
        while len(data) < 4:
            data += self._more()
        total = 4 + _LENGTH.unpack_from(data)[0]
        if len(data) < total:
            buffer = bytearray(data)
            while len(buffer) < total:
                buffer += self._more()
            data = bytes(buffer)
        return self._decode(data[4:].decode())[0]

    def _more(self) -> bytes:
        data = self._read(CHANNEL_FD, _READ_BYTES)
        if not data:
            os._exit(0)
        return data

    def send(self, *frame: Any) -> None:
        """Raises ValueError, TypeError or RecursionError, with nothing sent, if `frame` is not JSON."""
        body = self._encode(frame).encode()
        data = _LENGTH.pack(len(body)) + body
        sent = self._write(CHANNEL_FD, data)
        while sent < len(data):
            sent += self._write(CHANNEL_FD, data[sent:])


def strict_encoder() -> Callable[[Any], str]:
    """As `JSONEncoder.encode`, without what that makes anew for each message. No NaN passes."""
    plain = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    make = json.encoder.c_make_encoder  # type: ignore[attr-defined]  # None in other Pythons
    if make is None:
        return plain.encode
    make_chunks = make(None, plain.default, json.encoder.encode_basestring, None, ":", ",", False, False, False)
    join = "".join

    def encode(frame: Any) -> str:
        try:
            return join(make_chunks(frame, 0))
        except RecursionError:
            return plain.encode(frame)  # says whether it is a circle

    return encode


class _Silence:
    """Standard output of a policy: accepted and dropped."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return False


def _text(make: Callable[[], str], longest: int) -> str:
    try:
        text = str.__str__(make())[:longest]
    except BaseException as error:  # noqa: BLE001 - the policy's own __str__
        text = f"<no text: {type(error).__name__[:100]}>"
    return text.encode("utf-8", "backslashreplace").decode()


def _policy_frames(traceback: TracebackType | None) -> list[tuple[int, str]]:
    frames = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if code.co_filename == POLICY_FILENAME:
            frames.append((traceback.tb_lineno or 0, code.co_name[:MAX_TYPE_CHARACTERS]))
            del frames[:-MAX_FRAMES]
        traceback = traceback.tb_next
    return frames


class Session:
    """Serves one policy until the other side hangs up. Never returns."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._reserve: bytes | None = bytes(_RESERVE_BYTES)  # zeros that are never touched: address space, no pages

    def serve(self) -> NoReturn:
        guest = self._load()
        answer = guest.answer
        while True:
            _, message = self._channel.receive()
            try:
                value = answer(message)
            except BaseException as error:  # noqa: BLE001 - the boundary to the policy's code
                self._report(error)
            else:
                self._send("answer", value)

    def _load(self) -> _Guest:
        _, load = self._channel.receive()
        seed_run(load["seed"])
        sys.stdout = sys.stderr = _Silence()
        try:
            if load["guest_module"]:
                module = sys.modules[load["guest_module"]]
            else:
                module = ModuleType("guest")
                sys.modules["guest"] = module  # dataclasses and the like look a class's module up
                module.__dict__["OWN_PROCESS"] = True  # nobody else's modules are needed here
                exec(compile(load["guest_source"], GUEST_FILENAME, "exec"), module.__dict__)
            guest: _Guest = module.load(load["source"], load["setup"], self._query)
            info = guest.info
        except BaseException as error:  # noqa: BLE001 - the boundary to the policy's code
            self._report(error)
            os._exit(0)
        self._send("loaded", info)
        return guest

    def _query(self, question: Any) -> Any:
        self._channel.send("query", question)
        return self._channel.receive()[1]

    def _send(self, kind: str, value: Any) -> None:
        try:
            self._channel.send(kind, value)
        except MemoryError as error:
            self._report(error)
        except (ValueError, TypeError, RecursionError) as error:
            what = str(error)[:MAX_MESSAGE_CHARACTERS].encode("utf-8", "backslashreplace").decode()
            self._channel.send("unsendable", what)

    def _report(self, error: BaseException) -> None:
        if isinstance(error, MemoryError):
            self._reserve = None
        frames = _policy_frames(error.__traceback__)
        line = frames[-1][0] if frames else None
        if isinstance(error, SyntaxError) and error.filename == POLICY_FILENAME:
            line = error.lineno
        name = "MemoryError" if isinstance(error, MemoryError) else type.__getattribute__(type(error), "__name__")
        self._channel.send(
            "error",
            _text(lambda: name, MAX_TYPE_CHARACTERS),
            _text(lambda: str(error), MAX_MESSAGE_CHARACTERS),
            line,
            frames,
        )
