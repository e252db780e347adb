"""Which failures of another service are waited for, and which are the operator's business."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from quintain_controller.usecases.patience import NeedsOperator, persist

from quintain.errors import Internal, QuintainError, Unavailable
from quintain_controller.config import RunnerSettings

AT_ONCE = RunnerSettings(first_retry_seconds=0.001, max_retry_seconds=0.001)


async def after(*failures: QuintainError) -> str:
    """What comes of a call that fails so, and then succeeds."""
    left: Iterator[QuintainError] = iter(failures)

    async def call() -> str:
        for failure in left:
            raise failure
        return "done"

    async def trouble(_: QuintainError) -> None:
        pass

    result = await persist("verifier", call, AT_ONCE, trouble, asyncio.Event())
    assert result is not None
    return result


async def test_a_service_that_is_away_for_long_is_waited_for() -> None:
    assert await after(*[Unavailable("away")] * 50) == "done"


async def test_a_death_in_a_run_counts_as_one_however_long_the_return_takes() -> None:
    away = [Unavailable("away")] * 10
    assert await after(Internal("died"), *away, Internal("died again"), *away) == "done"


async def test_three_faults_of_one_call_are_the_operators_business() -> None:
    with pytest.raises(NeedsOperator, match="third"):
        await after(Internal("first"), Unavailable("away"), Internal("second"), Internal("third"))
