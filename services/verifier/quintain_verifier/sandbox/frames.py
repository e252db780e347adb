"""Messages to and from a policy process: a little-endian 32-bit length, then a JSON array. The trusted end.

Whatever arrives is hostile. Sizes are bounded before a byte of the body is kept, every wait has a deadline (a drip of
single bytes too), and the JSON is strict: UTF-8, finite numbers, integers of 64 bits, at most MAX_DEPTH levels. So a
simulator never computes with a number that a double cannot hold, nor meets one that another language cannot read.
"""

from __future__ import annotations

import select
import socket
import struct
from time import monotonic
from typing import Any

import msgspec

from quintain_verifier.sandbox.inside.session import strict_encoder

MAX_DEPTH = 64  # of one message, its own array included
TICK_SECONDS = 0.05  # how often a wait looks at its deadline
_INTEGERS = range(-(1 << 63), 1 << 63)
_ONLY_DIGITS = bytes(ord("0") if byte in b"0123456789" else ord(" ") for byte in range(256))
_LONG_NUMBER = b"0" * 19  # the shortest that may be past them, in ONLY_DIGITS
_BUFFER_BYTES = 1 << 16
_LENGTH = struct.Struct("<I")


class BadFrame(Exception):
    """Not a message, or not the policy's turn."""


class FrameTooLarge(Exception):
    def __init__(self, size: int) -> None:
        super().__init__(f"a message of {size} bytes")
        self.size = size


class ChannelClosed(Exception):
    """The other end is gone."""


class DeadlinePassed(Exception):
    pass


class Channel:
    """One end of a socket pair, blocking, with a kernel timer. One thread."""

    def __init__(self, end: socket.socket, frame_bytes: int) -> None:
        """`frame_bytes`: the largest message to accept."""
        tick = struct.pack("ll", 0, int(TICK_SECONDS * 1e6))
        end.setblocking(True)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, tick)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, tick)
        self._end = end
        self._frame_bytes = frame_bytes
        self._watch = select.poll()
        self._watch.register(end, select.POLLIN)
        self._incoming = bytearray(_BUFFER_BYTES)
        self._outgoing = bytearray(_BUFFER_BYTES)
        self._encode_into = msgspec.json.Encoder().encode_into
        self._decode = msgspec.json.Decoder().decode
        self._check_strictly = strict_encoder()
        self.bytes_received = 0
        self.messages_received = 0

    def send(self, frame: list[Any], seconds: float) -> None:
        """Raises BadFrame if the other end spoke out of turn, ValueError or TypeError if `frame` is not JSON."""
        if self._watch.poll(0):
            self._hear_out_of_turn()
        data = self._outgoing
        self._encode_into(frame, data, 4)
        size = len(data)
        if b"null" in data:  # the encoder writes null for a NaN: look closely
            self._check_strictly(frame)
        _LENGTH.pack_into(data, 0, size - 4)
        try:
            sent = self._end.send(data)
            if sent < size:
                self._send_rest(memoryview(data)[sent:], seconds)
        except BlockingIOError:
            self._send_rest(memoryview(data), seconds)
        except ConnectionError as error:
            raise ChannelClosed from error

    def _send_rest(self, rest: memoryview, seconds: float) -> None:
        deadline = monotonic() + seconds
        while rest:
            if monotonic() >= deadline:
                raise DeadlinePassed
            try:
                rest = rest[self._end.send(rest) :]
            except BlockingIOError:
                continue
            except ConnectionError as error:
                raise ChannelClosed from error

    def _hear_out_of_turn(self) -> None:
        try:
            received = self._end.recv(1)
        except BlockingIOError:
            return
        except ConnectionError as error:
            raise ChannelClosed from error
        if not received:
            raise ChannelClosed
        raise BadFrame("it spoke out of turn")

    def receive(self, seconds: float) -> tuple[list[Any], int]:
        """-> (message, its size in bytes). Raises BadFrame, FrameTooLarge, ChannelClosed, DeadlinePassed."""
        deadline = monotonic() + seconds
        filled = self._receive_into(self._incoming)
        if filled >= 4 and filled == 4 + _LENGTH.unpack_from(self._incoming)[0] <= 4 + self._frame_bytes:
            total = filled  # all at once, as nearly always
        else:
            total = self._receive_rest(filled, deadline)
        self.bytes_received += total
        self.messages_received += 1
        return self._parse(total), total - 4

    def _receive_into(self, buffer: bytearray | memoryview) -> int:
        """How many bytes came before the tick; 0 for none."""
        try:
            count = self._end.recv_into(buffer)
        except BlockingIOError:
            return 0
        except ConnectionError as error:
            raise ChannelClosed from error
        if count == 0:
            raise ChannelClosed
        return count

    def _receive_rest(self, filled: int, deadline: float) -> int:
        """With `filled` bytes of a message there: its size, its length's bytes included."""
        total = 4
        while True:
            if filled >= 4 and total == 4:
                size: int = _LENGTH.unpack_from(self._incoming)[0]
                if size > self._frame_bytes:
                    raise FrameTooLarge(size)
                total += size
                if total > len(self._incoming):
                    self._incoming = self._incoming[:filled] + bytes(total - filled)
            if filled > total:
                raise BadFrame("it spoke out of turn: more follows its message")
            if filled == total:
                return total
            if monotonic() >= deadline:
                raise DeadlinePassed
            filled += self._receive_into(memoryview(self._incoming)[filled:])

    def _parse(self, end: int) -> list[Any]:
        data = self._incoming
        try:
            frame = self._decode(memoryview(data)[4:end])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
            raise BadFrame(f"not strict JSON: {str(error)[:200]}") from error
        if type(frame) is not list or not frame or type(frame[0]) is not str:
            raise BadFrame("not an array that begins with its kind")
        if data.count(b"[", 4, end) + data.count(b"{", 4, end) > MAX_DEPTH and _deeper_than(frame, MAX_DEPTH):
            raise BadFrame(f"nested deeper than {MAX_DEPTH} levels")
        if _LONG_NUMBER in data[4:end].translate(_ONLY_DIGITS) and _has_long_integer(frame):
            raise BadFrame("an integer of more than 64 bits")
        return frame


def _deeper_than(value: Any, levels: int) -> bool:
    """Whether arrays and objects are nested in more than `levels` levels."""
    layer: list[Any] = [value]
    for _ in range(levels):
        layer = [
            inner
            for outer in layer
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (list, dict))
        ]
        if not layer:
            return False
    return True


def _has_long_integer(value: Any) -> bool:
    """Call it on what is known not to be deep."""
    if isinstance(value, dict):
        return any(map(_has_long_integer, value.values()))
    if isinstance(value, list):
        return any(map(_has_long_integer, value))
    return isinstance(value, int) and value not in _INTEGERS
