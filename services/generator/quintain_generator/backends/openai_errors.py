"""Failures of the openai SDK as replies; both OpenAI backends speak through it."""

from __future__ import annotations

import httpx2
import openai

from quintain.plugins.backend import BackendReply, CallOutcome, Usage
from quintain_generator.backends.llm import MALFORMED_ERRORS, broken, classify, http_error, malformed, retry_after
from quintain_generator.backends.wire import words

CAUGHT = (openai.OpenAIError, httpx2.HTTPError, *MALFORMED_ERRORS)


def reply_for(error: Exception, text: str = "", request_id: str = "") -> BackendReply:
    """`text` and `request_id`: what had arrived before."""
    if isinstance(error, openai.APIStatusError):
        outcome = classify(error.status_code, error.code, error.type)
        message = error.message
        if not isinstance(error.body, dict):  # a word (Ollama) or a page (a proxy), which the SDK passes over
            message = f"{message}: {error.response.text}"  # cut when it is clean of keys
        return BackendReply(
            outcome,
            usage=Usage() if outcome is CallOutcome.CONTENT_FILTER else None,  # refused before any work
            detail=http_error(error.status_code, message),
            provider_request_id=words(error.request_id) or request_id,
            retry_after_seconds=retry_after(error.response.headers),
        )
    if isinstance(error, openai.APIConnectionError | httpx2.HTTPError):
        return broken(error, text, request_id)
    if isinstance(error, openai.APIError) and not isinstance(error, openai.APIResponseValidationError):
        return BackendReply(  # an error event inside a stream
            classify(200, error.code, error.type),
            text=text,
            detail=f"error in the stream: {error.message}",
            provider_request_id=request_id,
        )
    if isinstance(error, openai.OpenAIError) and not isinstance(error, openai.APIError):
        return BackendReply(CallOutcome.BAD_REQUEST, detail=f"{type(error).__name__}: {error}", sent=False)
    return malformed(error, request_id)
