"""Every typed error crosses the wire as google.rpc.Status and comes back as the same class with the same facts."""

from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from google.rpc import code_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from quintain.clients import Verifier
from quintain.errors import ERRORS_BY_CODE, FieldViolation, Internal, InvalidArgument, QuintainError
from quintain.wire.status import from_status, to_status

texts = st.text(max_size=40)


@given(
    kind=st.sampled_from(sorted(ERRORS_BY_CODE.values(), key=lambda e: e.code)),
    message=texts,
    reason=st.from_regex(r"[A-Z][A-Z_]{0,20}", fullmatch=True),
    metadata=st.dictionaries(texts, texts, max_size=3),
    retry=st.none() | st.integers(0, 10**6).map(lambda milliseconds: milliseconds / 1000),
    violations=st.lists(st.builds(FieldViolation, texts, texts), max_size=3),
)
def test_an_error_survives_the_round_trip(
    kind: type[QuintainError],
    message: str,
    reason: str,
    metadata: dict[str, str],
    retry: float | None,
    violations: list[FieldViolation],
) -> None:
    error = kind(message, reason=reason, metadata=metadata, retry_after_seconds=retry, violations=violations)
    wire = to_status(error).SerializeToString()
    back = from_status(status_pb2.Status.FromString(wire))
    assert type(back) is kind
    assert (back.message, back.reason, back.metadata) == (message, reason, metadata)
    assert back.retry_after_seconds == (pytest.approx(retry) if retry is not None else None)
    assert back.violations == tuple(violations)


def test_what_the_trailers_of_an_rpc_cannot_hold_is_cut() -> None:
    long = "\u4e2d" * 100_000
    error = InvalidArgument(long, metadata={"id": long}, violations=[FieldViolation("field", long)])
    back = from_status(to_status(error))
    assert len(to_status(error).SerializeToString()) < 2500
    assert back.message == "\u4e2d" * 400 + "..."
    assert back.metadata["id"].endswith("\u4e2d...")
    assert back.violations[0].field == "field"


def test_the_table_has_a_class_for_every_status_code_that_is_an_error() -> None:
    unused = {"OK", "UNKNOWN", "OUT_OF_RANGE", "UNIMPLEMENTED", "DATA_LOSS"}
    assert set(ERRORS_BY_CODE) == set(code_pb2.Code.keys()) - unused


def test_a_code_outside_the_table_becomes_internal() -> None:
    assert type(from_status(status_pb2.Status(code=code_pb2.DATA_LOSS, message="lost"))) is Internal


def test_the_wrong_service_at_an_address_is_said() -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with (
            Verifier(f"127.0.0.1:{port}") as verifier,
            pytest.raises(Internal, match="another service answers at that address, or an older one"),
        ):
            verifier.verify_policy("x = 1", simulator="faas", suite="smoke")
    finally:
        server.stop(None)


def test_a_field_violation_is_said_in_the_message_too() -> None:
    assert str(InvalidArgument.of("suite", "unknown; known: smoke")) == "suite: unknown; known: smoke"
