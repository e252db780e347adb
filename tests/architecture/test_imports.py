"""Who may know whom: every contract of import-linter notices what it is there for, and code that must be plain is."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINTER = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
CONTRACTS = [contract["name"] for contract in LINTER["contracts"]]
PACKAGES = {
    "quintain": ROOT / "sdk",
    "quintain_generator": ROOT / "services/generator",
    "quintain_verifier": ROOT / "services/verifier",
    "quintain_controller": ROOT / "services/controller",
    "quintain_cli": ROOT / "cli",
    "quintain_faas": ROOT / "simulators/faas",
    "quintain_spot_deadline": ROOT / "simulators/spot_deadline",
    "quintain_system": ROOT / "simulators/system",
    "cache_eviction": ROOT / "examples/simulators/cache_eviction",
}
# Contract -> module that breaks it when it imports the other.
VIOLATIONS = {
    "The sdk imports no service and no simulator": ("quintain.service", "quintain_faas"),
    "Services never import each other": ("quintain_controller.usecases", "quintain_verifier.usecases.planning"),
    "Services import no simulator: they find them by entry point": (
        "quintain_verifier.workers",
        "quintain_faas.engine",
    ),
    "A simulator imports of the sdk its plugin interface only": (
        "quintain_faas.engine",
        "quintain.service.settings",
    ),
    "The product imports nothing under the GPL": ("quintain_verifier.usecases", "libcachesim"),
    "The plugin interfaces are plain Python": ("quintain.plugins", "numpy"),
    "Only rpc, adapters and wiring see gRPC and the generated code": (
        "quintain_controller.usecases",
        "quintain.controller.v1.controller_pb2",
    ),
    "Only stores see SQL": ("quintain_controller.usecases", "sqlalchemy"),
    "Behind a port of the controller nobody knows the use cases": (
        "quintain_controller.adapters.store",
        "quintain_controller.usecases.manage",
    ),
    "The controller is built in layers": ("quintain_controller.usecases", "quintain_controller.rpc.servicer"),
    "Behind a port of the generator nobody knows what is served": (
        "quintain_generator.adapters.store",
        "quintain_generator.usecases.endpoint",
    ),
    "The generator is built in layers": ("quintain_generator.usecases", "quintain_generator.rpc.servicer"),
    "Behind a port of the verifier nobody knows the use cases": (
        "quintain_verifier.adapters.store",
        "quintain_verifier.usecases.verify",
    ),
    "The verifier's rpc knows no adapter": ("quintain_verifier.rpc", "quintain_verifier.workers.pool"),
    "The verifier is built in layers": ("quintain_verifier.usecases", "quintain_verifier.workers.pool"),
    "The sdk is built in layers": ("quintain.wire", "quintain.service.settings"),
    "The guest knows the standard library and the policy interface": ("quintain_faas.guest", "quintain_faas.engine"),
    "Beside a model there is the standard library and its interface": (
        "quintain_system.guest",
        "quintain_system.engine.loop",
    ),
    "No module of the simulator imports in a circle": ("quintain_faas.engine", "quintain_faas.plugin"),
    "The domains are plain Python: no grpc, no SQL, no frameworks": ("quintain_generator.domain", "sqlalchemy"),
    "The command line imports the sdk only: what it needs of a service is an rpc": (
        "quintain_cli.commands",
        "quintain_controller.domain.records",
    ),
    "The command line is built in layers": ("quintain_cli.stack", "quintain_cli.commands.local"),
}
# More of each kind, in files that no list names: where it is planted, and what is wrong there.
IN_NEW_FILES = [
    ("quintain_controller.adapters.store", "quintain_controller.usecases.runner"),
    ("quintain_controller.domain.machine", "quintain_controller.ports"),
    ("quintain_controller.domain.strategies", "grpc"),
    ("quintain_controller.usecases", "quintain_controller.adapters.store.sql"),
    ("quintain_controller.rpc", "quintain_controller.adapters.generator"),
    ("quintain_controller.rpc", "sqlalchemy.orm"),
    ("quintain_generator.usecases", "quintain.generator.v1.generator_pb2"),
    ("quintain_generator.usecases", "quintain_generator.adapters.store.sql"),
    ("quintain_generator.backends", "grpc"),
    ("quintain_generator.prompt", "sqlalchemy"),
    ("quintain_generator.domain", "quintain_generator.metrics"),
    ("quintain_generator.rpc", "quintain_generator.adapters.registry"),
    ("quintain_verifier.sandbox", "grpc.aio"),
    ("quintain_verifier.sandbox", "quintain_verifier.domain.plan"),
    ("quintain_verifier.domain", "quintain_verifier.metrics"),
    ("quintain_verifier.usecases", "quintain_verifier.adapters.store.verdicts"),
    ("quintain_verifier.usecases", "quintain.verifier.v1.verifier_pb2"),
    ("quintain_verifier.rpc", "quintain_verifier.adapters.registry"),
    ("quintain_verifier.workers", "quintain_verifier.rpc.to_proto"),
    ("quintain_verifier.workers", "sqlite3"),
    ("quintain.clients", "quintain.service.settings"),
    ("quintain.wire", "quintain.clients.channel"),
    ("quintain.plugins", "quintain.wire.endpoints"),
    ("quintain.service", "quintain.conformance.strategy"),
]
# Where the world outside would make the same inputs give different results.
WORLD = {"asyncio", "os", "pathlib", "secrets", "shutil", "signal", "socket", "subprocess", "tempfile", "threading",
         "time", "urllib", "uuid"}  # fmt: skip


def test_every_contract_is_broken_by_what_it_forbids(tmp_path: Path) -> None:
    assert set(VIOLATIONS) == set(CONTRACTS)
    for package in LINTER["root_packages"]:
        shutil.copytree(PACKAGES[package] / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    planted = {}
    for number, (contract, (where, forbidden)) in enumerate(VIOLATIONS.items()):
        planted[contract] = f"{where}.planted{number}"
        (tmp_path / (planted[contract].replace(".", "/") + ".py")).write_text(f"import {forbidden}\n")
    new_files = [f"{where}.new{number}" for number, (where, _) in enumerate(IN_NEW_FILES)]
    for module, (_, forbidden) in zip(new_files, IN_NEW_FILES, strict=True):
        (tmp_path / (module.replace(".", "/") + ".py")).write_text(f"import {forbidden}\n")
    command = [Path(sys.executable).parent / "lint-imports", "--no-cache"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    found = dict(re.findall(r"^(.+?) (KEPT|BROKEN)", done.stdout, re.MULTILINE))
    assert found == dict.fromkeys(CONTRACTS, "BROKEN"), done.stdout
    siblings = {contract["name"] for contract in LINTER["contracts"] if contract["type"] == "acyclic_siblings"}
    named = [module for contract, module in planted.items() if contract not in siblings]  # a circle names packages
    assert [module for module in (*named, *new_files) if module not in done.stdout] == []


def modules(package: str) -> Iterator[Path]:
    path = PACKAGES[package.split(".")[0]] / package.replace(".", "/")
    found = [path.with_suffix(".py")] if path.with_suffix(".py").exists() else sorted(path.rglob("*.py"))
    assert found, package
    yield from found


def imported(path: Path) -> set[str]:
    """Names of modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
    return found


