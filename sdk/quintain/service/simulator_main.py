"""Serves an installed simulator to verifiers elsewhere: ``quintain-simulator --name faas --listen 0.0.0.0:50054``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from quintain.service.main import run

if TYPE_CHECKING:
    import argparse

    from quintain.service.server import Service
    from quintain.service.settings import ServerSettings


def main(arguments: Sequence[str] | None = None) -> int:
    return run("simulator", "Serves an installed simulator.", _wire, arguments, _add_options)


def _add_options(parser: argparse.ArgumentParser, _name: str) -> None:
    parser.add_argument("--name", required=True, help="name of the simulator's entry point")
    parser.add_argument("--listen", default="127.0.0.1:50054", help="host:port of the gRPC server; port 0: a free one")
    parser.add_argument("--metrics-listen", default="127.0.0.1:0", help="host:port of the Prometheus endpoint")
    parser.add_argument("--address-file", help="JSON file with the bound addresses, written once serving")
    parser.add_argument("--token-file", help="file that holds the bearer token that callers must send")
    parser.add_argument("--certificate-file", help="PEM chain of the server, for TLS")
    parser.add_argument("--key-file", help="PEM key of the server")
    parser.add_argument("--client-ca-file", help="PEM; clients must show a certificate of this CA (mTLS)")


def _wire(options: argparse.Namespace) -> tuple[Service, ServerSettings]:
    from pydantic import ValidationError

    from quintain.plugins.doors import SIMULATORS
    from quintain.plugins.loading import PluginError
    from quintain.service.logs import configure_logging
    from quintain.service.settings import ConfigError, ServerSettings, TlsSettings, explain
    from quintain.service.simulator_server import SimulatorService

    configure_logging("simulator")
    tls = {key: getattr(options, key) for key in TlsSettings.model_fields if getattr(options, key)}
    try:
        settings = ServerSettings(
            listen=options.listen,
            metrics_listen=options.metrics_listen,
            address_file=options.address_file,
            token_file=options.token_file,
            tls=TlsSettings.model_validate(tls) if tls else None,
        )
        return SimulatorService(SIMULATORS.load(options.name)), settings
    except ValidationError as error:
        raise ConfigError(explain(error)) from None
    except PluginError as error:
        raise ConfigError(str(error)) from None


if __name__ == "__main__":
    sys.exit(main())
