"""The trusted end of the channel: whatever bytes come, in whatever pieces: a message, or one of four errors."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.processes import PATIENCE

from quintain_verifier.sandbox.frames import (
    MAX_DEPTH,
    BadFrame,
    Channel,
    ChannelClosed,
    DeadlinePassed,
    FrameTooLarge,
)

LIMIT = 100_000
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)
quick = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def ends() -> Iterator[tuple[Channel, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Channel(ours, LIMIT), theirs


def _frame(body: bytes) -> bytes:
    return struct.pack("<I", len(body)) + body


def _exactly_equal(a: Any, b: Any) -> bool:
    return json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)


@quick
@given(JSON)
def test_a_value_arrives_as_it_was(ends: tuple[Channel, socket.socket], value: Any) -> None:
    channel, theirs = ends
    theirs.sendall(_frame(json.dumps(["answer", value], ensure_ascii=False).encode("utf-8", "surrogatepass")))
    frame, _ = channel.receive(1)
    assert _exactly_equal(frame, ["answer", value])
    channel.send(["ask", value], 1)
    sent = theirs.recv(1 << 20)
    assert _exactly_equal(json.loads(sent[4:]), ["ask", value])
    assert struct.unpack("<I", sent[:4])[0] == len(sent) - 4


@quick
@given(st.binary(max_size=200), st.booleans())
def test_no_bytes_surprise_it(data: bytes, framed: bool) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel = Channel(ours, LIMIT)
        theirs.sendall(_frame(data) if framed else data)
        theirs.close()
        try:
            frame, _ = channel.receive(1)
        except (BadFrame, FrameTooLarge, ChannelClosed):
            return
        assert isinstance(frame[0], str)
        json.dumps(frame, allow_nan=False)


@quick
@given(st.data())
def test_pieces_do_not_matter(ends: tuple[Channel, socket.socket], data: st.DataObject) -> None:
    channel, theirs = ends
    value = ["answer", "x" * data.draw(st.integers(0, 3000))]
    rest = _frame(json.dumps(value).encode())
    cuts = sorted(data.draw(st.sets(st.integers(0, len(rest)), max_size=8)))
    pieces = [rest[a:b] for a, b in zip([0, *cuts], [*cuts, len(rest)], strict=True)]

    def write() -> None:
        for piece in pieces:
            theirs.sendall(piece)

    writer = threading.Thread(target=write)
    writer.start()
    assert channel.receive(PATIENCE)[0] == value
    writer.join()


@pytest.mark.parametrize(("depth", "fits"), [(MAX_DEPTH, True), (MAX_DEPTH + 1, False)])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_depth_is_bounded(
    ends: tuple[Channel, socket.socket], depth: int, fits: bool, opening: str, closing: str
) -> None:
    channel, theirs = ends
    inner = depth - 1  # the message's own array is the first level
    theirs.sendall(_frame(f'["answer",{opening * inner}1{closing * inner}]'.encode()))
    if fits:
        channel.receive(1)
    else:
        with pytest.raises(BadFrame, match="nested deeper"):
            channel.receive(1)


@pytest.mark.parametrize("number", ["9223372036854775808", "-9223372036854775809", "1" + "0" * 400])
@pytest.mark.parametrize("shape", ['["answer",{}]', '["answer",[1.5,{{"ram":{}}}]]'])
def test_an_integer_of_more_than_64_bits_is_refused(
    ends: tuple[Channel, socket.socket], number: str, shape: str
) -> None:
    channel, theirs = ends
    theirs.sendall(_frame(shape.format(number).encode()))
    with pytest.raises(BadFrame, match="64 bits"):
        channel.receive(1)


@pytest.mark.parametrize("value", [2**63 - 1, -(2**63), 0.1234567890123456789, "9" * 400, 1e300])
def test_other_long_numbers_are_fine(ends: tuple[Channel, socket.socket], value: Any) -> None:
    channel, theirs = ends
    theirs.sendall(_frame(json.dumps(["answer", value]).encode()))
    assert channel.receive(1)[0] == ["answer", value]


def test_wide_is_not_deep(ends: tuple[Channel, socket.socket]) -> None:
    channel, theirs = ends
    theirs.sendall(_frame(json.dumps(["answer", [[n] for n in range(5000)]]).encode()))
    assert len(channel.receive(1)[0][1]) == 5000


def test_a_length_over_the_limit_is_refused_before_its_bytes_come(ends: tuple[Channel, socket.socket]) -> None:
    channel, theirs = ends
    theirs.sendall(struct.pack("<I", LIMIT + 1))
    with pytest.raises(FrameTooLarge) as caught:
        channel.receive(1)
    assert caught.value.size == LIMIT + 1


def test_a_drip_of_bytes_meets_the_deadline(ends: tuple[Channel, socket.socket]) -> None:
    channel, theirs = ends
    stop = threading.Event()

    def drip() -> None:
        theirs.sendall(struct.pack("<I", LIMIT))  # its end is minutes away
        while not stop.wait(0.005):
            theirs.sendall(b"[")

    writer = threading.Thread(target=drip)
    writer.start()
    started = time.monotonic()
    with pytest.raises(DeadlinePassed):  # a drip that counted as progress would go on for 5 s
        channel.receive(0.3)
    stop.set()
    writer.join()
    assert time.monotonic() - started >= 0.3


def test_silence_meets_the_deadline(ends: tuple[Channel, socket.socket]) -> None:
    channel, _ = ends
    with pytest.raises(DeadlinePassed):
        channel.receive(0.1)


def test_a_reader_that_does_not_read_meets_the_deadline(ends: tuple[Channel, socket.socket]) -> None:
    channel, _ = ends
    with pytest.raises(DeadlinePassed):
        channel.send(["ask", "x" * 10_000_000], 0.2)


def test_a_large_message_arrives_in_both_directions() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel = Channel(ours, 8 << 20)
        body = json.dumps(["answer", "y" * 5_000_000]).encode()
        heard: list[bytes] = []

        def other_end() -> None:
            data = b""
            while len(data) < 5_000_000:
                data += theirs.recv(1 << 20)
            heard.append(data)
            theirs.sendall(_frame(body))

        thread = threading.Thread(target=other_end)
        thread.start()
        channel.send(["ask", "x" * 5_000_000], PATIENCE)
        frame, size = channel.receive(PATIENCE)
        thread.join()
        assert (size, frame[1][:2], len(heard[0])) == (len(body), "yy", 5_000_000 + 4 + len('["ask",""]'))


def test_speaking_out_of_turn_is_noticed_before_the_next_question(ends: tuple[Channel, socket.socket]) -> None:
    channel, theirs = ends
    theirs.sendall(b"x")
    with pytest.raises(BadFrame, match="out of turn"):
        channel.send(["ask", 1], 1)