def outside(package: str, allowed: set[str], without: frozenset[str] = frozenset()) -> list[str]:
    """What a package imports beyond itself, `allowed` (with all below them) and the standard library but `without`."""
    standard = sys.stdlib_module_names - without
    return [
        f"{path.relative_to(ROOT)}: {name}"
        for path in modules(package)
        for name in sorted(imported(path))
        if name.split(".")[0] not in standard and not any(f"{name}.".startswith(f"{a}.") for a in {package, *allowed})
    ]


@pytest.mark.parametrize(
    ("package", "interface"),
    [
        ("quintain_faas.guest", {"quintain_faas.protocol"}),
        ("quintain_faas.protocol", set()),
        ("quintain_spot_deadline.guest", {"quintain_spot_deadline.rules"}),
        ("quintain_spot_deadline.rules", set()),
        ("cache_eviction.guest", set()),
        ("quintain_verifier.sandbox.inside", set()),
    ],
)
def test_what_runs_beside_a_policy_knows_the_standard_library_and_the_policy_interface(
    package: str, interface: set[str]
) -> None:
    assert outside(package, interface) == []


@pytest.mark.parametrize(
    ("package", "allowed"),
    [
        ("quintain_generator.domain", {"threading"}),  # a lock around the interpreter's parser
        # Plain data, and the structs that travel to the workers.
        (
            "quintain_verifier.domain",
            {"quintain_verifier.sandbox.limits", "quintain_verifier.sandbox.report", "msgspec"},
        ),
        (  # plain too
            "quintain_controller.domain",
            {"quintain.statistics", "quintain.errors", "quintain.backoff", "quintain.pareto"},
        ),
    ],
)
def test_a_domain_knows_neither_clock_nor_files_nor_network(package: str, allowed: set[str]) -> None:
    assert outside(package, {"quintain.plugins", "pydantic", *allowed}, frozenset(WORLD)) == []


def test_a_simulator_knows_its_own_libraries_and_no_clock() -> None:
    files_and_locks = {"pathlib", "threading"}
    known = {"quintain.plugins", "numpy", "plotly", "eudoxia"}
    found = outside("quintain_faas", known, frozenset(WORLD - files_and_locks))
    # a system package that lies beside it: its model and policies are guests of another simulator
    assert [line for line in found if "/pools_package/" not in line] == []


def test_spot_deadline_knows_its_own_libraries_and_looks_at_the_environment_in_one_place() -> None:
    found = outside("quintain_spot_deadline", {"quintain.plugins", "numpy"}, frozenset(WORLD - {"pathlib"}))
    assert found == ["simulators/spot_deadline/quintain_spot_deadline/settings.py: os"]


def test_a_planted_import_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain/late.py").write_text("def f():\n    import numpy.random\n    import time\n")
    monkeypatch.setitem(PACKAGES, "plain", tmp_path)
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    assert outside("plain", set(), frozenset(WORLD)) == ["plain/late.py: numpy.random", "plain/late.py: time"]
