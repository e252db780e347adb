"""``quintain loop`` and ``quintain fit``, killed at every moment that leaves something behind: started again, each
ends as if nothing had happened, and no search was made twice. Some of these are
moments of ``tests/e2e/test_recordings.py`` as well.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.e2e.conftest import Quintain, environment, killed, quintain, stack, stack_folder
from tests.e2e.test_recordings import contents, counter, searches

__all__ = ["environment", "killed", "quintain", "stack", "stack_folder"]

pytestmark = [
    pytest.mark.crash,
    pytest.mark.timeout(3600),
    pytest.mark.skipif("QUINTAIN_CRASH_KILLS" not in os.environ, reason="some minutes: make test-crash"),
]
MOST = 200  # moments
LOOP = ("loop", "--rounds", "2", "--models", "1", "--policies", "2", "--references", "0", "--attack", "2")
FIT = ("fit", "--candidates", "4", "--keep", "2")
OFFLINE = "attack on a model by seconds"  # costs nothing: an attack begins anew


def whole(folder: Path) -> None:
    """Every file can be read, and no counterexample lacks its run."""
    for name, content in contents(folder).items():
        if name.endswith(".json"):
            json.loads(content)
        if name.endswith(".py"):
            compile(content, name, "exec")
        if name.startswith("counterexamples/") and name.endswith(".json"):
            assert (folder / name).with_suffix(".jsonl.gz").is_file()


@pytest.mark.parametrize("command", [LOOP, FIT], ids=["loop", "fit"])
def test_a_command_goes_on_wherever_it_is_killed(
    quintain: Quintain, killed: Callable[..., bool], tmp_path: Path, command: tuple[str, ...]
) -> None:
    name, *options = command
    truth, fresh = counter(tmp_path / "counter"), tmp_path / "fresh" / "log"
    policies = ("--policy", "fifo", "--policy", "last_first")
    assert quintain("record", "--suite", str(truth), *policies, "--out", str(fresh)).code == 0
    expected = tmp_path / "expected" / "log"
    shutil.copytree(fresh, expected)
    undisturbed = quintain(name, str(expected), *options, seconds=600)
    assert undisturbed.code in (0, 1), undisturbed.err
    for moments in range(MOST):
        folder = tmp_path / f"killed_{moments}" / "log"
        shutil.copytree(fresh, folder)
        before = searches(quintain)
        was_killed = killed(moments, name, str(folder), *options)
        whole(folder)
        resumed = quintain(name, str(folder), *options, seconds=600) if was_killed else undisturbed
        assert resumed.code == undisturbed.code, (moments, resumed.err)
        made = searches(quintain) - before
        assert {title for title, count in made.items() if count > 1} <= {OFFLINE}, moments
        assert without_ids(contents(folder)) == without_ids(contents(expected)), moments
        if not was_killed:
            assert moments > len(command)
            return
    raise AssertionError(f"it has more than {MOST} moments")


def without_ids(files: dict[str, bytes]) -> dict[str, list[bytes]]:
    """Models say in comments which search found them."""
    return {
        name: [line for line in content.splitlines() if not line.startswith(b"# ")] for name, content in files.items()
    }
