"""The README's examples that need a running verifier."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from quintain_cli.stack.stack import Stack
from quintain_faas.plugin import simulator

pytestmark = pytest.mark.xdist_group("e2e")

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
ADDRESS = "127.0.0.1:7071"  # in the README: the one of `make up`


def test_the_verifier_is_called_from_other_code_as_written(stack: Stack, tmp_path: Path) -> None:
    (example,) = (b for b in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if ADDRESS in b)
    source = next(b.source for b in simulator.describe().baselines if b.name == "fifo")
    (tmp_path / "policy.py").write_text(source)
    command = [sys.executable, "-c", example.replace(ADDRESS, stack.addresses["verifier"])]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    score, baseline = done.stdout.splitlines()[0].split()
    assert float(score) == float(baseline) > 0


def test_the_python_client_of_the_examples_runs(stack: Stack, tmp_path: Path) -> None:
    policy = tmp_path / "policy.py"
    policy.write_text(next(b.source for b in simulator.describe().baselines if b.name == "priority"))
    command = [sys.executable, ROOT / "examples/clients/python/verify.py", policy, stack.addresses["verifier"]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.match(r"score 0\.\d+, baseline 0\.\d+, verdict [0-9a-f]{16}\n", done.stdout)


def test_buf_curl_answers_as_written(stack: Stack) -> None:
    (line,) = re.findall(r"^\.venv/bin/(buf curl .*\\\n.*)$", README, re.MULTILINE)
    words = shlex.split(line.replace("\\\n", "").replace(ADDRESS, stack.addresses["verifier"]))
    done = subprocess.run(
        [Path(sys.executable).parent / words[0], *words[1:]], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "smoke" in [suite["name"] for suite in json.loads(done.stdout)["suites"]]
