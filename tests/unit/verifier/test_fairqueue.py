"""Who gets the next worker."""

from __future__ import annotations

import asyncio

import pytest

from quintain.errors import ResourceExhausted
from quintain_verifier.usecases.fair_queue import FairQueue, Ticket


def refuse(error: ResourceExhausted) -> None:
    raise AssertionError("nobody should lose a place here")


class Office:
    """A queue with numbered workers, and a log of who was served."""

    def __init__(self, most_waiting: int = 100) -> None:
        self.queue: FairQueue[int] = FairQueue(most_waiting, lambda: 2.5)
        self.served: list[str] = []
        self.held: list[tuple[Ticket[int], int]] = []

    async def want(self, caller: str, workers: int = 1) -> Ticket[int]:
        ticket = self.queue.enter(caller, refuse)
        for _ in range(workers):
            asyncio.create_task(self._serve(ticket))  # noqa: RUF006 - ends when the test does
        await asyncio.sleep(0)
        return ticket

    async def _serve(self, ticket: Ticket[int]) -> None:
        worker = await ticket.acquire()
        self.served.append(ticket.caller)
        self.held.append((ticket, worker))

    async def finish_one(self) -> None:
        ticket, worker = self.held.pop(0)
        ticket.release()
        self.queue.add_idle(worker)
        await asyncio.sleep(0)


async def test_a_caller_with_one_request_does_not_wait_behind_a_caller_with_twenty() -> None:
    office = Office()
    await office.want("greedy", workers=20)
    await office.want("modest")
    office.queue.add_idle(1)
    await asyncio.sleep(0)
    for _ in range(2):
        await office.finish_one()
    assert "modest" in office.served[:2]


async def test_two_callers_share_the_workers_evenly() -> None:
    office = Office()
    await office.want("a", workers=10)
    await office.want("b", workers=10)
    for worker in range(4):
        office.queue.add_idle(worker)
    await asyncio.sleep(0)
    assert sorted(office.served) == ["a", "a", "b", "b"]
    for _ in range(8):
        await office.finish_one()
    assert abs(office.served.count("a") - office.served.count("b")) <= 1


async def test_within_a_caller_first_come_is_first_served() -> None:
    office = Office()
    tickets = [await office.want("a") for _ in range(3)]
    assert [t.position for t in tickets] == [1, 2, 3]
    office.queue.add_idle(1)
    await asyncio.sleep(0)
    assert [t.position for t in tickets] == [0, 1, 2]


async def test_a_full_queue_refuses_and_says_when_to_come_back() -> None:
    office = Office(most_waiting=2)
    await office.want("a")
    await office.want("a")
    with pytest.raises(ResourceExhausted) as refusal:
        office.queue.enter("a", refuse)
    assert refusal.value.retry_after_seconds == 2.5
    assert refusal.value.reason == "QUEUE_FULL"


async def test_a_caller_who_fills_the_queue_gives_up_a_place_to_another() -> None:
    queue: FairQueue[int] = FairQueue(3, lambda: 1.0)
    lost: list[int] = []
    for number in range(3):
        queue.enter("greedy", lambda error, n=number: lost.append(n))  # type: ignore[misc]
    queue.enter("modest", refuse)
    assert lost == [2]  # the newest one
    with pytest.raises(ResourceExhausted):
        queue.enter("greedy", refuse)
    with pytest.raises(ResourceExhausted):
        queue.enter("modest", refuse)  # would then have as many as the greedy one


async def test_a_request_that_gives_up_while_it_waits_costs_no_worker() -> None:
    queue: FairQueue[int] = FairQueue(3, lambda: 1.0)
    ticket = queue.enter("a", refuse)
    waiting = asyncio.create_task(ticket.acquire())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    queue.leave(ticket)
    queue.add_idle(7)
    assert await queue.enter("b", refuse).acquire() == 7


async def test_a_worker_handed_out_in_the_moment_of_giving_up_goes_to_the_next() -> None:
    queue: FairQueue[int] = FairQueue(3, lambda: 1.0)
    ticket = queue.enter("a", refuse)
    waiting = asyncio.create_task(ticket.acquire())
    await asyncio.sleep(0)
    queue.add_idle(7)  # given, but the task has not run since
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert not queue.is_busy
    assert await queue.enter("b", refuse).acquire() == 7


async def test_a_worker_that_died_while_idle_is_not_handed_out() -> None:
    queue: FairQueue[int] = FairQueue(3, lambda: 1.0)
    queue.add_idle(1)
    queue.add_idle(2)
    queue.drop_idle(2)
    assert await queue.enter("a", refuse).acquire() == 1


async def test_no_request_holds_all_workers_while_another_of_its_caller_waits() -> None:
    office = Office()
    large = await office.want("a", workers=6)
    for worker in range(2):
        office.queue.add_idle(worker)
    await asyncio.sleep(0)
    assert large.running == 2
    small = await office.want("a", workers=6)
    for _ in range(4):
        await office.finish_one()
        assert (large.running, small.running) == (1, 1)
