"""A project folder that `quintain init` makes: it runs, and its configuration files say what the services accept."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli.conftest import Run

from quintain.plugins.doors import BACKENDS
from quintain_cli.commands.init import CONFIGURATIONS, template
from quintain_cli.stack import paths
from quintain_controller.config import ControllerSettings
from quintain_generator.config import BackendSettings, GeneratorSettings
from quintain_verifier.config import VerifierSettings

SETTINGS = {
    "generator.toml": GeneratorSettings,
    "verifier.toml": VerifierSettings,
    "controller.toml": ControllerSettings,
}


def uncommented(name: str) -> dict[str, Any]:
    """The file with the '#' taken away from every key and table."""
    return tomllib.loads(re.sub(r"^# (?=\[|[a-z_]+ = )", "", template(name), flags=re.MULTILINE))


def test_a_project_is_made_whole_and_nothing_is_overwritten(
    quintain: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = quintain("init", "mine")
    assert ran.code == 0, ran.err
    monkeypatch.chdir(tmp_path / "mine")
    assert paths.data_dir() == tmp_path / "mine/.quintain/data"
    assert "def " in Path("policy.py").read_text()
    for name, settings in SETTINGS.items():  # as they are, they change nothing
        assert settings.model_validate(tomllib.loads(Path("config", name).read_text())) == settings()
    Path("policy.py").write_text("my work\n")
    again = quintain("init")
    assert (again.code, again.err) == (2, "error: policy.py exists already; choose another folder, or move it away\n")
    assert Path("policy.py").read_text() == "my work\n"


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_every_line_of_a_configuration_file_is_accepted_once_it_is_no_comment(name: str) -> None:
    document = uncommented(name)
    assert document
    SETTINGS[name].model_validate(document)


def test_every_option_of_every_kind_of_backend_is_shown() -> None:
    backends = uncommented("generator.toml")["backends"]
    shown: dict[str, Any] = {table["kind"]: table for table in backends.values()}
    assert set(shown) == set(BACKENDS.names())
    for kind, table in shown.items():
        options = BACKENDS.load(kind).Options
        options.model_validate(table.get("options", {}))
        assert set(table.get("options", {})) == set(options.model_fields), kind
    assert set(shown["openai"]) == set(BackendSettings.model_fields)
