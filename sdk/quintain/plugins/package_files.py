"""The files of an installed package, for simulators whose build is what they consist of. Standard library."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from importlib.resources.abc import Traversable


def package_files(folder: Traversable) -> dict[str, bytes]:
    """Contents by path below `folder` (with ``/``), without compiled and hidden files."""
    return {name: file.read_bytes() for name, file in _files(folder, "")}


def build_digest(files: Mapping[str, bytes]) -> str:
    """sha256 (hex) over names and bytes: the same on every machine and Python version."""
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _files(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    for item in folder.iterdir():
        name = prefix + item.name
        if item.is_dir():
            if item.name != "__pycache__" and not item.name.startswith("."):
                yield from _files(item, f"{name}/")
        elif not item.name.endswith((".pyc", ".pyo")) and not item.name.startswith("."):
            yield name, item
