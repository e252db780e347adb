"""The commands of the page on fitted models, from a log to a policy, with small budgets and without a key."""

from __future__ import annotations

import re
import shlex
import shutil
from importlib import resources
from pathlib import Path

import pytest
from tests.e2e.conftest import Quintain

PAGE = Path(__file__).parents[2] / "docs" / "systems.md"
# What the test adds to a command: the last word counts.
SMALLER = {
    "record": ["--scenario", "tight"],
    "loop": ["--rounds", "1", "--models", "1", "--policies", "3", "--references", "0", "--attack", "3"],
    "fidelity": ["--references", "0", "--attack", "3"],
}
PATIENCE = 1200  # seconds of one command, on a machine that does other things
TENANTS = Path(str(resources.files("quintain_system") / "packages" / "tenants"))
SHORTER = ("duration = 180.0", "duration = 20.0")  # a calibration takes as long as what was recorded is long


def short_suite(folder: Path) -> str:
    """`tenants/smoke` as a suite of one's own, whose scenarios are over sooner."""
    shutil.copytree(TENANTS, folder / "tenants")
    suite = folder / "tenants" / "suites" / "smoke.toml"
    text = suite.read_text(encoding="utf-8")
    assert SHORTER[0] in text
    suite.write_text(text.replace(*SHORTER), encoding="utf-8")
    return str(suite)


def commands() -> list[list[str]]:
    """Of the section, without comments."""
    section = PAGE.read_text(encoding="utf-8").partition("## From log to policy, and back")[2].partition("\n## ")[0]
    return [shlex.split(line, comments=True)[1:] for line in re.findall(r"^    (quintain .*)$", section, re.MULTILINE)]


@pytest.mark.timeout(2400)
def test_the_pages_commands_lead_from_a_log_to_a_policy(quintain: Quintain, tmp_path: Path) -> None:
    told = commands()
    assert [words[0] for words in told] == ["record", "system", "loop", "fidelity"]
    log, card = tmp_path / "log", tmp_path / "card.html"
    suite = short_suite(tmp_path)
    places = {"log/": str(log), "card.html": str(card), "tenants/smoke": suite}
    ran = {}
    for words in told:
        arguments = [places.get(word, word) for word in words]
        ran[words[0]] = quintain(*arguments, *SMALLER.get(words[0], ()), seconds=PATIENCE)
    assert ran["record"].code == 0, ran["record"].err
    assert ran["system"].code == 0, ran["system"].out
    assert "other_policy: " in ran["system"].out
    # 1: the prediction did not hold, or the model is not to be trusted. With these budgets either may be.
    assert ran["loop"].code in (0, 1), ran["loop"].err
    assert "the prediction of the winner" in ran["loop"].out
    assert ran["fidelity"].code in (0, 1), ran["fidelity"].err
    assert "fidelity" in ran["fidelity"].out
    assert (log / "recordings" / "tight-loop_1.jsonl.gz").is_file()
    assert "def decide" in (log / "winner.py").read_text(encoding="utf-8")
    assert "<html" in card.read_text(encoding="utf-8")[:2000].lower()
    truth = ("--simulator", "system", "--suite", suite)
    ranked = quintain("verify", str(log / "winner.py"), *truth, "--json")
    assert ranked.code == 0, ranked.err
