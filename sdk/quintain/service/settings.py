"""Configuration: a TOML file and the environment into one frozen model; unknown keys and variables are refused.

Environment variables override the file: ``QUINTAIN_VERIFIER__SERVER__LISTEN=...`` sets ``server.listen`` for the prefix
``QUINTAIN_VERIFIER__``.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from quintain.wire.endpoints import Address, Settings


class ConfigError(ValueError):
    """The configuration is wrong; the message names the key and what would be right."""


class StartError(RuntimeError):
    """The configuration is right and the service cannot start; the message says what it lacks."""


class TlsSettings(Settings):
    """Server certificate; with `client_ca_file`, clients must show a certificate of that CA (mTLS)."""

    certificate_file: Path = Field(description="PEM chain of the server")
    key_file: Path = Field(description="PEM key of the server")
    client_ca_file: Path | None = Field(None, description="PEM; clients must show a certificate of this CA (mTLS)")


class ServerSettings(Settings):
    """How a service listens. Port 0 takes a free port; `address_file` then says which."""

    listen: Address = Field("127.0.0.1:0", description="host:port of the gRPC server")
    metrics_listen: Address = Field("127.0.0.1:0", description="host:port of the Prometheus endpoint")
    address_file: Path | None = Field(None, description="JSON file with the bound addresses, written once serving")
    token: SecretStr | None = Field(None, min_length=1, description="bearer token that callers must send")
    token_file: Path | None = Field(None, description="file that holds the bearer token; not with `token`")
    caller_tokens: dict[str, SecretStr] = Field(
        {}, description="further bearer tokens by caller's name; each token is a caller of its own for fair shares"
    )
    tls: TlsSettings | None = None
    max_message_bytes: int = Field(32 * 1024 * 1024, gt=0, description="largest gRPC message, either way")
    drain_seconds: float = Field(30.0, ge=0, description="how long a stopping service lets work in flight finish")
    max_connection_age_seconds: float = Field(
        3.0, gt=0, description="clients reconnect, and look their names up, after this: new replicas get work"
    )
    log_json: bool = Field(True, description="JSON logs; false for short lines")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="minimum level that is logged")

    @model_validator(mode="after")
    def _one_token(self) -> ServerSettings:
        if self.token is not None and self.token_file is not None:
            raise ValueError("token and token_file are both set; keep one")
        if "" in [token.get_secret_value() for token in self.caller_tokens.values()]:
            raise ValueError("a token of caller_tokens is empty")
        return self


S = TypeVar("S", bound=Settings)


def load_settings(model: type[S], path: str | None, env_prefix: str) -> S:
    """Read `model` from the TOML file at `path` (None: defaults only) and the environment. Raises ConfigError."""
    if path is not None:
        read_toml(path)
    _refuse_unknown_variables(model, env_prefix)

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
        raise ConfigError(f"{path or 'environment'}: {explain(error)}") from None
    return model.model_validate({name: getattr(loaded, name) for name in model.model_fields})


def read_toml(path: str | Path) -> dict[str, Any]:
    """The tables of a TOML file. Raises ConfigError in one line: file, line, column and what is wrong there."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"configuration file {path} does not exist") from None
    except OSError as error:
        raise ConfigError(f"configuration file {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}: line {line}: not valid TOML: it is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None


def _refuse_unknown_variables(model: type[Settings], env_prefix: str) -> None:
    """pydantic-settings looks up the variables that it knows, so that it misses a misspelt one."""
    for variable in sorted(os.environ):
        if variable.upper().startswith(env_prefix):
            key = variable[len(env_prefix) :].lower().split("__")[0]
            if key not in model.model_fields:
                known = ", ".join(sorted(model.model_fields))
                raise ConfigError(f"environment variable {variable}: there is no such key; there are {known}")


def explain(error: ValidationError) -> str:
    """Pydantic's findings without the values: a value may be a secret."""
    return "; ".join(f"{'.'.join(str(p) for p in e['loc']) or 'configuration'}: {e['msg']}" for e in error.errors())
