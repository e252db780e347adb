"""First thing a fork server runs: ``python -s -P -S -B boot.py '<config as JSON>'``.

There are no site-packages. A finder makes importable exactly the packages that the config names in ``roots``
(top-level name -> folders that hold it), so that a guest module that reaches for anything else fails at start-up.
"""

import importlib.machinery
import json
import sys
from collections.abc import Sequence
from types import ModuleType


class NamedPackages:
    """Meta path finder for the named top-level packages only; their submodules follow through their own path."""

    def __init__(self, roots: dict[str, list[str]]) -> None:
        self._roots = roots

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        folders = self._roots.get(name)
        return importlib.machinery.PathFinder.find_spec(name, folders, target) if folders else None


if __name__ == "__main__":
    config = json.loads(sys.argv[1])
    sys.meta_path.append(NamedPackages(config["roots"]))
    from quintain_verifier.sandbox.inside.server import main

    main(config)
