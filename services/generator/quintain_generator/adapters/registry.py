"""Finds backend plugins by entry point and makes the configured backends."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError

from quintain.plugins.backend import (
    Backend,
    BackendCall,
    BackendOptions,
    BackendReply,
    CallOutcome,
    Capabilities,
)
from quintain.plugins.doors import BACKENDS
from quintain.plugins.loading import PluginError, UnknownPlugin
from quintain.service.logs import get_logger, register_secret
from quintain.service.settings import ConfigError
from quintain_generator.config import BackendSettings, GeneratorSettings
from quintain_generator.domain.prices import PriceTable
from quintain_generator.usecases.endpoint import BackendEndpoint

log = get_logger("registry")

OFFLINE = "offline"


def make_endpoints(settings: GeneratorSettings, prices: PriceTable) -> dict[str, BackendEndpoint]:
    """The configured backends by name, and `offline`. Raises ConfigError naming the key."""
    configured = dict(settings.backends)
    if not any(backend.kind == OFFLINE for backend in configured.values()) and OFFLINE not in configured:
        configured[OFFLINE] = BackendSettings(kind=OFFLINE)
    endpoints = {}
    for name, backend_settings in configured.items():
        backend = _backend(name, backend_settings)
        for secret in backend.secrets:
            register_secret(secret)
        endpoints[name] = BackendEndpoint(name, backend_settings, backend, prices)
    return endpoints


def default_name(settings: GeneratorSettings, endpoints: Mapping[str, BackendEndpoint]) -> str:
    """The default backend: the one that is named, or the first configured one that can be used, or `offline`."""
    if settings.default_backend:
        if settings.default_backend not in endpoints:
            known = ", ".join(sorted(endpoints))
            raise ConfigError(f"default_backend: no backend {settings.default_backend!r}; configured are {known}")
        return settings.default_backend
    return next((name for name, e in endpoints.items() if not e.backend.unavailable_reason), OFFLINE)


def make_backend(key: str, settings: BackendSettings) -> Backend:
    """Load the plugin of `settings.kind` and make it. Raises ConfigError beginning with `key`, UnknownPlugin and
    PluginError."""
    kind = BACKENDS.load(settings.kind)
    try:
        options = kind.Options.model_validate(settings.options)
        return kind(settings.model, options)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        known = ", ".join(sorted(kind.Options.model_fields)) or "none"
        raise ConfigError(f"{key}.options: {problems} (known options: {known})") from None
    except ValueError as error:
        raise ConfigError(f"{key}: {error}") from None


def _backend(name: str, settings: BackendSettings) -> Backend:
    """The configured backend, or one that says why it cannot be used: a broken plug-in stops no other."""
    try:
        return make_backend(f"backends.{name}", settings)
    except UnknownPlugin as error:
        raise ConfigError(f"backends.{name}.kind: {error}") from None
    except PluginError as error:
        log.warning("backend cannot be used", backend=name, reason=str(error))
        return UnusableBackend(settings.model, str(error))


class UnusableBackend(Backend):
    """In the place of a backend whose plug-in cannot be loaded."""

    capabilities = Capabilities(frozenset(), deterministic=False, priced=False, prompt=False, repeatable=True)

    def __init__(self, model: str, reason: str) -> None:
        super().__init__(model, BackendOptions())
        self._reason = reason

    @property
    def unavailable_reason(self) -> str:
        return self._reason

    async def generate(self, call: BackendCall) -> BackendReply:
        return BackendReply(CallOutcome.BAD_REQUEST, detail=self._reason, sent=False)
