"""A wheel that is broken behind every door, installed beside the services: it is listed, and nobody else is hurt."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.e2e.conftest import Ran, clean_environment, run

from quintain_cli.stack.stack import Stack

pytestmark = pytest.mark.xdist_group("e2e-broken")

BROKEN = Path(__file__).parents[1] / "support/broken_plugins"


def test_beside_a_broken_wheel_everything_healthy_is_listed_and_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(BROKEN))  # what the services and the command line find installed
    config = tmp_path / "config/quintain"
    config.mkdir(parents=True)
    (config / "generator.toml").write_text('[backends.guest]\nkind = "breaks-at-import"\n')
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    with Stack(data=tmp_path / "data") as stack:
        environment = {f"QUINTAIN_{service.upper()}": address for service, address in stack.addresses.items()}

        def quintain(*arguments: str) -> Ran:
            return run({**clean_environment(tmp_path), **environment}, *arguments)

        simulators, strategies, backends = (quintain(what) for what in ("simulators", "strategies", "backends"))
        assert "faas" in simulators.out
        assert "breaks-at-import cannot be used" in simulators.out
        assert "not-a-simulator cannot be used" in simulators.out
        assert "evolve" in strategies.out
        assert "class-not-instance cannot be used" in strategies.out
        assert "offline" in backends.out
        assert "cannot import name 'Simulatorr'" in " ".join(backends.out.split())

        searched = quintain("search", "--suite", "smoke", "--candidates", "1", "--backend", "offline")
        assert searched.code == 0, searched.err
        refused = quintain("search", "--suite", "smoke", "--candidates", "1", "--strategy", "class-not-instance")
        assert refused.code == 2
        assert "the entry point must name an instance" in refused.err
        paused = quintain("search", "--suite", "smoke", "--candidates", "1", "--backend", "guest")
        assert paused.code == 1
        assert "Simulatorr" in paused.out
        policy = tmp_path / "policy.py"
        policy.write_text("x = 1\n")
        verified = quintain("verify", str(policy), "--simulator", "not-a-simulator", "--scenario", "x")
        assert verified.code == 2
        assert "the entry point must name an instance" in verified.err
