"""The wheel in a new environment, as somebody gets it without a checkout: `make test-install`, with a package index."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.skipif("QUINTAIN_TEST_INSTALL" not in os.environ, reason="installs packages: make test-install"),
    pytest.mark.timeout(600),
]
CHECKOUT = Path(__file__).parents[2]
MOST_MEGABYTES = 250
APART = ("pytest", "mypy", "ruff", "openai", "anthropic", "plotly", "playwright", "psycopg", "mcp")
MODEL = """
[backends.gpt]
kind = "openai"
model = "some-model"
"""
AGENT = """
ledger = "agent.ledger"
budget = { usd = 0, verifications = 1, hours = 1 }
[allowed]
backends = ["offline"]
suites = [{ simulator = "faas", suite = "smoke" }]
"""
POSTGRESQL = 'store_url = "postgresql+psycopg://me@127.0.0.1/searches"\n'


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("environment")
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
    subprocess.run([uv, "pip", "install", "--quiet", "--python", str(folder / "bin/python"), str(CHECKOUT)], check=True)
    return folder


def run(installed: Path, folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("QUINTAIN_", "PYTHON", "VIRTUAL"))}
    environment = kept | {
        "QUINTAIN_DATA": str(folder / "data"),
        "QUINTAIN_RUN": str(folder / "run"),
        "HOME": str(folder),
        **more,
    }
    command = [str(installed / "bin/quintain"), *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False
    )


def test_it_searches_offline_on_a_suite_of_ones_own(installed: Path, tmp_path: Path) -> None:
    assert run(installed, tmp_path, "suite", "new", "mine").returncode == 0
    searched = run(installed, tmp_path, "search", "--suite", "mine", "--candidates", "30", "--json")
    assert searched.returncode == 0, searched.stderr
    search = json.loads(searched.stdout.splitlines()[-1])
    assert search["state"] == "SEARCH_STATE_FINISHED"
    assert search["best"]["score"] > search["best"]["baseline_score"]
    replayed = run(installed, tmp_path, "replay", search["search_id"])
    assert "the replay is equal" in replayed.stdout, replayed.stderr


def test_it_has_what_fitting_a_model_needs(installed: Path) -> None:
    imports = "import quintain_system.fit.calibration, quintain_system.fit.grammar"
    subprocess.run([installed / "bin/python", "-c", imports], check=True)


@pytest.mark.parametrize(
    ("extra", "arguments", "environment"),
    [
        ("viz", ["simulate", "policy.py", "--scenario", "smoke_steady", "--picture", "run.html"], {}),
        ("mcp", ["mcp", "--config", "agent.toml"], {}),
        ("llm", ["backends"], {"QUINTAIN_CONFIG": "llm"}),
        ("postgres", ["searches"], {"QUINTAIN_CONFIG": "postgresql"}),
        ("tracing", ["searches"], {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317"}),
    ],
)
def test_what_needs_an_extra_names_it(
    installed: Path, tmp_path: Path, extra: str, arguments: list[str], environment: dict[str, str]
) -> None:
    (tmp_path / "policy.py").write_text("# never run\n")
    (tmp_path / "agent.toml").write_text(AGENT)
    for name, files in {"llm": {"generator": MODEL}, "postgresql": {"controller": POSTGRESQL}}.items():
        (tmp_path / name).mkdir()
        for service, text in files.items():
            (tmp_path / name / f"{service}.toml").write_text(text)
    ran = run(installed, tmp_path, *arguments, COLUMNS="200", **environment)
    assert f"pip install 'quintain[{extra}]'" in ran.stdout + ran.stderr
    assert "Traceback" not in ran.stdout + ran.stderr


def test_it_is_small_and_the_developers_tools_are_apart(installed: Path) -> None:
    (packages,) = installed.glob("lib/python3*/site-packages")
    assert {path.name.partition("-")[0].lower() for path in packages.iterdir()}.isdisjoint(APART)
    megabytes = sum(path.stat().st_blocks * 512 for path in packages.rglob("*") if path.is_file()) / 1e6
    assert megabytes < MOST_MEGABYTES
