"""The controller's configuration. Environment prefix: ``QUINTAIN_CONTROLLER__``."""

from __future__ import annotations

from pydantic import Field

from quintain.clients.channel import ClientSettings
from quintain.service.settings import ServerSettings
from quintain.wire.endpoints import Settings

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


class ControllerSettings(Settings):
    server: ServerSettings = ServerSettings()
    store_url: str = Field("sqlite:///controller.db", description="SQLAlchemy URL; postgresql+psycopg:// for several")
    generator: ClientSettings = ClientSettings(address="127.0.0.1:7072")
    verifier: ClientSettings = ClientSettings(address="127.0.0.1:7071")
    runner: RunnerSettings = RunnerSettings()
    watch_poll_seconds: float = Field(0.25, gt=0, description="how late a watcher may see another controller's events")
