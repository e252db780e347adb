"""An answer is complete when it says so and nothing proves the contrary; a body is what it is, whatever its label."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quintain.plugins.backend import CallOutcome
from quintain_generator.backends.answer import DOUBT_SECONDS, END_SECONDS, METER_SECONDS
from quintain_generator.backends.body import Document, Item, NotTheProtocol, StreamEnd, StreamEvent, Text, read_body
from quintain_generator.backends.openai_chat import ChatAnswer
from quintain_generator.backends.provider_words import complaint_of, finish_outcome, quoted


def chunk(text: str = "", finish: str | None = None, usage: dict[str, int] | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}], "usage": usage}


def chat(*chunks: dict[str, Any]) -> ChatAnswer:
    answer = ChatAnswer(1000)
    for one in chunks:
        assert answer.take_event(one, "")
        answer.events += 1
    return answer


def test_a_finish_reason_that_text_follows_was_no_end() -> None:
    """Some servers send one in every piece; a slow one must not be cut after the first."""
    answer = chat(chunk("half", "stop", usage={"prompt_tokens": 1, "completion_tokens": 1}))
    assert answer.seconds_to_end == DOUBT_SECONDS
    answer.take_event(chunk(" and half", "stop"), "")
    assert answer.seconds_to_end is None
    assert answer.reply("", "there").outcome is CallOutcome.CONNECTION
    answer.end()
    assert (answer.seconds_to_end, answer.reply("", "there").text) == (END_SECONDS, "half and half")


def test_a_finish_reason_by_itself_is_waited_for_no_longer_than_the_meter_needs() -> None:
    assert chat(chunk("all"), chunk("", "stop")).seconds_to_end == METER_SECONDS
    reading = {"prompt_tokens": 1, "completion_tokens": 1}
    assert chat(chunk("all"), chunk("", "stop", reading)).seconds_to_end == END_SECONDS
    assert chat(chunk("all")).seconds_to_end is None


def test_an_answer_without_a_finish_reason_that_used_all_its_tokens_was_cut() -> None:
    answer = chat(chunk("half", usage={"prompt_tokens": 1, "completion_tokens": 1000}))
    answer.end()
    assert answer.reply("", "there").outcome is CallOutcome.TRUNCATED


def test_an_answer_that_a_server_takes_for_thoughts_is_read() -> None:
    answer = chat({"choices": [{"delta": {"content": "", "reasoning": "the policy"}, "finish_reason": "stop"}]})
    reply = answer.reply("", "there")
    assert (reply.outcome, reply.text) == (CallOutcome.OK, "the policy")


@pytest.mark.parametrize(
    ("reason", "outcome"),
    [
        ("stop", CallOutcome.OK),
        ("STOP", CallOutcome.OK),
        ("end_turn", CallOutcome.OK),
        ("EOS", CallOutcome.OK),
        ("COMPLETE", CallOutcome.OK),
        ("something_new", CallOutcome.OK),
        ("tool_calls", CallOutcome.OK),
        ("length", CallOutcome.TRUNCATED),
        ("MAX_TOKENS", CallOutcome.TRUNCATED),
        ("maxTokens", CallOutcome.TRUNCATED),
        ("FINISH_REASON_MAX_TOKENS", CallOutcome.TRUNCATED),
        ("max_output_tokens", CallOutcome.TRUNCATED),
        ("model_context_window_exceeded", CallOutcome.TRUNCATED),
        ("LENGTH_CAPPED", CallOutcome.TRUNCATED),
        ("OTHER", CallOutcome.TRUNCATED),
        ("SAFETY", CallOutcome.CONTENT_FILTER),
        ("RECITATION", CallOutcome.CONTENT_FILTER),
        ("content-filter", CallOutcome.CONTENT_FILTER),
        ("guardrail_intervened", CallOutcome.CONTENT_FILTER),
        ("PROHIBITED_CONTENT", CallOutcome.CONTENT_FILTER),
        ("Refusal", CallOutcome.REFUSAL),
        ("error", CallOutcome.SERVER_ERROR),
        ("ABORT", CallOutcome.SERVER_ERROR),
        ("MALFORMED_FUNCTION_CALL", CallOutcome.SERVER_ERROR),
        ("network_error", CallOutcome.SERVER_ERROR),
        ("insufficient_system_resource", CallOutcome.OVERLOADED),
    ],
)
def test_a_finish_reason_means_the_same_in_every_spelling(reason: str, outcome: CallOutcome) -> None:
    assert finish_outcome(reason) is outcome


@pytest.mark.parametrize(
    ("body", "words", "names"),
    [
        ('{"error": {"message": "m", "type": "t", "code": 7}}', "m", {"t", 7}),
        ('{"error": "model not found"}', "model not found", {"model not found"}),
        ('{"detail": "Not Found"}', "Not Found", set()),
        ('{"detail": [{"loc": ["body", "n"], "msg": "too large", "type": "v"}]}', "body.n: too large", {"v"}),
        ('{"object": "error", "message": "m", "code": 400}', "m", {400}),
        ('{"message": "Unauthorized", "request_id": "x"}', "Unauthorized", set()),
        ('[{"error": {"code": 400, "message": "m", "status": "INVALID_ARGUMENT"}}]', "m", {400, "INVALID_ARGUMENT"}),
        ('{"success": false, "errors": [{"code": 7003, "message": "no route"}]}', "no route", {7003}),
        ('{"code": 1113, "msg": "no balance", "success": false}', "no balance", {1113}),
        ('{"base_resp": {"status_code": 1008, "status_msg": "no balance"}}', "no balance", {1008}),
        ('{"error": {"message": "Provider returned error", "metadata": {"raw": "upstream said no"}}}',
         "Provider returned error; upstream said no", set()),
        ('{"errors": {"title": "t", "detail": "d"}}', "t; d", set()),
        ('{"odd": 1}', '{"odd": 1}', set()),
        ("plain words", "plain words", set()),
        ("<html><head><style>x{}</style></head><h1>502 Bad&nbsp;Gateway</h1></html>", "502 Bad Gateway", set()),
        ("", "", set()),
    ],
)  # fmt: skip
def test_the_words_of_an_error_are_found_in_every_shape(body: str, words: str, names: set[object]) -> None:
    said = complaint_of(body)
    assert said.words == words
    assert set(said.names) == names


def test_a_wait_may_stand_in_the_body() -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "36s"}]
    assert complaint_of(json.dumps({"error": {"message": "m", "details": details}})).wait_seconds == 36.0


_SCALARS = st.none() | st.booleans() | st.integers() | st.text()


@given(st.recursive(_SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_any_json_can_be_looked_through_for_words(value: Any) -> None:
    assert isinstance(complaint_of(json.dumps(value)).words, str)
    assert isinstance(quoted(json.dumps(value)), str)


async def _read(body: bytes, size: int) -> list[Item]:
    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(body), size):
            yield body[at : at + size]

    return [item async for item in read_body(chunks())]


STREAM = """retry: 1

