"""Verdicts that are remembered."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest
from tests.unit.verifier.test_domain import RAISED, planned, result

from quintain_verifier.adapters.store import verdicts
from quintain_verifier.adapters.store.verdicts import Records, RecordsError
from quintain_verifier.domain.record import Execution, VerdictRecord
from quintain_verifier.domain.verdict import assemble
from quintain_verifier.sandbox.report import IsolationReport

ISOLATION = IsolationReport({"seccomp": True}, 4, {"fork": "EPERM"}, "strict", "x86_64")


def record(number: int) -> VerdictRecord:
    verdict = assemble(
        planned(2, 1, seed=number), {f"s{i}": result(1.0 + i, RAISED if i else None) for i in range(3)}, {}
    )
    return VerdictRecord(verdict, Execution(1.5, 0.1, 0.2, 0.3, 400, ISOLATION))


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    kept = record(1)
    records = Records(1 << 20, tmp_path / "verdicts.sqlite", 10)
    records.put(kept)
    assert records.get(kept.verdict.digest) == kept
    assert records.get("unknown") is None


def test_the_file_outlives_the_process(tmp_path: Path) -> None:
    kept, file = record(1), tmp_path / "verdicts.sqlite"
    first = Records(1 << 20, file, 10)
    first.put(kept)
    first.close()
    assert Records(1 << 20, file, 10).get(kept.verdict.digest) == kept


def test_memory_is_bounded_and_the_oldest_goes_first() -> None:
    records = Records(5_000, None, 10)
    many = [record(n) for n in range(20)]
    for one in many:
        records.put(one)
    known = [records.get(one.verdict.digest) is not None for one in many]
    assert known[-1]
    assert not known[0]
    assert known == sorted(known)


def test_the_file_is_bounded(tmp_path: Path) -> None:
    file = tmp_path / "verdicts.sqlite"
    records = Records(0, file, 5)
    many = [record(n) for n in range(12)]
    for one in many:
        records.put(one)
    assert [records.get(one.verdict.digest) is not None for one in many] == [False] * 7 + [True] * 5


def test_a_disk_that_fails_costs_no_verdict(tmp_path: Path) -> None:
    file = tmp_path / "verdicts.sqlite"
    records = Records(1 << 20, file, 5)
    with sqlite3.connect(file) as other:
        other.execute("DROP TABLE verdicts")
    kept = record(1)
    records.put(kept)
    assert records.get(kept.verdict.digest) == kept


def test_a_record_that_cannot_be_read_is_made_again(tmp_path: Path) -> None:
    """Of another version, or on a disk that fails."""
    file, kept = tmp_path / "verdicts.sqlite", record(1)
    records = Records(0, file, 5)
    records.put(kept)
    with sqlite3.connect(file) as other:
        other.execute("UPDATE verdicts SET record = ?", [b"\x81\xa7verdict\x01"])
    assert records.get(kept.verdict.digest) is None
    records.put(kept)
    assert records.get(kept.verdict.digest) == kept
    with sqlite3.connect(file) as other:
        other.execute("DROP TABLE verdicts")
    assert records.get(kept.verdict.digest) is None


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a database, but long enough to look at")
    for file in (tmp_path / "text", tmp_path / "missing" / "verdicts.sqlite", tmp_path):
        with pytest.raises(RecordsError, match=f"{file}: .*must be a SQLite file"):
            Records(1 << 20, file, 5)


def test_a_file_that_cannot_be_written_is_a_problem_until_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What readiness asks. It is tried at most once in some seconds."""
    monkeypatch.setattr(verdicts, "_PROBE_SECONDS", 0.0)
    folder = tmp_path / "folder"
    folder.mkdir()
    records = Records(1 << 20, folder / "verdicts.sqlite", 5)
    assert records.problem() == ""
    with sqlite3.connect(folder / "verdicts.sqlite", isolation_level=None) as other:
        other.execute("CREATE TRIGGER full BEFORE UPDATE ON probe BEGIN SELECT RAISE(ABORT, 'disk is full'); END")
        assert f"{folder}/verdicts.sqlite cannot be written: disk is full" in records.problem()
        other.execute("DROP TRIGGER full")
        assert records.problem() == ""
    shutil.rmtree(folder)
    assert "No such file" in records.problem()
    assert Records(1 << 20, None, 5).problem() == ""
