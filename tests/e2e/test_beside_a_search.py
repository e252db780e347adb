"""While a search runs in one terminal, without a local stack, the other commands work in another."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest
from tests.e2e.conftest import clean_environment, command, processes_of, run

pytestmark = pytest.mark.xdist_group("e2e")

POLICY = Path(__file__).parents[2] / "simulators/faas/quintain_faas/baselines/fifo.py"


def test_an_embedded_search_is_looked_at_from_another_terminal(tmp_path: Path) -> None:
    environment = clean_environment(tmp_path)
    searching = subprocess.Popen(
        command("search", "--suite", "smoke", "--candidates", "2000", "--minutes", "5", "--json"),
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert searching.stdout is not None
    try:
        search = ""
        for line in searching.stdout:  # until there is something to look at
            event = json.loads(line)
            search = event["search_id"]
            if "new_best" in event:
                break
        listed = run(environment, "searches", "--json")
        assert [found["search_id"] for found in listed.lines] == [search], listed.err
        assert listed.lines[0]["state"] == "SEARCH_STATE_RUNNING"
        shown = run(environment, "show", search, "--candidates")
        assert "seed" in shown.out, shown.err
        assert run(environment, "best", search).out.startswith("# Found by quintain"), "best"
        verified = run(environment, "verify", str(POLICY), "--suite", "smoke")
        assert verified.code == 0, verified.err
        report = tmp_path / "report.html"
        reported = run(environment, "report", search, "--no-timelines", "--out", str(report))
        assert reported.code == 0, reported.err
        assert report.stat().st_size > 10_000
        watching = subprocess.Popen(command("watch", search), env=environment, stdout=subprocess.PIPE, text=True)
        assert watching.stdout is not None
        assert "search running" in watching.stdout.readline()
    finally:
        searching.send_signal(signal.SIGINT)
        searching.communicate(timeout=60)
    assert watching.wait(30) == 0  # a pause ends the watching
    assert processes_of(tmp_path) == []
    paused = run(environment, "show", search)
    assert f"search {search} paused" in paused.out, paused.err
