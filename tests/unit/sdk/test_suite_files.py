"""A suite read for a request."""

from __future__ import annotations

from pathlib import Path

import pytest

from quintain.clients.suite_files import read_suite
from quintain.errors import InvalidArgument


@pytest.fixture
def package(tmp_path: Path) -> str:
    folder = tmp_path / "shop"
    folder.mkdir()
    for name in ("system.toml", "suite.toml"):
        (folder / name).write_text("")
    return str(folder)


def test_a_system_package_is_no_suite_of_the_default_simulator(package: str) -> None:
    """Who forgets --simulator is told so, not that a key of suite.toml is unknown."""
    with pytest.raises(InvalidArgument, match=r"shop is a system package, .* its simulator is system, not faas"):
        read_suite(package, simulator="faas")


@pytest.mark.parametrize("simulator", ["system", "fit", "served_by_somebody"])
def test_other_simulators_get_its_files(package: str, simulator: str) -> None:
    assert read_suite(package, simulator=simulator) == ("shop", {"suite.toml": b"", "system.toml": b""})
