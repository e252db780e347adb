"""Release the images of a version: ``make release REGISTRY=registry.example/quintain``.

Builds every image from a clean checkout, pushes it under the version's tag, and writes into ``release/VERSION``: a
kustomize component that names each image by its digest, and for each image what is in it (CycloneDX). With `cosign` on
the path, images are signed and the lists attached; without it that is said.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from deploy.images.engine import PYTHON, ROOT, Engine, NoEngine, find_engine
from packageurl import PackageURL

TARGETS = ("verifier", "generator", "controller", "cli")
_PUSH_SECONDS = 1800.0
# Runs in the image: what Python and Debian say that is installed.
_INVENTORY = r"""
import importlib.metadata, json
debian, package = [], ""
for line in open("/var/lib/dpkg/status"):
    key, _, value = line.rstrip("\n").partition(": ")
    if key == "Package":
        package = value
    elif key == "Version":
        debian.append((package, value))
python = [(d.metadata["Name"], d.version) for d in importlib.metadata.distributions()]
print(json.dumps({"deb": sorted(debian), "pypi": sorted(python)}))
"""


class CannotRelease(Exception):
    """What is wrong, and what would be right."""


@dataclass(frozen=True, slots=True)
class Image:
    """One that was pushed. `name` without tag."""

    target: str
    name: str
    digest: str

    @property
    def reference(self) -> str:
        return f"{self.name}@{self.digest}"


def release(
    engine: Engine, registry: str, version: str, folder: Path, targets: Sequence[str], *, insecure: bool
) -> list[Image]:
    """Build and push `targets`, and write `folder`. Raises CannotRelease, and RuntimeError with the engine's words."""
    if folder.exists():
        raise CannotRelease(f"{folder} is there already: a version is released once; remove it to do it again")
    built = {target: f"{registry}/quintain-{target}:{version}" for target in targets}
    for target, tag in built.items():
        engine.build(target, tag)
    inventories = {target: _bill_of_materials(engine, target, tag, version) for target, tag in built.items()}
    images = [Image(t, f"{registry}/quintain-{t}", push(engine, tag, insecure=insecure)) for t, tag in built.items()]
    folder.mkdir(parents=True)
    for image in images:
        (folder / f"quintain-{image.target}.cdx.json").write_text(inventories[image.target])
    (folder / "kustomization.yaml").write_text(component(images))
    return images


def push(engine: Engine, tag: str, *, insecure: bool) -> str:
    """-> the digest under which the registry has it."""
    if engine.command[0] == "podman":
        with tempfile.NamedTemporaryFile(prefix="quintain-digest-") as file:
            check = ["--tls-verify=false"] if insecure else []
            engine.run("push", *check, "--digestfile", file.name, tag, seconds=_PUSH_SECONDS)
            found = Path(file.name).read_text().strip()
    else:
        said = engine.run("push", tag, seconds=_PUSH_SECONDS)
        found = "".join(re.findall(r"digest: (sha256:[0-9a-f]{64})", said)[-1:])
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", found):
        raise CannotRelease(f"{tag} was pushed, but the engine named no digest")
    return found


def component(images: Sequence[Image]) -> str:
    """A kustomize component: ``components: [release/VERSION]`` in an overlay."""
    names = [{"name": f"quintain-{image.target}", "newName": image.name, "digest": image.digest} for image in images]
    document = {"apiVersion": "kustomize.config.k8s.io/v1alpha1", "kind": "Component", "images": names}
    return yaml.safe_dump(document, sort_keys=False)


def _bill_of_materials(engine: Engine, target: str, tag: str, version: str) -> str:
    said = engine.run("run", "--rm", "--network", "none", *engine.limits, "--entrypoint", PYTHON, tag, "-c", _INVENTORY)
    found: dict[str, list[list[str]]] = json.loads(said)
    bom = Bom()
    image = Component(name=f"quintain-{target}", version=version, type=ComponentType.CONTAINER)
    bom.metadata.component = image
    for kind, packages in found.items():
        for name, number in packages:
            namespace = "debian" if kind == "deb" else None
            purl = PackageURL(type=kind, namespace=namespace, name=name, version=number)
            bom.components.add(Component(name=name, version=number, purl=purl, type=ComponentType.LIBRARY))
    bom.register_dependency(image, bom.components)
    return JsonV1Dot6(bom).output_as_string(indent=1)


def sign(images: Sequence[Image], folder: Path) -> str:
    """-> what to say of it. Raises CannotRelease if cosign refuses."""
    cosign = shutil.which("cosign")
    if cosign is None:
        return "not signed: cosign is not installed"
    for image in images:
        bill = str(folder / f"quintain-{image.target}.cdx.json")
        for command in (
            ["sign", "--yes", image.reference],
            ["attest", "--yes", "--type", "cyclonedx", "--predicate", bill, image.reference],
        ):
            done = subprocess.run([cosign, *command], capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise CannotRelease(f"cosign {command[0]} {image.reference}: {done.stderr[-500:]}")
    return "signed with cosign, lists of contents attached"


def checked_version(tag: str) -> str:
    """The version of the checkout. Raises CannotRelease unless it is committed, whole, and tagged as `tag`."""
    version: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    if tag != f"v{version}":
        raise CannotRelease(f"TAG is {tag!r}; pyproject.toml says version {version}, so it must be 'v{version}'")
    if changed := _git("status", "--porcelain"):
        raise CannotRelease(f"the checkout has changes that are not committed:\n{changed}")
    if tag not in _git("tag", "--points-at", "HEAD").split():
        raise CannotRelease(f"HEAD is not tagged: git tag {tag}")
    return version


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("registry", help="where the images go, without https://: registry.example/quintain")
    parser.add_argument("tag", help="the git tag that is released: v0.1.0")
    parser.add_argument("--insecure", action="store_true", help="the registry speaks plain HTTP (podman; a local one)")
    options = parser.parse_args()
    try:
        version = checked_version(options.tag)
        if "://" in options.registry or not options.registry:
            raise CannotRelease(f"REGISTRY is {options.registry!r}; must be like registry.example/quintain")
        folder = ROOT / "release" / version
        engine = find_engine()
        images = release(engine, options.registry, version, folder, TARGETS, insecure=options.insecure)
        signed = sign(images, folder)
    except (CannotRelease, NoEngine, RuntimeError) as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    print(*(image.reference for image in images), sep="\n")
    print(f"{folder.relative_to(ROOT)}: kustomization.yaml and the images' contents; {signed}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
