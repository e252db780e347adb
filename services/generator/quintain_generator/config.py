"""The generator's configuration: a TOML file and the environment (``QUINTAIN_GENERATOR__...``), frozen after start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from quintain.service.settings import ServerSettings
from quintain.wire.endpoints import Settings

ENV_PREFIX = "QUINTAIN_GENERATOR__"


class BackendSettings(Settings):
    """One configured backend. Its limits are shared by all callers of this process."""

    kind: str = Field(description="the plugin: openai, anthropic, openai-compatible, offline, replay, remote, ...")
    model: str = Field(default="", description="the provider's name of the model")
    options: dict[str, Any] = Field(default={}, description="the plugin's own options; unknown keys are refused")
    price_model: str = Field(default="", description="look up prices under this name instead of the model's")
    max_output_tokens: int = Field(default=16_000, gt=0, description="for a request that does not say, and at most")
    effort: str = Field(default="", pattern="^(low|medium|high)?$", description="for a request that does not say")
    max_concurrency: int = Field(default=4, gt=0, description="calls at the same time")
    tokens_per_minute: int | None = Field(
        default=None, gt=0, description="estimated input + allowed output, then settled"
    )
    max_calls: int = Field(default=5, gt=0, description="calls for one answer and one try, retries included")
    call_timeout_seconds: float = Field(
        default=600.0, gt=0, description="for one call as a whole, however slowly it drips"
    )
    retry_base_seconds: float = Field(
        default=1.0, gt=0, description="first wait without a Retry-After; doubles each time"
    )
    retry_max_seconds: float = Field(default=60.0, gt=0, description="longest wait without a Retry-After")
    breaker_failures: int = Field(default=5, gt=0, description="failures in a row that open the circuit breaker")
    breaker_cooldown_seconds: float = Field(default=30.0, gt=0, description="how long an open breaker stays open")


class GeneratorSettings(Settings):
    """Everything the generator can be told."""

    server: ServerSettings = Field(default_factory=ServerSettings)
    store_url: str = Field(
        default="sqlite:///quintain-generator.db", description="SQLAlchemy URL; SQLite or PostgreSQL"
    )
    backends: dict[str, BackendSettings] = Field(default={}, description="by name; `offline` is always there")
    default_backend: str = Field(
        default="", description="empty: the first configured one that can be used, else offline"
    )
    price_file: Path | None = Field(default=None, description="price rows that override the packaged ones")
    max_policy_bytes: int = Field(default=256 * 1024, gt=0, description="longer answers are no policy")
    prompt_tokens: int = Field(default=24_000, gt=0, description="budget of a prompt, by the stated estimator")
    max_generation_seconds: float = Field(
        default=1800.0, gt=0, description="for callers without a deadline, and at most"
    )
    abandoned_call_seconds: float = Field(
        default=30.0,
        ge=0,
        description="how long a call goes on after its last caller left, so that a restarted one finds it",
    )
