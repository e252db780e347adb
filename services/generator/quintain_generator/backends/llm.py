"""What the LLM backends share: keys, the model table, and telling failures apart."""

from __future__ import annotations

import base64
import email.utils
import fnmatch
import os
import re
import time
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import httpx2
from pydantic import BaseModel, ConfigDict, Field, field_validator

from quintain.plugins.backend import Backend, BackendOptions, BackendReply, CallOutcome, Capabilities, Operator
from quintain_generator.backends.wire import AnswerTooLarge


class LLMOptions(BackendOptions):
    """Options of every LLM backend. The key itself is never an option: it comes from the environment or a file."""

    api_key_env: str = Field(default="", description="environment variable that holds the key")
    api_key_file: Path | None = Field(default=None, description="file that holds the key; wins over the environment")
    base_url: str = Field(default="", description="another endpoint than the provider's own")
    models_file: Path | None = Field(default=None, description="model table that is looked at first")

    @field_validator("base_url")
    @classmethod
    def _is_an_address(cls, url: str) -> str:
        """The message does not repeat the URL: it may hold a password."""
        try:
            parts = urlsplit(url)
            right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            right = False
        if url and not right:
            raise ValueError("must be http://HOST[:PORT]/PATH, or https")
        return url


class ModelTraits(BaseModel):
    """A row of the model table (see models.toml)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    match: str = "*"
    efforts: tuple[str, ...] = ()
    cache_breakpoints: bool = False


def model_traits(model: str, user_file: Path | None) -> ModelTraits:
    """Raises ValueError for a table that cannot be read."""
    texts = [user_file.read_text()] if user_file is not None else []
    texts.append(resources.files("quintain_generator.backends").joinpath("models.toml").read_text())
    for text in texts:
        for raw in tomllib.loads(text).get("model", ()):
            traits = ModelTraits.model_validate(raw)
            if fnmatch.fnmatchcase(model, traits.match):
                return traits
    return ModelTraits()


class LLMBackend(Backend):
    """A backend whose calls cost money, take prompts and are never the same twice."""

    Options: ClassVar[type[BackendOptions]] = LLMOptions
    default_key_env = ""

    def __init__(self, model: str, options: LLMOptions) -> None:
        if not model:
            raise ValueError("model: must name the provider's model")
        super().__init__(model, options)
        self.traits = model_traits(model, options.models_file)
        self._key_place = str(options.api_key_file or options.api_key_env or self.default_key_env)
        self._key = _read_key(options, self.default_key_env)
        self._key_problem = _key_problem(self._key)
        self._address_secrets = _address_secrets(options.base_url)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            operators=frozenset(Operator),
            deterministic=False,
            priced=True,
            streaming=True,
            prompt=True,
            repeatable=False,
        )

    @property
    def unavailable_reason(self) -> str:
        if not self._key:
            return f"no key: {self._key_place} is not set or empty"
        return f"the key in {self._key_place} {self._key_problem}" if self._key_problem else ""

    @property
    def secrets(self) -> tuple[str, ...]:
        return (*self._key.split(), *self._address_secrets)

    def effort(self, wanted: str) -> str:
        """The effort to send: what is wanted if the model takes it, else nothing."""
        return wanted if wanted in self.traits.efforts else ""


def _key_problem(key: str) -> str:
    """What keeps `key` from being sent. (The HTTP library would say it with the key in its message.)"""
    if any(character.isspace() for character in key):
        return "has white space inside; the file or variable must hold the key alone"
    return "" if key.isascii() and key.isprintable() else "has characters that are not printable ASCII"


def _address_secrets(url: str) -> tuple[str, ...]:
    """Credentials that somebody put into the base URL: a password (or a name alone, which is a token), what is sent for
    it, values of a query."""
    parts = urlsplit(url)
    name, password = unquote(parts.username or ""), unquote(parts.password or "")
    sent = base64.b64encode(f"{name}:{password}".encode()).decode()
    found = [parts.password or parts.username or "", sent if name or password else ""]
    found += [value for _, value in parse_qsl(parts.query)]
    return tuple(
        dict.fromkeys(form for value in found if value for form in (value, quote(value, safe=""), unquote(value)))
    )


def _read_key(options: LLMOptions, default_env: str) -> str:
    if options.api_key_file is not None:
        try:
            return options.api_key_file.read_text().strip()
        except (OSError, UnicodeDecodeError):
            return ""
    return os.environ.get(options.api_key_env or default_env, "").strip()


# ------------------------------------------------------------------------------------------------------------ failures

_SPEND = {
    "insufficient_quota",
    "enforced_spend_limit_reached",
    "billing_error",
    "billing_hard_limit_reached",
    "billing_not_active",
}
_BY_NAME = {
    "rate_limit_error": CallOutcome.RATE_LIMITED,
    "rate_limit_exceeded": CallOutcome.RATE_LIMITED,
    "overloaded_error": CallOutcome.OVERLOADED,
    "authentication_error": CallOutcome.AUTH,
    "permission_error": CallOutcome.AUTH,
    "invalid_api_key": CallOutcome.AUTH,
    "invalid_request_error": CallOutcome.BAD_REQUEST,
    "not_found_error": CallOutcome.BAD_REQUEST,
    "invalid_prompt": CallOutcome.BAD_REQUEST,
    "context_length_exceeded": CallOutcome.BAD_REQUEST,
    "content_filter": CallOutcome.CONTENT_FILTER,
    "bio_policy": CallOutcome.CONTENT_FILTER,
    "misalignment_policy_violation": CallOutcome.CONTENT_FILTER,
    "api_error": CallOutcome.SERVER_ERROR,
    "server_error": CallOutcome.SERVER_ERROR,
    "timeout_error": CallOutcome.SERVER_ERROR,
}
_BY_STATUS = {
    401: CallOutcome.AUTH,
    402: CallOutcome.SPEND_LIMIT,
    403: CallOutcome.AUTH,
    408: CallOutcome.SERVER_ERROR,
    409: CallOutcome.SERVER_ERROR,
    425: CallOutcome.SERVER_ERROR,
    429: CallOutcome.RATE_LIMITED,
    503: CallOutcome.OVERLOADED,
    529: CallOutcome.OVERLOADED,
}
_LATE_STATUS = re.compile("[45][0-9][0-9]")


def classify(status: int, *names: object) -> CallOutcome:
    """What an error is, from the HTTP status (200 for one inside a stream) and the provider's own names for it.

    A spend limit is looked for first: providers send it as a rate limit, and waiting does not help. Inside a stream, a
    number (vLLM, llama.cpp) is the status that came too late to be one. Other names that are no text say nothing.
    """
    known = [name for name in names if isinstance(name, str)]
    if _SPEND.intersection(known):
        return CallOutcome.SPEND_LIMIT
    named = [_BY_NAME[name] for name in known if name in _BY_NAME]
    if status < 300 and not named:
        status = next((int(str(name)) for name in names if _LATE_STATUS.fullmatch(str(name))), status)
    if 300 <= status < 400:  # redirects are not followed; the base URL is wrong
        return CallOutcome.BAD_REQUEST
    if status < 400:
        return named[0] if named else CallOutcome.SERVER_ERROR
    if CallOutcome.CONTENT_FILTER in named:
        return CallOutcome.CONTENT_FILTER
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return CallOutcome.BAD_REQUEST if status < 500 else CallOutcome.SERVER_ERROR


_LONGEST_WAIT = 30 * 86400.0  # a wish beyond a month is as good as a month, and can be told to a caller


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, from ``retry-after-ms`` or ``Retry-After`` (seconds or an HTTP date); None if there is none to read."""
    value = headers.get("retry-after", "")
    for seconds in (_number(headers.get("retry-after-ms", ""), 1e-3), _number(value, 1.0), _until(value)):
        if seconds is not None:
            return min(seconds, _LONGEST_WAIT)
    return None


