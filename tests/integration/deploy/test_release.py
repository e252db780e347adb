"""What a release writes for a cluster, and when it is refused. The whole of one: deploy/images/test_release.py."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from deploy.images import release
from deploy.images.engine import ROOT


def test_manifests_with_a_release_name_its_digests(tmp_path: Path) -> None:
    digest = "sha256:" + "5" * 64
    images = [release.Image(t, f"registry.example/quintain/quintain-{t}", digest) for t in release.TARGETS]
    (tmp_path / "release").mkdir()
    (tmp_path / "release/kustomization.yaml").write_text(release.component(images))
    shutil.copytree(ROOT / "deploy/kubernetes", tmp_path / "kubernetes")
    (tmp_path / "own").mkdir()
    overlay = {"resources": ["../kubernetes/overlays/development"], "components": ["../release"]}
    (tmp_path / "own/kustomization.yaml").write_text(yaml.safe_dump(overlay))
    kubectl = ROOT / ".venv/bin/kubectl"
    rendered = subprocess.run(
        [kubectl, "kustomize", tmp_path / "own"], capture_output=True, text=True, check=True
    ).stdout
    for target in ("verifier", "generator", "controller"):
        assert f"registry.example/quintain/quintain-{target}@{digest}" in rendered


@pytest.mark.parametrize(("tag", "said"), [("0.1.0", "must be 'v"), ("v9.9.9", "must be 'v"), ("", "must be 'v")])
def test_a_tag_that_is_not_the_version_is_refused(tag: str, said: str) -> None:
    with pytest.raises(release.CannotRelease, match=said):
        release.checked_version(tag)
