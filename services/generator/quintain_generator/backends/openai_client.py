"""What both OpenAI backends need of the openai SDK: a client, and one request with the failures of sending it."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx2
import openai
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from quintain.plugins.backend import BackendCall, BackendReply
from quintain_generator.backends.answer import Answer, receive
from quintain_generator.backends.failures import broken, not_sent, refused
from quintain_generator.backends.wire import http_client, split_url


def make_client(key: str, base_url: str) -> AsyncOpenAI:
    """Raises ValueError if the environment does not let a client be made."""
    url, query = split_url(base_url)
    return AsyncOpenAI(
        api_key=key or "none", base_url=url or None, default_query=query, max_retries=0,
        http_client=http_client(DefaultAsyncHttpxClient),
    )  # fmt: skip


async def ask(
    request: AbstractAsyncContextManager[Any], answer: Answer, call: BackendCall, address: str
) -> BackendReply:
    """Send `request` (of the SDK's ``with_streaming_response``) and read its answer."""
    try:
        async with request as response:
            return await receive(response.http_response, answer, call, address)
    except FAILURES as error:
        return failed(error, address)


FAILURES = (openai.OpenAIError, httpx2.HTTPError, ValueError, TypeError)


def failed(error: Exception, address: str) -> BackendReply:
    """The reply for one of FAILURES."""
    if isinstance(error, openai.APIStatusError):
        return refused(error.response, error.response.headers.get(Answer.request_id_header, ""), address)
    if isinstance(error, openai.APIConnectionError | httpx2.HTTPError):
        return broken(error)
    return not_sent(error)
