"""Where a gRPC server is, and what it asks of its callers: the part of a configuration that both ends share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr


class Settings(BaseModel):
    """Base of every part of a configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def split_address(address: str) -> tuple[str, int]:
    """Host, without the brackets of IPv6, and port. Raises ValueError."""
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isascii() and port.isdigit() and int(port) < 2**16):
        raise ValueError("must be host:port with a port below 65536, such as 0.0.0.0:7071 or [::]:7071")
    return host.strip("[]"), int(port)


def _checked_address(address: str) -> str:
    split_address(address)
    return address


Address = Annotated[str, AfterValidator(_checked_address)]


class ClientTls(Settings):
    """Trust for the server (None: the system's roots), and a client certificate where the server asks for one."""

    ca_file: Path | None = Field(None, description="PEM roots to trust; none: the system's")
    certificate_file: Path | None = Field(None, description="PEM chain of this client (mTLS)")
    key_file: Path | None = Field(None, description="PEM key of this client")


class Endpoint(Settings):
    """Where a gRPC server is and what it asks for."""

    address: str = Field(description="host:port; or a gRPC target such as ipv4:10.0.0.1:7071,10.0.0.2:7071")
    token: SecretStr | None = Field(None, description="bearer token that the server asks for")
    tls: ClientTls | None = None
    max_message_bytes: int = Field(32 * 1024 * 1024, gt=0, description="largest gRPC message, either way")
