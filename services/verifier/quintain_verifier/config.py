"""The verifier's configuration. Free of gRPC, because the workers are started before it is imported."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from quintain.service.settings import ServerSettings
from quintain.wire.endpoints import Endpoint, Settings
from quintain_verifier.sandbox.limits import DEFAULT_LIMITS, MAX_LIMITS, MIB, Limits

ENV_PREFIX = "QUINTAIN_VERIFIER__"


class LimitSettings(Settings):
    """Limits of a run, by the names and units of `quintain_verifier.sandbox.limits.Limits`; None keeps the built-in."""

    wall_seconds: float | None = None
    step_seconds: float | None = None
    cpu_seconds: int | None = None
    memory_bytes: int | None = None
    decision_bytes: int | None = None
    output_bytes: int | None = None
    messages: int | None = None
    source_bytes: int | None = None
    scenarios: int | None = None

    def over(self, limits: Limits) -> Limits:
        """`limits` with what is set here."""
        return replace(limits, **{name: value for name, value in self.model_dump().items() if value is not None})


class RecordSettings(Settings):
    """Where verdicts are remembered."""

    memory_bytes: int = Field(256 * MIB, ge=0, description="verdicts kept in memory")
    file: Path | None = Field(None, description="SQLite file, so that verdicts outlive the process")
    file_rows: int = Field(100_000, gt=0, description="verdicts kept in the file")


class VerifierSettings(Settings):
    """Everything the verifier can be told."""

    server: ServerSettings = ServerSettings()
    workers: int = Field(0, ge=0, description="worker processes; 0: one for each core that this process may use")
    most_waiting: int = Field(64, ge=1, description="requests that may wait for a worker; more are refused")
    engine_seconds: float = Field(
        300.0, gt=0, description="what a simulator may take for one run, beside waiting for the policy"
    )
    default_limits: LimitSettings = LimitSettings()
    maximum_limits: LimitSettings = LimitSettings()
    simulators: tuple[str, ...] = Field((), description="installed simulators to offer; empty: all")
    remote_simulators: dict[str, Endpoint] = Field({}, description="simulators that others serve, by name")
    suite_bytes: int = Field(
        256 * MIB, ge=0, description="files of callers' own suites kept in memory, so that they are sent once"
    )
    records: RecordSettings = RecordSettings()
    production: bool = Field(False, description="refuse everything that is for development only")
    insecure_dev: bool = Field(False, description="run policies without a jail; verdicts are marked as weak")

    @field_validator("remote_simulators", mode="before")
    @classmethod
    def _address_alone(cls, given: Any) -> Any:
        """`far = "host:port"` is short for a table with an address only."""
        if not isinstance(given, dict):
            return given
        return {name: {"address": of} if isinstance(of, str) else of for name, of in given.items()}

    @field_validator("remote_simulators")
    @classmethod
    def _files_exist(cls, given: dict[str, Endpoint]) -> dict[str, Endpoint]:
        for name, endpoint in given.items():
            for key, file in endpoint.tls or ():
                if file is not None and not file.is_file():
                    raise ValueError(f"{name}.tls.{key}: {file} is not a file")
        return given

    @model_validator(mode="after")
    def _safe_in_production(self) -> VerifierSettings:
        if self.production and self.insecure_dev:
            raise ValueError("insecure_dev is refused in production: policies would run without a jail")
        maximum = self.limits_maximum
        maximum.validate(MAX_LIMITS)
        self.limits_default.validate(maximum)
        return self

    @property
    def limits_maximum(self) -> Limits:
        return self.maximum_limits.over(MAX_LIMITS)

    @property
    def limits_default(self) -> Limits:
        """The built-in defaults, lowered to the maximum where that is below them, with what is set."""
        maximum = self.limits_maximum
        names = LimitSettings.model_fields
        lowered = {name: min(getattr(DEFAULT_LIMITS, name), getattr(maximum, name)) for name in names}
        return self.default_limits.over(Limits(**lowered))

    @property
    def worker_count(self) -> int:
        return self.workers or len(os.sched_getaffinity(0))
