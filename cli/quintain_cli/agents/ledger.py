"""What agents have spent, in a SQLite file: durable, and right for several servers on one file.

A use is reserved before anything is asked for, with the most that it may cost, and settled with what it did cost. What
a server that died had reserved stays reserved until somebody settles it, so a restart never makes the budget larger.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from quintain.errors import FailedPrecondition, ResourceExhausted
from quintain_cli.agents.config import BudgetTable

BUSY_SECONDS = 30.0
_ROUNDING = 1e-9  # sums of dollars and seconds are of floats

_SCHEMA = """
CREATE TABLE IF NOT EXISTS uses (
    id INTEGER PRIMARY KEY,
    request BLOB,                 -- of a search: the CreateSearchRequest, whose request_id makes it repeatable
    search_id TEXT UNIQUE,        -- once the controller has said it
    usd REAL NOT NULL,
    verifications INTEGER NOT NULL,
    seconds REAL NOT NULL,
    settled INTEGER NOT NULL DEFAULT 0
)
"""


@dataclass(frozen=True, slots=True)
class Amounts:
    usd: float = 0.0
    verifications: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Use:
    id: int
    request: bytes | None
    search_id: str | None
    settled: bool


class Ledger:
    """Thread safe. Raises FailedPrecondition for a file that is no ledger."""

    def __init__(self, path: Path, budget: BudgetTable) -> None:
        self._budget = Amounts(budget.usd, budget.verifications, budget.hours * 3600)
        self._lock = threading.Lock()
        try:
            self._database = sqlite3.connect(path, BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.execute(_SCHEMA)
        except sqlite3.Error as error:
            raise FailedPrecondition(f"the ledger {path} cannot be used: {error}") from None

    @property
    def budget(self) -> Amounts:
        return self._budget

    def used(self) -> Amounts:
        """Spent and reserved, together."""
        with self._lock:
            return self._used()

    def remaining(self) -> Amounts:
        with self._lock:
            return self._remaining()

    def reserve(self, most: Amounts, request: bytes | None = None) -> int:
        """Its id. Raises ResourceExhausted, and reserves nothing, if the budget does not cover it."""
        with self._lock, self._transaction():
            left = self._remaining()
            for name, asked, rest in (
                ("dollars", most.usd, left.usd),
                ("verifications", most.verifications, left.verifications),
                ("hours", most.seconds / 3600, left.seconds / 3600),
            ):
                if asked > rest + _ROUNDING:
                    raise ResourceExhausted(
                        f"this would take {asked:g} {name}, and {rest:g} are left of the budget: ask for less, or let "
                        "whoever set the budget raise it"
                    )
            cursor = self._database.execute(
                "INSERT INTO uses (request, usd, verifications, seconds) VALUES (?, ?, ?, ?)",
                (request, most.usd, most.verifications, most.seconds),
            )
            assert cursor.lastrowid is not None
            return cursor.lastrowid

    def started(self, use: int, search_id: str) -> None:
        """The search that a reservation became."""
        self._write("UPDATE uses SET search_id = ? WHERE id = ?", search_id, use)

    def settle(self, use: int, spent: Amounts) -> None:
        """What it did cost, in place of what was reserved."""
        self._write(
            "UPDATE uses SET usd = ?, verifications = ?, seconds = ?, settled = 1 WHERE id = ?",
            spent.usd, spent.verifications, spent.seconds, use,
        )  # fmt: skip

    def searches(self) -> list[Use]:
        """Every search, also one of which the controller has not said whether it began; the oldest first."""
        with self._lock:
            rows = self._database.execute(
                "SELECT id, request, search_id, settled FROM uses WHERE request IS NOT NULL ORDER BY id"
            ).fetchall()
        return [Use(use, request, search_id, bool(settled)) for use, request, search_id, settled in rows]

    def close(self) -> None:
        self._database.close()

    def _used(self) -> Amounts:
        sums = "COALESCE(SUM(usd), 0), COALESCE(SUM(verifications), 0), COALESCE(SUM(seconds), 0)"
        usd, verifications, seconds = self._database.execute(f"SELECT {sums} FROM uses").fetchone()
        return Amounts(usd, verifications, seconds)

    def _remaining(self) -> Amounts:
        used, budget = self._used(), self._budget
        return Amounts(
            max(0.0, budget.usd - used.usd),
            max(0, budget.verifications - used.verifications),
            max(0.0, budget.seconds - used.seconds),
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Nobody else, in whatever process, writes between what is read and what is written here."""
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    def _write(self, statement: str, *values: object) -> None:
        with self._lock, self._transaction():
            self._database.execute(statement, values)
