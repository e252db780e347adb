"""A release to a registry that runs right here. Needs an engine and Debian's `docker-registry`, else skipped."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from deploy.images import release
from deploy.images.engine import Engine, NoEngine, find_engine
from tests.support.processes import until

pytestmark = [pytest.mark.timeout(1800), pytest.mark.xdist_group("images")]

MANIFESTS = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    command = shutil.which("docker-registry")
    if command is None:
        pytest.skip("docker-registry is not installed")
    folder = tmp_path_factory.mktemp("registry")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    configuration = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": address},
    }
    (folder / "config.yml").write_text(yaml.safe_dump(configuration))
    process = subprocess.Popen(
        [command, "serve", str(folder / "config.yml")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until(lambda: _answers(address))
        yield address
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def engine() -> Engine:
    try:
        return find_engine()
    except NoEngine as error:
        pytest.skip(f"no container engine works here: {error}")


def test_a_release_is_in_the_registry_by_digest_with_its_contents(
    engine: Engine, registry: str, tmp_path: Path
) -> None:
    folder = tmp_path / "0.0.1"
    (image,) = release.release(engine, f"{registry}/team", "0.0.1", folder, ["verifier"], insecure=True)
    url = f"http://{registry}/v2/team/quintain-verifier/manifests/{image.digest}"
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept": MANIFESTS}), timeout=30) as answer:
        assert answer.headers["Docker-Content-Digest"] == image.digest

    (named,) = yaml.safe_load((folder / "kustomization.yaml").read_text())["images"]
    assert named == {
        "name": "quintain-verifier",
        "newName": f"{registry}/team/quintain-verifier",
        "digest": image.digest,
    }
    contents = json.loads((folder / "quintain-verifier.cdx.json").read_text())
    packages = {part["purl"].partition("@")[0] for part in contents["components"]}
    assert {"pkg:pypi/grpcio", "pkg:pypi/quintain", "pkg:deb/debian/libc6"} <= packages
    assert "pkg:pypi/openai" not in packages

    with pytest.raises(release.CannotRelease, match="released once"):
        release.release(engine, f"{registry}/team", "0.0.1", folder, ["verifier"], insecure=True)


def _answers(address: str) -> bool:
    try:
        return bool(urllib.request.urlopen(f"http://{address}/v2/", timeout=5).status == 200)
    except OSError:
        return False
