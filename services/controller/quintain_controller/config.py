"""The controller's configuration. Environment prefix: ``QUINTAIN_CONTROLLER__``."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, model_validator

from quintain.clients.channel import ClientSettings
from quintain.service.settings import ServerSettings
from quintain.wire.endpoints import Settings
from quintain.wire.notifications import Way, command, webhook

ENV_PREFIX = "QUINTAIN_CONTROLLER__"


class RunnerSettings(Settings):
    """How this process works on searches."""

    lease_seconds: float = Field(15.0, gt=0, description="another controller may take over after so long a silence")
    poll_seconds: float = Field(0.5, gt=0, description="how often to look for searches without an owner")
    max_searches: int = Field(
        16, ge=0, description="searches that this process runs at once; 0: it answers, and settles what has ended"
    )
    generations_in_flight: int = Field(
        64, ge=1, description="calls of the generator for all searches of this process; it has limits of its own"
    )
    verifications_in_flight: int = Field(
        64, ge=1, description="calls of the verifier for all searches of this process; it queues them fairly"
    )
    generate_seconds: float = Field(1800.0, gt=0, description="deadline of one generation")
    verify_seconds: float = Field(3600.0, gt=0, description="deadline of one verification, queueing included")
    first_retry_seconds: float = Field(0.2, gt=0, description="first pause after a service failed; doubles")
    max_retry_seconds: float = Field(10.0, gt=0, description="longest pause, unless the service asks for a longer one")


class NotificationSettings(Settings):
    """Whom to tell of new bests, pauses and ends of searches."""

    url: SecretStr | None = Field(None, description="webhook that is posted a JSON document at a new best, pause, end")
    url_file: Path | None = Field(None, description="file that holds the webhook's address; not with `url`")
    command: str = Field("", description="run, without a shell, with the same document on its standard input")
    poll_seconds: float = Field(1.0, gt=0, description="how often to look for what is to be told")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.url is not None and self.url_file is not None:
            raise ValueError("url and url_file exclude each other")
        self.ways()
        return self

    def ways(self) -> list[Way]:
        """Raises ValueError for an address or a command that cannot be one."""
        url = self.url.get_secret_value() if self.url is not None else ""
        if self.url_file is not None:
            try:
                url = self.url_file.read_text().strip()
            except OSError as error:
                raise ValueError(f"url_file: {self.url_file}: {error.strerror}") from None
        named = (("url", url, webhook), ("command", self.command.strip(), command))
        made: list[Way] = []
        for name, value, way in named:
            try:
                made += [way(value)] if value else []
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        return made


class ControllerSettings(Settings):
    server: ServerSettings = ServerSettings()
    store_url: str = Field("sqlite:///controller.db", description="SQLAlchemy URL; postgresql+psycopg:// for several")
    generator: ClientSettings = ClientSettings(address="127.0.0.1:7072")
    verifier: ClientSettings = ClientSettings(address="127.0.0.1:7071")
    runner: RunnerSettings = RunnerSettings()
    notifications: NotificationSettings = NotificationSettings()
    watch_poll_seconds: float = Field(0.25, gt=0, description="how late a watcher may see another controller's events")
