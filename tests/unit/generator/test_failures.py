"""Failures of providers are told apart by status and by the provider's own names."""

from __future__ import annotations

import email.utils
import time

import httpx2
import pytest

from quintain.plugins.backend import BackendReply, CallOutcome, Usage
from quintain_generator.backends.failures import broken, retry_after
from quintain_generator.backends.llm import model_traits
from quintain_generator.backends.provider_words import classify
from quintain_generator.backends.wire import usage_of
from quintain_generator.domain.generation import is_uncertain


@pytest.mark.parametrize(
    ("status", "names", "outcome"),
    [
        (429, ("insufficient_quota", "insufficient_quota"), CallOutcome.SPEND_LIMIT),
        (429, ("enforced_spend_limit_reached", "rate_limit_error"), CallOutcome.SPEND_LIMIT),
        (400, (None, "billing_error"), CallOutcome.SPEND_LIMIT),
        (402, (None, None), CallOutcome.SPEND_LIMIT),
        (429, ("rate_limit_exceeded", "requests"), CallOutcome.RATE_LIMITED),
        (401, ("invalid_api_key",), CallOutcome.AUTH),
        (403, (None,), CallOutcome.AUTH),
        (400, ("content_filter",), CallOutcome.CONTENT_FILTER),
        (400, ("context_length_exceeded", "invalid_request_error"), CallOutcome.BAD_REQUEST),
        (404, ("model_not_found",), CallOutcome.BAD_REQUEST),
        (500, (None, "api_error"), CallOutcome.SERVER_ERROR),
        (503, (None,), CallOutcome.OVERLOADED),
        (529, (None, "overloaded_error"), CallOutcome.OVERLOADED),
        (418, ("teapot",), CallOutcome.BAD_REQUEST),
        (599, ("unheard_of",), CallOutcome.SERVER_ERROR),
        (307, (None,), CallOutcome.BAD_REQUEST),
        (429, ({"code": 1}, ["x"], 7), CallOutcome.RATE_LIMITED),
        (425, (None,), CallOutcome.SERVER_ERROR),
        # Inside a stream that began with 200, only the name tells.
        (200, (None, "overloaded_error"), CallOutcome.OVERLOADED),
        (200, ("rate_limit_exceeded",), CallOutcome.RATE_LIMITED),
        (200, ("something_new",), CallOutcome.SERVER_ERROR),
        (200, ("context_length_exceeded",), CallOutcome.BAD_REQUEST),
        # ... or a number that would have been the status.
        (200, (429, "TooManyRequestsError"), CallOutcome.RATE_LIMITED),
        (200, ("400", "BadRequestError"), CallOutcome.BAD_REQUEST),
        (200, (503, "unavailable_error"), CallOutcome.OVERLOADED),
        (200, (42, "unheard_of"), CallOutcome.SERVER_ERROR),
    ],
)
def test_an_error_is_what_the_provider_means(status: int, names: tuple[object, ...], outcome: CallOutcome) -> None:
    assert classify(status, *names) is outcome


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "Wed, 99 Foo 99999 99:99:99 GMT"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7.0),
        ({"retry-after-ms": "-1", "retry-after": ""}, None),
        ({"retry-after-ms": "inf"}, 30 * 86400.0),
        ({"retry-after": "9" * 400}, 30 * 86400.0),
        ({"retry-after": "Wed, 21 Oct 9999 07:28:00 GMT"}, 30 * 86400.0),
    ],
)
def test_retry_after_is_read_in_every_form(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


def test_retry_after_may_be_a_date_to_come() -> None:
    seconds = retry_after({"retry-after": email.utils.formatdate(time.time() + 60, usegmt=True)})
    assert seconds is not None
    assert 55 < seconds <= 61


@pytest.mark.parametrize(
    ("reply", "uncertain"),
    [
        (BackendReply(CallOutcome.OK, text="x"), False),
        (BackendReply(CallOutcome.REFUSAL), False),
        (BackendReply(CallOutcome.RATE_LIMITED), False),
        (BackendReply(CallOutcome.OVERLOADED), False),
        (BackendReply(CallOutcome.OVERLOADED, text="had begun"), True),
        (BackendReply(CallOutcome.SERVER_ERROR, usage=Usage(5)), True),
        (BackendReply(CallOutcome.TIMEOUT), True),
        (BackendReply(CallOutcome.CONNECTION), True),
        (BackendReply(CallOutcome.CONNECTION, sent=False), False),
        (BackendReply(CallOutcome.MALFORMED), True),
        (BackendReply(CallOutcome.UNKNOWN), True),
    ],
)
def test_only_a_failure_that_may_have_been_charged_is_uncertain(reply: BackendReply, uncertain: bool) -> None:
    assert is_uncertain(reply) is uncertain


def test_an_unknown_model_gets_the_plain_minimum() -> None:
    assert model_traits("somebody/new-model", None).efforts == ()
    assert not model_traits("somebody/new-model", None).cache_breakpoints
    assert "high" in model_traits("claude-opus-5-5", None).efforts


@pytest.mark.parametrize("count", [-1, "many", 1.5, 10**30, [], True])
def test_a_count_that_cannot_be_is_no_meter_reading(count: object) -> None:
    def reading(**changed: object) -> Usage | None:
        counts = {"prompt": 10, "output": 5, "cached": 4, "written": None, "reasoning": 2, **changed}
        return usage_of(prompt_has_all=True, **counts)

    assert reading() == Usage(6, 4, 0, 5, 2)
    assert [reading(**{name: count}) for name in ("prompt", "output", "cached", "written")] == [None] * 4
    assert reading(cached=11) is None  # more than the whole
    assert reading(reasoning=count) == Usage(6, 4, 0, 5, 0)
    assert reading(reasoning=7) == Usage(6, 4, 0, 5, 5)


@pytest.mark.parametrize(
    ("error", "outcome", "sent"),
    [
        (httpx2.ConnectError("refused"), CallOutcome.CONNECTION, False),
        (httpx2.ConnectTimeout("nobody"), CallOutcome.CONNECTION, False),
        (httpx2.PoolTimeout("too many"), CallOutcome.CONNECTION, False),
        (httpx2.ProxyError("407"), CallOutcome.CONNECTION, False),
        (httpx2.ReadTimeout("slow"), CallOutcome.TIMEOUT, True),
        (httpx2.ReadError("reset"), CallOutcome.CONNECTION, True),
        (httpx2.WriteError("reset"), CallOutcome.CONNECTION, True),
        (httpx2.RemoteProtocolError("cut"), CallOutcome.CONNECTION, True),
        (httpx2.DecodingError("rubbish"), CallOutcome.MALFORMED, True),
    ],
)
def test_only_a_request_that_certainly_never_left_costs_nothing(
    error: httpx2.HTTPError, outcome: CallOutcome, sent: bool
) -> None:
    wrapped = RuntimeError("the SDK's own")
    wrapped.__cause__ = error
    reply = broken(wrapped)
    assert (reply.outcome, reply.sent) == (outcome, sent)
