"""The one table between `quintain.errors` and google.rpc.Status, both ways."""

from __future__ import annotations

import grpc
from google.protobuf import duration_pb2
from google.protobuf.message import DecodeError
from google.rpc import code_pb2, error_details_pb2, status_pb2

from quintain.errors import ERRORS_BY_CODE, FieldViolation, Internal, QuintainError

DOMAIN = "quintain"
DETAILS_KEY = "grpc-status-details-bin"


def to_status(error: QuintainError) -> status_pb2.Status:
    status = status_pb2.Status(code=code_pb2.Code.Value(error.code), message=error.message)
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)
    status.details.add().Pack(info)
    if error.retry_after_seconds is not None:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(int(error.retry_after_seconds * 1e9))
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    if error.violations:
        bad = error_details_pb2.BadRequest()
        for violation in error.violations:
            bad.field_violations.add(field=violation.field, description=violation.message)
        status.details.add().Pack(bad)
    return status


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
