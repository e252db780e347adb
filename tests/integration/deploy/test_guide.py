"""What docs/deploy.md tells people to type, as far as it can be tried without a cluster."""

import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
BIN = Path(sys.executable).parent
GUIDE = (ROOT / "docs/deploy.md").read_text()


def commands(beginning: str) -> list[str]:
    found = re.findall(rf"^ *({beginning} .*)$", GUIDE, re.MULTILINE)
    assert found, f"the guide has no command that begins with {beginning!r}"
    return list(found)


def try_command(words: list[str]) -> str:
    done = subprocess.run([BIN / words[0], *words[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("command", commands("kubectl kustomize"))
def test_overlays_render(command: str) -> None:
    assert "kind: Deployment" in try_command(shlex.split(command))


def test_the_overlay_of_ones_own_that_the_guide_shows_names_every_image(tmp_path: Path) -> None:
    (shown,) = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    shutil.copytree(ROOT / "deploy/kubernetes", tmp_path / "kubernetes")
    own = tmp_path / "kubernetes/overlays/own"
    own.mkdir()
    (own / "kustomization.yaml").write_text(textwrap.dedent(shown))
    rendered = try_command(["kubectl", "kustomize", str(own)])
    images = re.findall(r"image: (\S+)", rendered)
    assert sorted(images) == [f"REGISTRY/quintain-{name}:0.1.0" for name in ("controller", "generator", "verifier")]


@pytest.mark.parametrize("command", commands("kubectl create secret"))
def test_secrets_are_those_that_the_manifests_ask_for(command: str) -> None:
    made = try_command([*shlex.split(command), "--dry-run=client", "--output=yaml"])
    name = re.search(r"^  name: (\S+)$", made, re.MULTILINE)
    assert name
    manifests = try_command(["kubectl", "kustomize", "deploy/kubernetes/overlays/production"])
    assert f"name: {name[1]}" in manifests
    if name[1] == "quintain-database":
        assert "  url: " in made
        assert re.search(r"key: url\n\s+name: quintain-database", manifests)


@pytest.mark.parametrize("command", commands("docker build"))
def test_targets_and_files_of_the_builds_exist(command: str) -> None:
    words = shlex.split(command)
    dockerfile = (ROOT / words[words.index("-f") + 1]).read_text()
    assert re.search(rf"^FROM runtime AS {words[words.index('--target') + 1]}$", dockerfile, re.MULTILINE)