def _number(text: str, unit: float) -> float | None:
    try:
        seconds = float(text) * unit
    except ValueError:
        return None
    return seconds if seconds >= 0 else None  # false for not a number, too


def _until(date: str) -> float | None:
    try:
        return max(0.0, email.utils.parsedate_to_datetime(date).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def http_error(status: int, message: str) -> str:
    if 300 <= status < 400:
        return f"HTTP {status}: redirects are not followed; set base_url to where the API is"
    return f"HTTP {status}: {message}"


def broken(error: BaseException, text: str = "", request_id: str = "") -> BackendReply:
    """The reply for a failure below HTTP, the SDK's wrapping taken off."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, httpx2.HTTPError):
        cause = cause.__cause__
    if isinstance(cause, AnswerTooLarge | httpx2.DecodingError):
        return malformed(cause, request_id)
    never_sent = isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout | httpx2.ProxyError)
    timed_out = isinstance(cause, httpx2.TimeoutException) and not never_sent
    reason = f"{type(cause or error).__name__}: {cause or error}"
    return BackendReply(
        CallOutcome.TIMEOUT if timed_out else CallOutcome.CONNECTION,
        text=text,
        detail=f"the connection failed before the end of the answer: {reason}",
        provider_request_id=request_id,
        sent=not never_sent,
    )


def cut_off(events: int, text: str = "", request_id: str = "") -> BackendReply:
    """The reply for a body that ended cleanly, but too early. Without a single event it was never the protocol."""
    if events == 0:
        detail = "the provider answered 200 without one event of the protocol"
        return BackendReply(CallOutcome.MALFORMED, detail=detail, provider_request_id=request_id)
    detail = f"the stream ended after {events} events and {len(text)} characters, before its terminal event"
    return BackendReply(CallOutcome.CONNECTION, text=text, detail=detail, provider_request_id=request_id)


def malformed(error: Exception, request_id: str = "") -> BackendReply:
    detail = f"the answer is not what the protocol says: {type(error).__name__}: {error}"
    return BackendReply(CallOutcome.MALFORMED, detail=detail, provider_request_id=request_id)


# What a body that is not the protocol makes an SDK or the code that reads its objects raise.
MALFORMED_ERRORS = (ValueError, TypeError, AttributeError, KeyError, IndexError, RecursionError)
