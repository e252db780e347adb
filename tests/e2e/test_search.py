"""The main job, over real gRPC between real processes."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from pathlib import Path

import pytest
from tests.e2e.conftest import Quintain, clean_environment, command, processes_of, run

pytestmark = pytest.mark.xdist_group("e2e")

SEARCH = ("search", "--suite", "smoke", "--backend", "offline", "--json")


def test_a_search_finds_a_policy_that_beats_fifo_and_everything_about_it_can_be_had(
    quintain: Quintain, tmp_path: Path
) -> None:
    ran = quintain(*SEARCH, "--candidates", "12", "--seed", "1")
    assert ran.code == 0, ran.err
    search = ran.lines[-1]
    search_id, best = search["search_id"], search["best"]
    assert search["state"] == "SEARCH_STATE_FINISHED"
    assert best["score"] > 1.5 * best["baseline_score"]
    assert best["score"] <= best["bound_score"]
    assert [line["sequence"] for line in ran.lines[:-1]] == list(range(1, len(ran.lines)))

    policy = tmp_path / "best.py"
    assert quintain("best", search_id, "--candidate", str(best["number"]), "--out", str(policy)).code == 0
    verdict = quintain("verify", str(policy), "--suite", "smoke", "--json").lines[0]
    assert verdict["train"]["score"] == best["score"], "the file is the policy that was scored"

    replayed = quintain("replay", search_id, "--json")
    assert replayed.code == 0, replayed.out
    assert replayed.lines[0]["verdicts_equal"] == replayed.lines[0]["verdicts"] > 0

    page = tmp_path / "report.html"
    assert quintain("report", search_id, "--out", str(page)).code == 0
    assert "smoke_burst" in page.read_text(), "held-out scenarios are in the report's table"

    compared = quintain("compare", "fifo", str(policy), "--suite", "smoke", "--json").lines[0]
    assert {d["part"]: d["mean"] > 0 for d in compared["differences"]} == {"train": True, "held-out": True, "all": True}


def test_an_interrupted_search_leaves_no_process_and_goes_on_where_it_was(tmp_path: Path) -> None:
    environment = clean_environment(tmp_path)
    begun = subprocess.Popen(
        command(*SEARCH, "--candidates", "8"),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert begun.stdout is not None
    while "new_best" not in (line := begun.stdout.readline()):
        assert line, "the search ended before it found anything"
    begun.send_signal(signal.SIGINT)
    _, told = begun.communicate(timeout=60)
    assert begun.returncode == 130, told
    assert processes_of(tmp_path) == []
    search_id = told.split("quintain search --resume ")[1].split()[0]

    ended = run(environment, "search", "--resume", search_id, "--json")
    assert ended.code == 0, ended.err
    assert ended.lines[-1]["state"] == "SEARCH_STATE_FINISHED"
    shown = run(environment, "show", search_id, "--candidates", "--json").lines[1:]
    assert [candidate.get("number", 0) for candidate in shown] == list(range(9)), "none is missing or double"
    assert processes_of(tmp_path) == []


def test_a_command_that_is_killed_takes_its_services_with_it(tmp_path: Path) -> None:
    environment = clean_environment(tmp_path)
    begun = subprocess.Popen(
        command(*SEARCH, "--candidates", "500"), env=environment, stdout=subprocess.PIPE, text=True
    )
    assert begun.stdout is not None
    assert begun.stdout.readline(), "the search runs"
    poll = select.poll()
    started = {os.pidfd_open(pid) for pid in processes_of(tmp_path) if pid != begun.pid}
    assert len(started) >= 3
    for descriptor in started:
        poll.register(descriptor, select.POLLIN)
    begun.kill()
    begun.communicate()
    while started:
        ended = poll.poll(30_000)
        assert ended, f"still running 30 s after the command was killed: {processes_of(tmp_path)}"
        for descriptor, _ in ended:
            poll.unregister(descriptor)
            os.close(descriptor)
            started.discard(descriptor)
    assert processes_of(tmp_path) == []
