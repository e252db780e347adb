"""`buf breaking` with the released image: additions pass, and what would break a caller does not."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def breaking(tmp_path: Path, file: str, pattern: str, replacement: str) -> subprocess.CompletedProcess[str]:
    """What `make check` says of the contracts with one change."""
    shutil.copytree(ROOT / "proto", tmp_path / "proto")
    shutil.copy(ROOT / "buf.yaml", tmp_path)
    path = tmp_path / "proto/quintain" / file
    text, changed = re.subn(pattern, replacement, path.read_text(), count=1)
    assert changed == 1
    path.write_text(text)
    command = [Path(sys.executable).parent / "buf", "breaking", "--against", "proto/released.binpb"]
    return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("file", "pattern", "replacement"),
    [
        ("verifier/v1/verifier.proto", r"string digest = 1;", "string digest = 99;"),
        ("verifier/v1/verifier.proto", r"string policy_digest = 2;", "int64 policy_digest = 2;"),
        ("controller/v1/controller.proto", r"string search_id = 1;", "string id = 1;"),
        ("type/v1/type.proto", r"  PART_HELD_OUT = 2;\n", ""),
        ("generator/v1/generator.proto", r"  rpc GetGeneration.*\n", ""),
    ],
)
def test_a_change_that_breaks_a_caller_is_refused(tmp_path: Path, file: str, pattern: str, replacement: str) -> None:
    done = breaking(tmp_path, file, pattern, replacement)
    assert done.returncode != 0
    assert f"proto/quintain/{file}" in done.stdout


def test_a_new_field_is_no_break(tmp_path: Path) -> None:
    done = breaking(tmp_path, "type/v1/type.proto", r"message Policy \{", "message Policy {\n  string language = 2;")
    assert done.returncode == 0, done.stdout + done.stderr
