"""The store keeps what it is told, on SQLite and PostgreSQL alike."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from quintain.errors import Aborted, AlreadyExists, Unavailable
from quintain.plugins.backend import BackendReply, CallOutcome, Message, Usage
from quintain_generator.adapters.store.sql import GenerationStore, Request, Standing, StoreError
from quintain_generator.domain.generation import CallRecord, Cost, Generation, Outcome

REQUEST = Request("r1", "digest", "llm", "m")
PROMPT = (Message("system", "Be good.", cache_breakpoint=True), Message("user", "Now: äöü \x00 \U0001f600"))
REPLY = BackendReply(CallOutcome.OK, text="a\x00b \u2028", usage=Usage(1, 2, 3, 4, 5), provider_request_id="req_1")
CALL = CallRecord(1, PROMPT, 0.5, REPLY, 1.25, 0.1, 0.0)
RESULT = Generation(
    request_id="r1", backend="llm", model="m", outcome=Outcome.OK, source="x = 1\n", rationale="why",
    response_text=REPLY.text, prompt=PROMPT, usage=Usage(1, 2, 3, 4, 5), cost=Cost(0.1, False, 0.0, "row"),
    calls=(CALL,), detail="", ast_digest="d", hints=("h",), finished_at=1234.5,
)  # fmt: skip


def opened(url: str) -> GenerationStore:
    store = GenerationStore(url)
    store.open()
    return store


def test_everything_comes_back_as_it_was_after_a_restart(store_url: str) -> None:
    store = opened(store_url)
    assert store.begin(REQUEST).standing is Standing.MINE
    store.intend("r1", 1, PROMPT, 0.5)
    store.settle("r1", CALL)
    store.finish(RESULT)
    store.close()
    again = opened(store_url)
    begun = again.begin(REQUEST)
    assert (begun.standing, begun.result) == (Standing.DONE, RESULT)
    assert again.find("r1") == (REQUEST, RESULT)
    assert again.find("r2") is None
    assert again.abandoned() == []
    again.close()


def test_a_call_without_an_outcome_is_found_after_a_restart(store_url: str) -> None:
    store = opened(store_url)
    store.begin(REQUEST)
    store.intend("r1", 1, PROMPT, None)
    store.close()
    again = opened(store_url)
    assert again.abandoned() == [REQUEST]
    assert again.begin(REQUEST).calls == (CallRecord(1, PROMPT, None),)
    again.close()


def test_a_released_request_goes_on_with_its_calls_and_its_first_backend(store_url: str) -> None:
    store = opened(store_url)
    store.begin(REQUEST)
    store.intend("r1", 1, PROMPT, 0.5)
    store.settle("r1", CALL)
    store.release("r1")
    begun = store.begin(replace(REQUEST, backend="another"))
    assert (begun.request.backend, begun.calls) == ("llm", (CALL,))
    store.close()


def test_an_id_is_for_one_task(store_url: str) -> None:
    store = opened(store_url)
    store.begin(REQUEST)
    with pytest.raises(AlreadyExists):
        store.begin(replace(REQUEST, task_digest="other"))
    store.close()


def test_what_is_not_owned_cannot_be_written(store_url: str) -> None:
    store = opened(store_url)
    store.begin(REQUEST)
    store.release("r1")
    with pytest.raises(Aborted):
        store.intend("r1", 1, PROMPT, 0.5)
    with pytest.raises(Aborted):
        store.finish(RESULT)
    store.close()


def test_many_threads_write_at_once(store_url: str) -> None:
    store = opened(store_url)

    def whole(number: int) -> None:
        request_id = f"r{number}"
        store.begin(replace(REQUEST, request_id=request_id))
        store.intend(request_id, 1, PROMPT, 0.5)
        store.settle(request_id, CALL)
        store.finish(replace(RESULT, request_id=request_id))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(whole, range(24)))
    assert all(store.find(f"r{n}") is not None for n in range(24))
    store.close()


def test_a_database_in_memory_is_refused() -> None:
    with pytest.raises(StoreError, match="in-memory"):
        GenerationStore("sqlite://").open()


def test_a_database_that_fails_is_unavailable_and_says_nothing_private(tmp_path: Path) -> None:
    store = opened(f"sqlite:///{tmp_path}/store.db")
    with sqlite3.connect(tmp_path / "store.db") as connection:
        connection.execute("DROP TABLE generation_call")
        connection.execute("DROP TABLE generation")
    with pytest.raises(Unavailable, match="the store of generations failed: OperationalError") as error:
        store.begin(REQUEST)
    assert error.value.reason == "STORE_DOWN"
    store.close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("a-secret of no scheme", "store_url: .*it is sqlite:///FILE or postgresql"),
        ("nosuch://user:a-secret@host/db", "store_url: .*nosuch"),
        (
            "postgresql+psycopg://user:a-secret@127.0.0.1:1/db",
            r"user:\*\*\*@127.0.0.1:1/db cannot be opened: .*refused",
        ),
    ],
)
def test_a_database_that_cannot_be_opened_is_said_in_one_line_without_the_password(url: str, said: str) -> None:
    with pytest.raises(StoreError, match=said) as caught:
        GenerationStore(url).open()
    assert "a-secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
