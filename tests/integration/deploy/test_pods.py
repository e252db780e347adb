"""Each pod of the manifests as its process finds it: configuration, time to stop, memory, places to write, image."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.integration.deploy.test_kubernetes import KUBERNETES, OVERLAYS, ROOT, SERVICES, of_kind, pod, render

from quintain.service.settings import load_settings
from quintain_controller.config import ControllerSettings
from quintain_generator.config import GeneratorSettings
from quintain_verifier.config import VerifierSettings

MODELS: dict[str, Any] = {
    "generator": GeneratorSettings,
    "verifier": VerifierSettings,
    "controller": ControllerSettings,
}
UNITS = {"Mi": 2**20, "Gi": 2**30}
# A worker with its engine, and the service itself: docs/scaling.md measures 120 MiB for one of each together.
WORKER_BYTES = SERVICE_BYTES = 200 * 2**20
DATABASE_URL = "postgresql+psycopg://user:secret@database:5432/quintain"  # stands for the secret's


@dataclass(frozen=True)
class Pod:
    service: str
    overlay: str
    deployment: dict[str, Any]
    settings: Any  # what the service would load in it
    services: dict[str, int]  # name -> port "grpc"

    @property
    def spec(self) -> dict[str, Any]:
        return pod(self.deployment)

    @property
    def container(self) -> dict[str, Any]:
        found: dict[str, Any] = self.spec["containers"][0]
        return found


@pytest.fixture(params=[(o, s) for o in OVERLAYS for s in SERVICES], ids="-".join)
def running(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pod:
    overlay, service = request.param
    manifests = list(yaml.safe_load_all(render(KUBERNETES / "overlays" / overlay)))
    named = {(m["kind"], m["metadata"]["name"]): m for m in manifests}
    deployment = named["Deployment", f"quintain-{service}"]
    container = pod(deployment)["containers"][0]
    assert container["args"][0] == "--config"
    path = Path(container["args"][1])
    (mount,) = (m for m in container["volumeMounts"] if Path(m["mountPath"]) == path.parent)
    (volume,) = (v for v in pod(deployment)["volumes"] if v["name"] == mount["name"])
    file = tmp_path / path.name
    file.write_text(named["ConfigMap", volume["configMap"]["name"]]["data"][path.name])
    for variable in container.get("env", []):
        monkeypatch.setenv(variable["name"], variable.get("value", DATABASE_URL))
    settings = load_settings(MODELS[service], str(file), f"QUINTAIN_{service.upper()}__")
    services = {
        m["metadata"]["name"]: next(p["port"] for p in m["spec"]["ports"] if p["name"] == "grpc")
        for m in of_kind(manifests, "Service")
    }
    return Pod(service, overlay, deployment, settings, services)


def test_it_listens_where_the_probes_and_the_service_look(running: Pod) -> None:
    ports = {p["name"]: p["containerPort"] for p in running.container["ports"]}
    server = running.settings.server
    assert (server.listen, server.metrics_listen) == (f"0.0.0.0:{ports['grpc']}", f"0.0.0.0:{ports['metrics']}")
    assert running.services[f"quintain-{running.service}"] == ports["grpc"]


def test_it_calls_services_by_names_that_exist(running: Pod) -> None:
    if running.service == "controller":
        for client in (running.settings.generator, running.settings.verifier):
            name, port = client.address.split(":")
            assert running.services[name] == int(port)


def test_it_may_finish_its_longest_work_before_it_is_killed(running: Pod) -> None:
    settings = running.settings
    longest = {
        "generator": lambda: settings.max_generation_seconds,
        "verifier": lambda: settings.limits_maximum.wall_seconds + settings.engine_seconds,
        "controller": lambda: 0.0,  # records its work and hands it over
    }[running.service]()
    drain = settings.server.drain_seconds
    before = running.container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert longest < drain
    assert before + drain + 10 < running.spec["terminationGracePeriodSeconds"]


def test_its_memory_holds_what_policies_may_take(running: Pod) -> None:
    if running.service == "verifier":
        settings = running.settings
        assert settings.workers > 0, "the number of workers is not left to the node"
        number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", running.container["resources"]["limits"]["memory"]).groups()  # type: ignore[union-attr]
        needed = settings.workers * (settings.limits_maximum.memory_bytes + WORKER_BYTES)
        assert needed + settings.records.memory_bytes + SERVICE_BYTES <= int(number) * UNITS[unit]
        assert settings.production
        assert not settings.insecure_dev


def test_its_database_is_the_secrets_or_a_file_that_it_may_write(running: Pod) -> None:
    if running.service == "verifier":
        return
    url = running.settings.store_url
    if running.overlay == "production":
        assert url == DATABASE_URL
        return
    file = Path(url.removeprefix("sqlite:///"))
    volumes = {v["name"]: v for v in running.spec["volumes"]}
    (mount,) = (m for m in running.container["volumeMounts"] if Path(m["mountPath"]) == file.parent)
    assert "emptyDir" in volumes[mount["name"]]
    assert running.deployment["spec"]["replicas"] == 1
    assert running.deployment["spec"]["strategy"] == {"type": "Recreate"}


def test_development_needs_no_secret(running: Pod) -> None:
    if running.overlay == "development":
        assert "secretKeyRef" not in yaml.safe_dump(running.spec)
        assert all(e["secretRef"]["optional"] for e in running.container.get("envFrom", []))


def test_its_image_starts_the_service_with_these_arguments_and_writes_nowhere_else(running: Pod) -> None:
    dockerfile = (ROOT / "deploy/images/Dockerfile").read_text()
    target = dockerfile.split(f"FROM runtime AS {running.service}\n")[1].split("\nFROM ")[0]
    begin = ["/usr/bin/env", "--block-signal=TERM", f"/opt/quintain/bin/quintain-{running.service}"]
    assert f"ENTRYPOINT {json.dumps(begin)}" in target
    assert "command" not in running.container
    assert {int(p) for p in re.findall(r"EXPOSE (\d+) (\d+)", target)[0]} == {
        p["containerPort"] for p in running.container["ports"]
    }
    writable = {m["mountPath"] for m in running.container["volumeMounts"] if not m.get("readOnly")}
    assert writable == {"/tmp", "/var/lib/quintain"}
