"""Which failures of another service are waited for, and which are the operator's business."""

from __future__ import annotations

import pytest

from quintain.backoff import Backoff
from quintain.errors import (
    AlreadyExists,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    QuintainError,
    ResourceExhausted,
    Unavailable,
)
from quintain_controller.domain import retry
from quintain_controller.domain.machine.calls import CallTable
from quintain_controller.domain.machine.messages import CallKind, Verify
from quintain_controller.domain.model import Charge
from quintain_controller.domain.retry import NeedsOperator, RetryLater, WrongRequest


def decisions(*failures: QuintainError) -> list[retry.Decision]:
    """What is decided after each failure of one call."""
    calls = CallTable(Backoff(1.0, 10.0))
    call = calls.new(CallKind.VERIFY, 1)
    calls.sent(Verify(call, ("train",)))
    return [calls.failed(call, failure) for failure in failures]


def test_a_service_that_is_away_for_long_is_waited_for() -> None:
    assert decisions(*[Unavailable("away")] * 2000)[-1] == RetryLater(10.0)


def test_a_death_in_a_run_counts_as_one_however_long_the_return_takes() -> None:
    away = [Unavailable("away")] * 10
    found = decisions(Internal("died"), *away, Internal("died again"), *away)
    assert all(isinstance(decision, RetryLater) for decision in found)


def test_three_faults_of_one_call_are_the_operators_business() -> None:
    *waits, last = decisions(Internal("first"), Unavailable("away"), Internal("second"), Internal("third"))
    assert all(isinstance(decision, RetryLater) for decision in waits)
    assert last == NeedsOperator("verifier: INTERNAL: third")


@pytest.mark.parametrize("error", [FailedPrecondition("no key"), ResourceExhausted("quota used up")])
def test_what_waiting_does_not_help_is_the_operators_business(error: QuintainError) -> None:
    assert isinstance(decisions(error)[0], NeedsOperator)


@pytest.mark.parametrize("error", [InvalidArgument("no parents"), AlreadyExists("used")])
def test_a_wrong_request_is_not_repeated(error: QuintainError) -> None:
    assert isinstance(decisions(error)[0], WrongRequest)


def test_a_service_that_asks_for_a_longer_wait_gets_it() -> None:
    assert decisions(ResourceExhausted("slow down", retry_after_seconds=86_400.0)) == [RetryLater(86_400.0)]


@pytest.mark.parametrize(
    ("metadata", "charge"),
    [
        ({"calls": "3", "spent_usd": "0.02", "at_risk_usd": "0.5"}, Charge(20_000_000, at_risk_usd_nano=500_000_000)),
        ({"calls": "3"}, None),
        ({"spent_usd": "nan", "at_risk_usd": "0"}, None),
        ({"spent_usd": "-1", "at_risk_usd": "0"}, None),
        ({"spent_usd": "much", "at_risk_usd": "0"}, None),
    ],
)
def test_money_that_a_failed_request_has_cost_is_read_from_its_error(
    metadata: dict[str, str], charge: Charge | None
) -> None:
    assert retry.spent(Unavailable("broken off", metadata=metadata)) == charge
