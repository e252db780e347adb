"""Configuration: a TOML file and the environment into one frozen model; unknown keys are refused.

Environment variables override the file: ``QUINTAIN_VERIFIER__SERVER__LISTEN=...`` sets ``server.listen`` for the prefix
``QUINTAIN_VERIFIER__``.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource


class Settings(BaseModel):
    """Base of every part of a configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ConfigError(ValueError):
    """The configuration is wrong; the message names the key and what would be right."""


S = TypeVar("S", bound=Settings)


def load_settings(model: type[S], path: str | None, env_prefix: str) -> S:
    """Read `model` from the TOML file at `path` (None: defaults only) and the environment. Raises ConfigError."""
    if path is not None and not Path(path).is_file():
        raise ConfigError(f"configuration file {path} does not exist")

    class _Loader(BaseSettings, model):  # type: ignore[misc, valid-type]  # the model is the caller's
        model_config = SettingsConfigDict(
            extra="forbid", frozen=True, env_prefix=env_prefix, env_nested_delimiter="__", toml_file=path
        )

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return (env_settings, TomlConfigSettingsSource(settings_cls))

    try:
        loaded: Any = _Loader()
    except ValidationError as error:
        raise ConfigError(_explain(error, path)) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    return model.model_validate({name: getattr(loaded, name) for name in model.model_fields})


def _explain(error: ValidationError, path: str | None) -> str:
    """Pydantic's findings without the values: a value may be a secret."""
    lines = [f"{'.'.join(str(p) for p in e['loc']) or 'configuration'}: {e['msg']}" for e in error.errors()]
    return f"{path or 'environment'}: " + "; ".join(lines)
