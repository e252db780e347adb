"""The configuration reference says what the settings' models say, and every file in the repository is valid."""

import os
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from scripts import configuration_reference as reference

ROOT = Path(__file__).resolve().parents[3]
CONFIG = ROOT / "deploy/kubernetes/base/config"


def test_the_page_is_what_the_models_say() -> None:
    assert (ROOT / "docs/configuration.md").read_text() == reference.page(), "run scripts/configuration_reference.py"


def test_every_key_says_what_it_means() -> None:
    limits = ("default_limits.", "maximum_limits.")
    silent = [
        f"{service}: {key.name}"
        for service, model in reference.SERVICES.items()
        for key in reference.keys(model)
        if not key.field.description and not key.name.startswith(limits)
    ]
    assert silent == []


@pytest.mark.parametrize("service", ["generator", "verifier", "controller"])
def test_the_deployed_configuration_is_valid(service: str) -> None:
    configured = tomllib.loads((CONFIG / f"{service}.toml").read_text())
    settings = reference.SERVICES[service].model_validate(configured)
    assert settings.model_dump()["server"]["listen"].startswith("0.0.0.0:")


@pytest.mark.parametrize("service", ["generator", "verifier", "controller"])
def test_a_service_whose_port_is_taken_ends_with_one_line_that_says_so(service: str, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        environment = {**os.environ, f"QUINTAIN_{service.upper()}__SERVER__METRICS_LISTEN": address}
        command = [sys.executable, "-m", f"quintain_{service}.main"]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert f"quintain-{service}: cannot listen on {address}: Address already in use\n" in done.stderr
    assert "Traceback" not in done.stderr
