"""Finds backend plugins by entry point and makes the configured backends."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points

from pydantic import ValidationError

from quintain.plugins.backend import ENTRY_POINT_GROUP, Backend
from quintain.service.logs import get_logger, register_secret
from quintain.service.settings import ConfigError
from quintain_generator.config import BackendSettings, GeneratorSettings
from quintain_generator.domain.prices import PriceTable
from quintain_generator.usecases.endpoint import Endpoint

log = get_logger("registry")

OFFLINE = "offline"


def make_endpoints(settings: GeneratorSettings, prices: PriceTable) -> dict[str, Endpoint]:
    """The configured backends by name, and `offline`. Raises ConfigError naming the key."""
    configured = dict(settings.backends)
    if not any(backend.kind == OFFLINE for backend in configured.values()) and OFFLINE not in configured:
        configured[OFFLINE] = BackendSettings(kind=OFFLINE)
    endpoints = {}
    for name, backend_settings in configured.items():
        backend = make_backend(f"backends.{name}", backend_settings)
        for secret in backend.secrets:
            register_secret(secret)
        endpoints[name] = Endpoint(name, backend_settings, backend, prices)
    return endpoints


def default_name(settings: GeneratorSettings, endpoints: Mapping[str, Endpoint]) -> str:
    """The default backend: the one that is named, or the first configured one that can be used, or `offline`."""
    if settings.default_backend:
        if settings.default_backend not in endpoints:
            known = ", ".join(sorted(endpoints))
            raise ConfigError(f"default_backend: no backend {settings.default_backend!r}; configured are {known}")
        return settings.default_backend
    return next((name for name, e in endpoints.items() if not e.backend.unavailable_reason), OFFLINE)


def make_backend(key: str, settings: BackendSettings) -> Backend:
    """Load the plugin of `settings.kind` and make it. Raises ConfigError beginning with `key`."""
    kind = load_kind(key, settings.kind)
    try:
        options = kind.Options.model_validate(settings.options)
        return kind(settings.model, options)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        known = ", ".join(sorted(kind.Options.model_fields)) or "none"
        raise ConfigError(f"{key}.options: {problems} (known options: {known})") from None
    except ValueError as error:
        raise ConfigError(f"{key}: {error}") from None


def load_kind(key: str, kind: str) -> type[Backend]:
    found: dict[str, EntryPoint] = {e.name: e for e in entry_points(group=ENTRY_POINT_GROUP)}
    if kind not in found:
        raise ConfigError(f"{key}.kind: no backend plugin {kind!r}; installed are {', '.join(sorted(found))}")
    try:
        loaded = found[kind].load()
    except ImportError as error:
        raise ConfigError(f"{key}.kind: {kind!r} cannot be loaded ({error}); install quintain[llm]") from None
    if not (isinstance(loaded, type) and issubclass(loaded, Backend)):
        raise ConfigError(f"{key}.kind: entry point {kind!r} is not a subclass of quintain.plugins.backend.Backend")
    return loaded
