"""A suite of one's own on a stack, beyond the search: ablate, resume, report, replay; all in this process."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from quintain_cli import app
from quintain_cli.stack.stack import Stack

pytestmark = pytest.mark.xdist_group("e2e")


def test_it_is_ablated_reported_and_replayed(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for service, address in stack.addresses.items():
        monkeypatch.setenv(f"QUINTAIN_{service.upper()}", address)
    monkeypatch.setenv("QUINTAIN_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("QUINTAIN_RUN", str(tmp_path / "run"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)

    def quintain(line: str, code: int = 0) -> tuple[list[dict[str, Any]], str]:
        monkeypatch.setattr(sys, "argv", ["quintain", *line.split()])
        with pytest.raises(SystemExit) as ended:
            app.main()
        said = capsys.readouterr()
        assert (ended.value.code or 0) == code, said.err
        return [json.loads(text) for text in said.out.splitlines() if text.startswith("{")], said.err

    quintain("suite new mine")
    ablate = "ablate --suite ./mine --seeds 1 --strategy chain --strategy best-of-n --candidates 1 --json"
    found, told = quintain(f"{ablate} --out ablation.html")
    searches = [line["search_id"] for line in found[:2]]
    assert "chain" in Path("ablation.html").read_text()

    resume = f"{ablate} --resume {told.partition('--resume ')[2].split()[0]}"
    assert [line["search_id"] for line in quintain(resume)[0][:2]] == searches, "nothing is searched twice"
    shutil.copy("mine/tuesday.csv", "mine/monday.csv")
    assert "was searched with other settings or files of the suite" in quintain(resume, code=2)[1]

    shutil.rmtree("mine")  # the searches keep the files
    quintain(f"report {searches[0]} --out report.html")
    assert "tuesday" in Path("report.html").read_text(), "held-out scenarios are in the report's table"
    assert quintain(f"replay {searches[0]} --json")[0][0]["equal"]
