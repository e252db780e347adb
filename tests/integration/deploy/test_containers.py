"""The Dockerfile is clean, and compose.yaml is hardened and consistent with it. Nothing is built or run here: `make
images` does that."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.integration.deploy.test_kubernetes import KUBERNETES
from tests.integration.deploy.test_pods import MODELS

from quintain.service.settings import load_settings

ROOT = Path(__file__).resolve().parents[3]
DOCKERFILE = ROOT / "deploy/images/Dockerfile"
COMPOSE = ROOT / "deploy/compose.yaml"
BIN = Path(sys.executable).parent
PORTS = {"verifier": 7071, "generator": 7072, "controller": 7070}


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text())["services"]
    return found


def test_hadolint_finds_nothing() -> None:
    done = subprocess.run([BIN / "hadolint", DOCKERFILE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_secret_and_nothing_of_the_building_machine_is_in_an_image() -> None:
    kept = re.findall(r"^(?:ENV|LABEL) .*(?:\\\n.*)*", DOCKERFILE.read_text(), re.MULTILINE)
    assert kept
    assert not re.search(r"CERT|TOKEN|KEY|PASSWORD|PROXY|INDEX_URL", " ".join(kept), re.IGNORECASE)


def test_compose_runs_every_target_as_production_does() -> None:
    targets = set(re.findall(r"^FROM runtime AS (\w+)$", DOCKERFILE.read_text(), re.MULTILINE))
    assert set(services()) == targets - {"cli"} == set(PORTS)  # the command line is no service
    for name, service in services().items():
        assert service["build"]["target"] == name
        assert (COMPOSE.parent / service["build"]["context"] / service["build"]["dockerfile"]).resolve() == DOCKERFILE
        assert service["image"].split(":")[1] != "latest"
        assert service["user"] == "10001:10001"
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert source in yaml.safe_load(COMPOSE.read_text())["volumes"] or (COMPOSE.parent / source).is_dir()


def test_the_verifier_has_no_way_out_and_only_the_controller_can_reach_it() -> None:
    networks = yaml.safe_load(COMPOSE.read_text())["networks"]
    found = services()
    assert [networks[name]["internal"] for name in found["verifier"]["networks"]] == [True]
    (verify,) = found["verifier"]["networks"]
    assert [name for name, service in found.items() if verify in service["networks"]] == ["verifier", "controller"]
    assert all(name == "controller" or "ports" not in service for name, service in found.items())
    assert all(port.startswith("127.0.0.1:") for port in found["controller"]["ports"])


def test_keys_reach_the_generator_alone() -> None:
    assert [name for name, service in services().items() if "env_file" in service] == ["generator"]


@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_service_has_drained_before_the_engine_kills_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    service = services()[name]
    for variable, value in service["environment"].items():
        monkeypatch.setenv(variable, str(value))
    path = KUBERNETES / f"base/config/{name}.toml"
    settings = load_settings(MODELS[name], str(path), f"QUINTAIN_{name.upper()}__")
    grace = re.fullmatch(r"(\d+)m", service["stop_grace_period"])
    assert grace
    assert settings.server.drain_seconds + 10 <= int(grace[1]) * 60


def test_services_of_compose_find_each_other() -> None:
    environment = services()["controller"]["environment"]
    for other in ("generator", "verifier"):
        address = environment[f"QUINTAIN_CONTROLLER__{other.upper()}__ADDRESS"]
        assert address == f"{other}:{PORTS[other]}"
        assert set(services()[other]["networks"]) & set(services()["controller"]["networks"])
