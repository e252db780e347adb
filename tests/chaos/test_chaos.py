"""A few disturbances in every run of the tests; ``python -m tests.chaos`` does hundreds. And the checker sees each kind
of wrong book."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from tests.chaos import checker
from tests.chaos.run import chaos

DISTURBANCES = 4


@pytest.mark.timeout(400)
async def test_a_search_among_disturbances_leaves_books_that_agree(tmp_path: Path) -> None:
    report = await chaos(tmp_path, "", DISTURBANCES, seed=1)
    assert report.complaints == []
    assert sum(report.disturbances.values()) == DISTURBANCES


class Books:
    """The stores of one search with a seed and two candidates, as right as a test leaves them."""

    def __init__(self, folder: Path) -> None:
        self.controller, self.generator = folder / "c.db", folder / "g.db"
        self.provider = [{"request_id": f"r{n}", "completed": True} for n in (1, 2)]
        with sqlite3.connect(self.controller) as c:
            c.executescript(
                "CREATE TABLE searches (search_id, state, reason, best_number, winner_number, last_sequence, spend);"
                "CREATE TABLE candidates (search_id, number, state, data);"
                "CREATE TABLE events (search_id, sequence);"
            )
            spend = json.dumps({"usd_nano": 30_000_000, "at_risk_usd_nano": 0})
            c.execute("INSERT INTO searches VALUES ('s', 3, '', 2, 2, 3, ?)", [spend])
            for number in range(3):
                data = {
                    "plan": {} if number else None,
                    "status": 1,
                    "train": {"score": 0.1 * number},
                    "charge": {"usd_nano": 15_000_000 if number else 0, "at_risk_usd_nano": 0},
                }
                c.execute("INSERT INTO candidates VALUES ('s', ?, 3, ?)", [number, json.dumps(data)])
            c.executemany("INSERT INTO events VALUES ('s', ?)", [[n] for n in (1, 2, 3)])
        with sqlite3.connect(self.generator) as g:
            g.executescript(
                "CREATE TABLE generation (request_id, result);"
                "CREATE TABLE generation_call (request_id, attempt, reply, charged_usd, at_risk_usd);"
            )
            for number in (1, 2):
                result = json.dumps({"cost": {"usd": 0.015, "at_risk_usd": 0.0}})
                g.execute("INSERT INTO generation VALUES (?, ?)", [f"s/{number}", result])
                reply = json.dumps({"outcome": "ok", "provider_request_id": f"r{number}"})
                g.execute("INSERT INTO generation_call VALUES (?, 1, ?, 0.015, 0.0)", [f"s/{number}", reply])

    def change(self, store: str, statement: str) -> None:
        with sqlite3.connect(getattr(self, store)) as connection:
            connection.execute(statement)

    def complaints(self) -> list[str]:
        return checker.check(self.controller, self.generator, self.provider)


def test_right_books_are_right(tmp_path: Path) -> None:
    assert Books(tmp_path).complaints() == []


@pytest.mark.parametrize(
    ("store", "statement", "complaint"),
    [
        ("controller", "UPDATE searches SET state = 1", "is in state 1"),
        ("controller", "DELETE FROM candidates WHERE number = 1", "not each number once"),
        ("controller", "UPDATE candidates SET state = 2 WHERE number = 1", "candidates [1] are not settled"),
        ("controller", "UPDATE searches SET best_number = 1", "best is #1, but #2 has"),
        ("controller", "DELETE FROM events WHERE sequence = 2", "events have gaps"),
        ("controller", 'UPDATE searches SET spend = \'{"usd_nano": 1, "at_risk_usd_nano": 0}\'', "spend says 1"),
        ("generator", "DELETE FROM generation WHERE request_id = 's/1'", "the generator knows nothing of it"),
        ("generator", "UPDATE generation SET result = NULL WHERE request_id = 's/1'", "has no result"),
        ("generator", "UPDATE generation_call SET charged_usd = 0.5 WHERE request_id = 's/1'", "its calls say 0.5"),
        ("generator", "UPDATE generation_call SET reply = replace(reply, 'r1', 'r2')", "answers recorded twice"),
        ("generator", "UPDATE generation_call SET reply = replace(reply, 'r1', 'r9')", "never completed"),
        ("generator", "UPDATE generation_call SET reply = replace(reply, '\"ok\"', '\"x\"')", "are not recorded"),
    ],
)
def test_each_kind_of_wrong_book_is_seen(tmp_path: Path, store: str, statement: str, complaint: str) -> None:
    books = Books(tmp_path)
    books.change(store, statement)
    assert any(complaint in found for found in books.complaints()), books.complaints()
