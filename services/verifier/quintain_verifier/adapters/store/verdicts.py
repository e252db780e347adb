"""Verdicts that are known: in memory, and in a file if one is configured, so that they outlive the process."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections import OrderedDict
from contextlib import closing
from pathlib import Path

import msgspec
import structlog

from quintain_verifier.domain.record import VerdictRecord

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("records")

_PROBE_SECONDS = 5.0
_decoder = msgspec.msgpack.Decoder(VerdictRecord)


class RecordsError(Exception):
    """The file of verdicts cannot be used."""


class Records:
    """Thread safe. `most_bytes` bounds the memory; `file` (None: none) keeps the latest `most_rows`. A record that
    cannot be read is one that does not exist: its verdict is made again. Raises RecordsError if the file cannot be
    opened."""

    def __init__(self, most_bytes: int, file: Path | None, most_rows: int) -> None:
        self._most_bytes, self._most_rows = most_bytes, most_rows
        self._lock = threading.Lock()
        self._recent: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0
        self._database: sqlite3.Connection | None = None
        self._problem = ""
        if file is not None:
            self._file, self._next_probe = file, 0.0
            try:
                self._database = _opened(file)
                self._inode = os.stat(file).st_ino
            except sqlite3.Error as error:
                raise RecordsError(f"{file}: {error}; must be a SQLite file, or a new one, in a folder") from error

    def get(self, digest: str) -> VerdictRecord | None:
        with self._lock:
            encoded = self._recent.get(digest) or self._read(digest)
        if encoded is None:
            return None
        try:
            record = _decoder.decode(encoded)
        except msgspec.DecodeError as error:  # of another version
            log.warning("a verdict cannot be read, so it is made again", digest=digest, error=str(error))
            return None
        with self._lock:
            self._remember(digest, encoded)
        return record

    def put(self, record: VerdictRecord) -> None:
        digest, encoded = record.verdict.digest, msgspec.msgpack.encode(record)
        with self._lock:
            self._remember(digest, encoded)
            try:
                self._write(digest, encoded)
            except sqlite3.Error as error:  # a full disk must not cost a verdict
                log.error("a verdict could not be written", digest=digest, error=str(error))

    def _read(self, digest: str) -> bytes | None:
        if self._database is None:
            return None
        try:
            with closing(self._database.execute("SELECT record FROM verdicts WHERE digest = ?", [digest])) as rows:
                row = rows.fetchone()
        except sqlite3.Error as error:
            log.error("a verdict could not be read, so it is made again", digest=digest, error=str(error))
            return None
        return row[0] if row else None

    def _write(self, digest: str, encoded: bytes) -> None:
        if self._database is None:
            return
        self._database.execute("INSERT OR REPLACE INTO verdicts (digest, record) VALUES (?, ?)", [digest, encoded])
        self._database.execute(
            "DELETE FROM verdicts WHERE number <= (SELECT MAX(number) FROM verdicts) - ?", [self._most_rows]
        )

    def problem(self) -> str:
        """Why a verdict could not be kept in the file now; empty if it could. Tried by a write at most once in
        `_PROBE_SECONDS`."""
        with self._lock:
            if self._database is None or time.monotonic() < self._next_probe:
                return self._problem
            self._next_probe = time.monotonic() + _PROBE_SECONDS
            try:
                if os.stat(self._file).st_ino != self._inode:
                    raise FileNotFoundError("another file has taken its place")
                self._database.execute("UPDATE probe SET count = count + 1")
                self._problem = ""
            except (sqlite3.Error, OSError) as error:
                self._problem = f"records.file: {self._file} cannot be written: {error}"
            return self._problem

    def close(self) -> None:
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None

    def _remember(self, digest: str, encoded: bytes) -> None:
        self._bytes += len(encoded) - len(self._recent.pop(digest, b""))
        self._recent[digest] = encoded
        while self._bytes > self._most_bytes and self._recent:
            _, dropped = self._recent.popitem(last=False)
            self._bytes -= len(dropped)


def _opened(file: Path) -> sqlite3.Connection:
    database = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=NORMAL")
    database.execute(
        "CREATE TABLE IF NOT EXISTS verdicts (number INTEGER PRIMARY KEY AUTOINCREMENT,"
        " digest TEXT NOT NULL UNIQUE, record BLOB NOT NULL)"
    )
    database.execute("CREATE TABLE IF NOT EXISTS probe (number INTEGER PRIMARY KEY, count INTEGER NOT NULL)")
    database.execute("INSERT OR IGNORE INTO probe VALUES (1, 0)")
    return database
