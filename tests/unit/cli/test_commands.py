"""The list of commands: complete, quick, and helpful to who mistypes."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.cli.conftest import Run

from quintain_cli.command_table import COMMANDS, load_command
from quintain_cli.commands.installed import verifier_has_settings

HEAVY = ("grpc", "google.protobuf", "pydantic", "rich", "structlog", "plotly", "sqlalchemy")
IMPORTED = f"""
import sys
from pathlib import Path
from quintain_cli.app import main
try:
    main()
except SystemExit:
    print("imported:", [name for name in {HEAVY} if name in sys.modules])
"""


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_import_nothing_heavy(option: str) -> None:
    ran = subprocess.run([sys.executable, "-c", IMPORTED, option], capture_output=True, text=True, check=True)
    assert ran.stdout.endswith("imported: []\n"), ran.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example_with_options_that_it_has(name: str) -> None:
    program, command, *words = shlex.split(COMMANDS[name].example)
    assert (program, command) == ("quintain", name)
    called = load_command(name)
    if hasattr(called, "commands"):  # a group: the example is of one of its commands
        called = called.commands[words[0]]
    known = {option for parameter in called.params for option in parameter.opts}
    assert [word for word in words if word.startswith("-") and word not in known] == []


def test_the_list_of_commands_names_all_and_fits_eighty_columns(quintain: Run) -> None:
    lines = quintain("--help").out.splitlines()
    assert [line for line in lines if len(line) > 80] == []
    assert [name for name in COMMANDS if not any(line.startswith(f"  {name} ") for line in lines)] == []


def test_a_misspelt_command_or_option_is_answered_with_the_right_one(quintain: Run) -> None:
    assert "Did you mean 'verify'?" in quintain("verfy").err
    assert "--suite" in quintain("verify", "policy.py", "--siute", "smoke").err


def test_without_a_verifier_what_is_installed_is_listed_and_nothing_is_started(
    quintain: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quintain_cli.connect.Stack", None)
    assert [line.split()[1] for line in quintain("simulators").out.splitlines() if line.startswith("│ faas")] == [
        "faas"
    ]
    suites = [json.loads(line) for line in quintain("suites", "faas", "--json").out.splitlines()]
    assert {suite["name"] for suite in suites} >= {"smoke", "standard", "paper-reference"}
    assert "nowhere" in quintain("suites", "nowhere").err


def test_a_configured_verifier_is_asked_itself(quintain: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "verifier.toml").write_text('[remote_simulators.mine]\naddress = "127.0.0.1:1"\n')
    monkeypatch.setenv("QUINTAIN_CONFIG", str(home))
    assert verifier_has_settings()
