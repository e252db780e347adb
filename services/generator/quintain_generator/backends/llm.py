"""What the LLM backends share: options, keys and the model table."""

from __future__ import annotations

import base64
import fnmatch
import os
import tomllib
from importlib import resources
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from quintain.plugins.backend import Backend, BackendOptions, Capabilities, Operator


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
        if parts.fragment or url.endswith("#"):
            raise ValueError("must not have a fragment (#...): it is never sent")
        names = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
        if len(names) != len(set(names)):
            raise ValueError("must not have the same name twice in its query (?...)")
        return url


class BatchOptions(LLMOptions):
    """Options of a backend whose provider has a batch interface."""

    batch: bool = Field(
        default=False, description="calls go through the provider's batches: the batch price, answers within a day"
    )
    batch_poll_seconds: float = Field(default=60.0, gt=0, description="between two questions about a batch")


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
        self._base_url = options.base_url
        self._address_secrets = _address_secrets(options.base_url)

    @property
    def address(self) -> str:
        """Where calls go, for messages; without credentials."""
        parts = urlsplit(self._base_url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if self._base_url else "the provider"

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            operators=frozenset(Operator),
            deterministic=False,
            priced=True,
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
    found += [value for name, value in parse_qsl(parts.query) if name != "api-version"]
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
