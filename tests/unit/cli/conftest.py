from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.unit.cli.fakes import FakeController, FakeVerifier, serving

from quintain_cli import app, render


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def verifier() -> FakeVerifier:
    return FakeVerifier()


@pytest.fixture
def controller() -> FakeController:
    return FakeController()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No configuration, state or data of the person who runs the tests."""
    for variable in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / variable.lower()))
    for variable in ("CONTROLLER", "VERIFIER", "GENERATOR", "DATA", "RUN", "CONFIG", "TOKEN"):
        monkeypatch.delenv(f"QUINTAIN_{variable}", raising=False)
    monkeypatch.chdir(tmp_path)  # in no project
    # Whatever COLUMNS says where the tests run: tables in one width.
    monkeypatch.setattr(render.out, "width", render.PIPE_WIDTH)
    return tmp_path


@pytest.fixture
def services(
    home: Path, verifier: FakeVerifier, controller: FakeController, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """Fake services that the environment points to; their address."""
    with serving(verifier, controller) as address:
        monkeypatch.setenv("QUINTAIN_CONTROLLER", address)
        monkeypatch.setenv("QUINTAIN_VERIFIER", address)
        yield address


@pytest.fixture
def quintain(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line in this process."""

    def run(*arguments: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["quintain", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            app.main()
        captured = capsys.readouterr()
        code = ended.value.code
        return Ran(code if isinstance(code, int) else 0, captured.out, captured.err)

    return run


@pytest.fixture
def policy(tmp_path: Path) -> str:
    path = tmp_path / "policy.py"
    path.write_text("# a policy\n")
    return str(path)
