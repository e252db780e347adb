"""The simulator object that the entry point loads."""

import re
from importlib.resources.abc import Traversable
from pathlib import Path

from quintain.plugins.doors import SIMULATORS
from quintain.plugins.package_files import build_digest, package_files
from quintain.plugins.simulator import Simulator
from quintain_faas.outcome import _finite
from quintain_faas.plugin import simulator


def test_the_entry_point_gives_a_simulator() -> None:
    found = SIMULATORS.load("faas")
    assert found is simulator
    assert isinstance(found, Simulator)


def test_the_description_fits_together() -> None:
    d = simulator.describe()
    assert d.name == "faas"
    assert {simulator.suite(name).objective for name in d.suites} <= {o.name for o in d.objectives}
    assert [b.name for b in d.baselines] == ["fifo", "priority"]
    assert all(b.description for b in d.baselines)
    assert d.calling_modes == ("every_tick", "fixed_point", "guard")
    for baseline in d.baselines:
        for needed in d.required_definitions:
            assert f"@{needed.name}(" in baseline.source
            assert f"@{needed.name}(" in d.policy_guide


def tree(root: Path, files: dict[str, str]) -> Traversable:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_the_build_digest_covers_code_and_data_and_nothing_else(tmp_path: Path) -> None:
    files = {"a.py": "1", "suites/x/suite.toml": "2"}
    first = build_digest(package_files(tree(tmp_path / "one", files)))
    leftovers = {"__pycache__/a.cpython-311.pyc": "x", "b.pyc": "y", ".DS_Store": "z"}
    assert build_digest(package_files(tree(tmp_path / "two", files | leftovers))) == first
    assert build_digest(package_files(tree(tmp_path / "three", files | {"a.py": "3"}))) != first
    assert build_digest(package_files(tree(tmp_path / "four", files | {"suites/x/suite.toml": "3"}))) != first
    assert build_digest(package_files(tree(tmp_path / "five", files | {"c.py": ""}))) != first
    assert build_digest(package_files(tree(tmp_path / "six", {"b.py": "1", "suites/x/suite.toml": "2"}))) != first
    assert re.fullmatch("[0-9a-f]{64}", first)


def test_metrics_that_do_not_exist_are_left_out() -> None:
    assert _finite({"a": 1, "b": float("nan"), "c": float("inf"), "d": 0.5}) == {"a": 1.0, "d": 0.5}
