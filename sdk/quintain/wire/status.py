"""The one table between `quintain.errors` and google.rpc.Status, both ways."""

from __future__ import annotations

import grpc
from google.protobuf import duration_pb2
from google.protobuf.message import DecodeError
from google.rpc import code_pb2, error_details_pb2, status_pb2

from quintain.errors import ERRORS_BY_CODE, FieldViolation, Internal, QuintainError

DOMAIN = "quintain"
DETAILS_KEY = "grpc-status-details-bin"

# gRPC drops trailers beyond 8 kB, and with them the code, the reason and the details. The message is sent twice, once
# with three characters for a byte that is not printable ASCII.
_MAX_MESSAGE_BYTES = 1200
_MAX_VALUE_BYTES = 250


def to_status(error: QuintainError) -> status_pb2.Status:
    """What is too long to be sent is cut; the log has the whole."""
    message = _cut(error.message, _MAX_MESSAGE_BYTES)
    status = status_pb2.Status(code=code_pb2.Code.Value(error.code), message=message)
    metadata = {key: _cut(value, _MAX_VALUE_BYTES) for key, value in error.metadata.items()}
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata)
    status.details.add().Pack(info)
    if error.retry_after_seconds is not None:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(int(error.retry_after_seconds * 1e9))
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    if error.violations:
        bad = error_details_pb2.BadRequest()
        for violation in error.violations:
            bad.field_violations.add(field=violation.field, description=_cut(violation.message, _MAX_VALUE_BYTES))
        status.details.add().Pack(bad)
    return status


def _cut(text: str, most: int) -> str:
    data = text.encode("utf-8", "replace")
    return text if len(data) <= most else data[:most].decode("utf-8", "ignore") + "..."


def from_status(status: status_pb2.Status) -> QuintainError:
    kind = ERRORS_BY_CODE.get(code_pb2.Code.Name(status.code), Internal)
    reason, metadata, retry_after, violations = "", {}, None, []
    for detail in status.details:
        info, retry, bad = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            reason, metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(retry):
            retry_after = retry.retry_delay.ToNanoseconds() / 1e9
        elif detail.Unpack(bad):
            violations = [FieldViolation(v.field, v.description) for v in bad.field_violations]
    return kind(
        status.message, reason=reason, metadata=metadata, retry_after_seconds=retry_after, violations=violations
    )


def is_from_server(error: grpc.RpcError) -> bool:
    """Whether a server of ours said so, and not gRPC itself because it reached none."""
    call: grpc.Call = error  # type: ignore[assignment]  # every RpcError that a call raises is a Call too
    return any(key == DETAILS_KEY for key, _ in call.trailing_metadata() or ())


def from_rpc_error(error: grpc.RpcError) -> QuintainError:
    """The typed error in a failed call (sync or asyncio). A status without details keeps its code and message."""
    call: grpc.Call = error  # type: ignore[assignment]  # every RpcError that a call raises is a Call too
    for key, value in call.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            try:
                return from_status(status_pb2.Status.FromString(value))
            except DecodeError:
                break
    kind = ERRORS_BY_CODE.get(call.code().name, Internal)
    message = call.details() or call.code().name
    if "larger than max" in message:  # gRPC's own words, which name neither setting nor remedy
        message += "; raise max_message_bytes on both sides, or send less (a trace may come packed, as .csv.gz)"
    if call.code() is grpc.StatusCode.UNIMPLEMENTED:  # "Method not found!" alone tells nobody what to mend
        message = (
            f"the server does not have this call: another service answers at that address, or an older one ({message})"
        )
    return kind(message)