: note
data: {"a": "ö\u2028x"}

event: ping

event: e
data: {
data: "b": 2}

data: [DONE]

"""
READ = [StreamEvent("", {"a": "ö\u2028x"}), StreamEvent("e", {"b": 2}), StreamEnd()]


@given(st.integers(1, 40), st.sampled_from(["\n", "\r\n", "\r"]))
async def test_a_stream_is_the_same_events_however_it_is_cut_and_whatever_ends_its_lines(size: int, end: str) -> None:
    assert await _read(STREAM.replace("\n", end).encode(), size) == READ


@pytest.mark.parametrize(
    ("body", "items"),
    [
        (b'{"a": 1}', [Document({"a": 1})]),
        (b'\xef\xbb\xbf\n\n {"a":\n 1}\n', [Document({"a": 1})]),
        (b'{"a": 1}\n{"a": 2}\n', [StreamEvent("", {"a": 1}), StreamEvent("", {"a": 2})]),
        (b'data: {"a": 1}\ndata: [DONE]', [StreamEvent("", {"a": 1}), StreamEnd()]),
        (b': note\n\n{"error": "x"}', [StreamEvent("", {"error": "x"})]),
        (b"data: please wait\n\n", [Text("please wait")]),
        (b": note\nnonsense\n\n", [Text("nonsense")]),
        (b"<html>\nhello", [Text("<html>\nhello")]),
        (b"", []),
        (b"\n\n", []),
    ],
)
async def test_a_body_is_read_by_what_it_is(body: bytes, items: list[Item]) -> None:
    assert await _read(body, 3) == items


@pytest.mark.parametrize("body", [b'{"a": ', b"data: {not json\n\n", b'data: "\xff"\n\n', b'{"a": "\xff"}'])
async def test_what_cannot_be_read_is_told_in_plain_words(body: bytes) -> None:
    with pytest.raises(NotTheProtocol, match=r"JSON|UTF-8"):
        await _read(body, 7)
