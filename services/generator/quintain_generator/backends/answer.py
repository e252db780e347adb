"""One answer of a provider as it arrives, the same for every dialect: when it is over, and what it comes to."""

from __future__ import annotations

import abc
import asyncio
from dataclasses import replace
from typing import Any, ClassVar

import httpx2

from quintain.plugins.backend import BackendCall, BackendReply, CallOutcome, ToolCall, Usage
from quintain_generator.backends.body import Document, NotTheProtocol, StreamEnd, StreamEvent, Text, read_body
from quintain_generator.backends.failures import broken, complained, cut_off, malformed, no_answer, with_answer
from quintain_generator.backends.provider_words import Complaint, complaint_in, finish_outcome, is_complaint
from quintain_generator.backends.wire import words

END_SECONDS = 0.5
"""How long a stream whose answer is complete may take to end, so that its connection can be used again."""
METER_SECONDS = 5.0
"""The same for a stream whose meter reading may be still to come."""
DOUBT_SECONDS = 60.0
"""The same for one that gave its finish reason along with text: some servers do so in every piece."""
_MAX_ASIDE_CHARACTERS = 2000


class Answer(abc.ABC):
    """What has arrived so far. A dialect says what its events mean by `add`, `stop`, `end` and the fields.

    An answer is complete when its finish reason came and no text after it (text proves that the reason meant nothing),
    or when the stream says so itself, or when its body is one document.
    """

    request_id_header: ClassVar[str] = "x-request-id"

    def __init__(self, max_output_tokens: int) -> None:
        self.request_id = ""
        self.model = ""
        self.usage: Usage | None = None
        self.refusal = ""
        self.reasoning = ""
        self.explanation = ""
        self.failure: BackendReply | None = None
        self.complaint: Complaint | None = None  # words that are no error unless the answer stays incomplete
        self.characters = 0
        self.events = 0
        self.conversing = False  # tools were offered
        self._max_output_tokens = max_output_tokens
        self._parts: list[str] = []
        self._reason = ""
        self._stops = 0
        self._reason_in_doubt = False
        self._with_text = False
        self._ended = False

    # ------------------------------------------------------------------------------------------- what a dialect says

    @abc.abstractmethod
    def take_event(self, event: dict[str, Any], name: str) -> bool:
        """Take an event of a stream. Whether it is one of this protocol."""

    @abc.abstractmethod
    def take_document(self, document: dict[str, Any]) -> bool:
        """Take an answer that came as a whole. Whether it is one of this protocol."""

    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tools that the model calls, in order."""
        return ()

    def state(self) -> str:
        """What the provider wants back of this answer when the conversation goes on."""
        return ""

    def add(self, text: str) -> None:
        """More text of the answer."""
        if text:
            self._parts.append(text)
            self.add_characters(len(text))

    def add_characters(self, count: int) -> None:
        """More of the answer, text or not."""
        self._reason_in_doubt = self._reason_in_doubt or self._stops > 0
        self.characters += count

    def stop(self, reason: str, *, with_text: bool = False) -> None:
        """The finish reason. `with_text`: it came in the same piece as some of the answer."""
        if reason:
            self._reason = reason
            self._stops += 1
            self._with_text = with_text

    def end(self) -> None:
        """Nothing of the answer comes after this."""
        self._ended = True

    # ---------------------------------------------------------------------------------------------------- what it is

    @property
    def text(self) -> str:
        return "".join(self._parts)

    @property
    def complete(self) -> bool:
        return self._ended or (self._stops > 0 and not self._reason_in_doubt)

    @property
    def seconds_to_end(self) -> float | None:
        """How long the rest may still take; None while the answer is not complete."""
        if not self.complete:
            return None
        if self._ended:
            return END_SECONDS
        if self._with_text:
            return DOUBT_SECONDS
        return METER_SECONDS if self.usage is None else END_SECONDS

    def reply(self, asides: str, address: str) -> BackendReply:
        """What came of the call; `asides` and `address` as for `cut_off`."""
        reply = self.failure
        if reply is None and (self.events == 0 or not self.complete):
            said = self.complaint
            reply = complained(said) if said else cut_off(self.events, self.characters, asides, address)
        text = self.text
        if reply is None:
            calls = self.tool_calls()
            reply, text = self._finished(text, bool(calls))
            if reply.outcome is CallOutcome.OK and self.conversing:
                reply = replace(reply, tool_calls=calls, state=self.state())
        return with_answer(reply, text, self.usage, self.model, self.request_id)

    def _finished(self, text: str, calls_tools: bool) -> tuple[BackendReply, str]:
        outcome = finish_outcome(self._reason)
        used_up = self.usage is not None and self.usage.output_tokens >= self._max_output_tokens
        if not self._reason and used_up:
            outcome = CallOutcome.TRUNCATED
        detail = "" if outcome is CallOutcome.OK else self.explanation or f"finish reason {self._reason or 'none'}"
        if outcome is CallOutcome.OK and self.refusal:
            outcome = CallOutcome.REFUSAL
        if outcome is CallOutcome.OK and not text.strip() and not calls_tools:
            if self.reasoning.strip():
                return BackendReply(outcome), self.reasoning  # a server that takes the whole answer for thoughts
            outcome, detail = CallOutcome.EMPTY, f"no text; finish reason {self._reason or 'none'}"
        return BackendReply(outcome, detail=self.refusal or detail), text


async def receive(response: httpx2.Response, answer: Answer, call: BackendCall, address: str) -> BackendReply:
    """Read the answer from a response whose status says success. `address` is for messages: where it comes from."""
    answer.conversing = bool(call.tools)
    answer.request_id = response.headers.get(answer.request_id_header, "")
    call.identified(answer.request_id)
    asides: list[str] = []
    try:
        async with asyncio.timeout(None) as rest:
            async for item in read_body(response.aiter_bytes()):
                if isinstance(item, StreamEvent):
                    _take_event(answer, item)
                elif isinstance(item, Document):
                    _take_document(answer, item.value, address)
                elif isinstance(item, StreamEnd):
                    answer.end()
                elif isinstance(item, Text):
                    asides.append(item.text)
                if answer.failure is not None:
                    break
                call.progress(answer.characters)
                _bound(rest, answer.seconds_to_end)
    except TimeoutError:  # a server that does not hang up
        pass
    except (httpx2.HTTPError, NotTheProtocol) as error:
        if not answer.complete:  # else: what broke came after the answer
            answer.failure = malformed(str(error)) if isinstance(error, NotTheProtocol) else broken(error)
    return answer.reply("; ".join(asides)[:_MAX_ASIDE_CHARACTERS], address)


def whole_reply(document: Any, answer: Answer, address: str, *, tools: bool) -> BackendReply:
    """The reply for an answer that came as one document."""
    answer.conversing = tools
    _take_document(answer, document, address)
    return answer.reply("", address)


def _bound(rest: asyncio.Timeout, seconds: float | None) -> None:
    """Bound what may come after a complete answer. Further events do not move the bound back, unless they prove that it
    was not complete."""
    if seconds is None:
        if rest.when() is not None:
            rest.reschedule(None)
        return
    at, bound = asyncio.get_running_loop().time() + seconds, rest.when()
    if bound is None or at < bound:
        rest.reschedule(at)


def _take_event(answer: Answer, event: StreamEvent) -> None:
    values = event.value if isinstance(event.value, list) else [event.value]
    for value in values:
        if not isinstance(value, dict):
            continue
        if is_complaint(value) or event.name == "error":
            answer.take_event(value, event.name)  # it may hold text, too
            answer.events += 1
            answer.failure = complained(complaint_in(value))
            return
        if answer.take_event(value, event.name):
            answer.events += 1
        elif any(isinstance(value.get(key), str | list) for key in ("detail", "message", "msg")):
            answer.complaint = complaint_in(value)


def _take_document(answer: Answer, value: Any, address: str) -> None:
    if isinstance(value, list):
        value = next((item for item in value if isinstance(item, dict)), value)
    if isinstance(value, dict) and is_complaint(value):
        answer.failure = complained(complaint_in(value))
    elif isinstance(value, dict) and answer.take_document(value):
        answer.events += 1
        answer.end()
    else:
        answer.failure = no_answer(value, address)


def field_of(value: object, *path: str) -> Any:
    """The value at a path of keys; None where there is none. What came over the wire may be of any type."""
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def word_of(value: object, *path: str) -> str:
    return words(field_of(value, *path))
