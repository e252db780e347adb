"""A log of one's own becomes a recording: what cannot be carried over is said, what contradicts itself is reported with
the log's lines, and nothing is mended."""

from __future__ import annotations

import io
import random
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any

import pytest

from quintain.plugins.package_files import package_files
from quintain.plugins.recorder import RecordingsReport
from quintain.plugins.simulator import InvalidInput
from quintain_system.form.package import read_package
from quintain_system.recorder import recorder
from quintain_system.recordings import importer
from quintain_system.recordings.form import Recording, read_recording
from quintain_system.recordings.importer import import_log, read_map

PACKAGE = package_files(resources.files("quintain_system") / "packages" / "load_balancer")
SPEC = read_package(PACKAGE).spec

# One row for each request, with a column for each time.
WIDE = """
policy = "fifo"
config = { servers = 4 }
[[rows]]
input = "request"
time = "arrived"
fields = { id = "id", size = { column = "class", values = { S = "small", L = "large" } }, \
work = { column = "ms", scale = 0.001 } }
[[rows]]
decision = "route"
time = "arrived"
fields = { request = "id", server = "server" }
[[rows]]
event = "started"
time = "started"
fields = { request = "id", server = "server" }
[[rows]]
event = "finished"
time = "finished"
fields = { request = "id", server = "server" }
"""
ROWS = [
    {"arrived": "100.0", "started": "100.0", "finished": "101.5", "id": "1", "class": "S", "ms": "1500", "server": "0"},
    {"arrived": "100.5", "started": "101.5", "finished": "102.0", "id": "2", "class": "L", "ms": "500", "server": "0"},
    {"arrived": "101.0", "started": "101.0", "finished": "", "id": "3", "class": "S", "ms": "90", "server": "3"},
]
# One row for each thing that happened.
LONG = """
policy = "unknown"
[[rows]]
input = "request"
time = "at"
when = { column = "what", is = ["arrive"] }
fields = { id = "id", size = { value = "small" }, work = { value = 0.1 } }
[[rows]]
event = "finished"
time = "at"
when = { column = "what", is = ["done", "done-late"] }
fields = { request = "id", server = { value = 0 } }
"""


def log_of(rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    return [(f"log.csv:{line}", row) for line, row in enumerate(rows, start=2)]


def imported(
    column_map: str, rows: Iterable[Mapping[str, Any]], start: float = 0.0, seconds: float = float("inf")
) -> tuple[Recording, RecordingsReport]:
    out = io.BytesIO()
    report = recorder.import_log(PACKAGE, "monday", column_map.encode(), log_of(rows), out, start, seconds)
    return read_recording("recordings/monday.jsonl", out.getvalue(), SPEC), report


def happening(*rows: tuple[Any, str, int]) -> list[dict[str, Any]]:
    return [{"at": at, "what": what, "id": number} for at, what, number in rows]


def test_a_row_for_each_request_becomes_entries_in_order_of_time() -> None:
    found, report = imported(WIDE, ROWS)
    assert (found.policy, found.duration, found.start, found.config["servers"]) == ("fifo", 2.0, 100.0, 4)
    assert [(e.time, e.kind, e.fields.get("id", e.fields.get("request"))) for e in found.entries] == [
        (0.0, "request", 1), (0.0, "route", 1), (0.0, "started", 1), (0.5, "request", 2), (0.5, "route", 2),
        (1.0, "request", 3), (1.0, "route", 3), (1.0, "started", 3), (1.5, "finished", 1), (1.5, "started", 2),
        (2.0, "finished", 2),
    ]  # fmt: skip
    assert found.entries[0].fields == {"id": 1, "size": "small", "work": 1.5}
    assert report.contradictions == []


def test_what_contradicts_itself_is_reported_with_the_logs_lines_and_kept() -> None:
    wrong = [dict(ROWS[0]), {**ROWS[1], "started": "101.0"}, {**ROWS[1], "arrived": "101.8"}]
    found, report = imported(WIDE, wrong)
    assert len(found.entries) == 12
    assert report.contradictions == [
        "log.csv:3: invariant one_at_a_time: started: 2 held of server 0, and the limit is 1",
        "log.csv:4: invariant one_at_a_time: started: request 2 holds already",
        "log.csv:4: duplicate_id: request 2 is there already",
        "log.csv:4: invariant answered_once: finished: request 2 leaves without having entered, or twice",
    ]


def test_a_finish_before_its_start_and_an_id_that_never_came_are_contradictions() -> None:
    _, report = imported(LONG, happening((1, "arrive", 1), (2, "done", 1), (3, "done", 9), (0.5, "done-late", 1)))
    assert report.contradictions == [
        "log.csv:5: unknown_id: finished.request names request 1, which does not exist",
        "log.csv:4: unknown_id: finished.request names request 9, which does not exist",
        "log.csv:3: invariant started_first: finished: request 1 comes without a started before it",
    ]
    assert any("the order of 1 rows" in note and "log.csv:5" in note for note in report.notes)


def test_many_contradictions_of_one_kind_are_counted() -> None:
    _, report = imported(LONG, happening((0, "arrive", 0), *((n, "done", n) for n in range(1, 51))))
    assert [line for line in report.contradictions if "more of this kind" in line] == [
        "unknown_id: 47 more of this kind"
    ]


def test_what_is_not_carried_over_is_said() -> None:
    rows = [{**row, "host": "a"} for row in happening((0, "arrive", 1), (1, "heartbeat", 1), (2, "heartbeat", 1))]
    _, report = imported(LONG, rows)
    notes = " | ".join(report.notes)
    assert "2 rows with what = 'heartbeat', which the map does not name (first: log.csv:3)" in notes
    assert "columns that are not in the map: host" in notes
    assert "never occurred: decision route" in report.unverified


def test_a_long_gap_and_decisions_without_effect_are_noted() -> None:
    _, report = imported(LONG, happening(*((n, "arrive", n) for n in range(20)), (900, "arrive", 99)))
    assert "a gap: nothing from 19 s to 900 s" in report.notes
    lost = [{**ROWS[0], "started": "", "finished": ""}, ROWS[1]]
    _, report = imported(WIDE, lost)
    assert "1 of 2 decisions route were followed by no event of their thing" in report.notes


@pytest.mark.parametrize(
    ("times", "word"),
    [
        (["100.0", "2026-01-31T12:00:00+00:00"], "is iso8601 with a zone, log.csv:2 has seconds: two formats of time"),
        (["1769860800", "1769860801000"], "is milliseconds, log.csv:2 has seconds: two formats of time"),
        (["2026-01-31T12:00:00", "2026-01-31T12:00:00Z"], "with a zone, log.csv:2 has iso8601 without a zone"),
        (["100.0", "soon"], "is no time"),
        (["100.0", "nan"], "is no time"),
        ([100.0, 10**400], "is no time"),
    ],
)
def test_two_formats_of_time_in_one_log_are_refused_with_both_lines(times: list[Any], word: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        imported(LONG, happening(*((time, "arrive", n) for n, time in enumerate(times))))
    assert raised.value.field == "log.csv:3:at"
    assert word in raised.value.message


@pytest.mark.parametrize(
    ("told", "time"),
    [
        ("iso8601", "2026-01-31T12:00:01+00:00"),
        ("milliseconds", "1769860801000"),
        ("seconds", 1769860801.0),
        ("milliseconds", 4000.0),
    ],
)
def test_a_format_that_the_map_gives_is_taken_and_others_are_refused(told: str, time: Any) -> None:
    column_map = LONG.replace("[[rows]]", f'[time]\nformat = "{told}"\n[[rows]]', 1)
    assert imported(column_map, happening((time, "arrive", 1)))[0].start == pytest.approx(
        4.0 if time == 4000.0 else 1769860801.0
    )
    with pytest.raises(InvalidInput, match="the map says"):
        imported(column_map, happening(("2026-01-31" if told != "iso8601" else "17", "arrive", 1)))


def test_a_part_of_a_log_leaves_out_what_began_before_it() -> None:
    found, report = imported(
        LONG, happening((0, "arrive", 1), (5, "arrive", 2), (6, "done", 1), (7, "done", 2), (9, "arrive", 3)), 4.0, 3.5
    )
    assert [(e.time, e.kind) for e in found.entries] == [(1.0, "request"), (3.0, "finished")]
    assert found.start == 4.0
    notes = " | ".join(report.notes)
    assert "2 entries outside the part" in notes
    assert "1 entries about things that began before the part" in notes


@pytest.mark.parametrize(
    ("old", "new", "place", "word"),
    [
        ('policy = "fifo"\n', "", "map.toml:1:policy", "is missing"),
        ("servers = 4", "server = 4", "config.server", "known are: servers"),
        ('event = "started"', 'event = "begun"', "rows[3].event", "known are: started, finished"),
        ('event = "started"', 'event = "started"\ninput = "request"', "rows[3]", "exactly one of input, decision"),
        ('time = "arrived"', 'when = "x"\ntime = "arrived"', "rows[1].when", "x"),
        ('{ id = "id", size', '{ size', "rows[1].fields", "says nothing about the field 'id' of request"),
        ('{ request = "id", server = "server" }', '{ request = "id", node = "server" }', "fields.node", "is unknown"),
        ('time = "started"', 'time = "begun"', "log.csv:2:begun", "there is no such column; there are: arrived"),
        ('S = "small"', 'M = "small"', "log.csv:2:class", "'S' is not in the map's values: M, L"),
        ('S = "small"', 'S = "tiny"', "log.csv:2:size", "must be one of large, small"),
        ('server = "server"', 'server = "class"', "log.csv:2:class", "'S' is no index"),
    ],
)  # fmt: skip
def test_a_map_that_does_not_fit_says_where(old: str, new: str, place: str, word: str) -> None:
    assert old in WIDE
    with pytest.raises(InvalidInput) as raised:
        imported(WIDE.replace(old, new, 1), ROWS)
    assert place in raised.value.field
    assert word in raised.value.message


def test_a_log_with_nothing_in_it_says_so() -> None:
    with pytest.raises(InvalidInput, match="no row of the log is of a kind that the map names"):
        imported(LONG, happening((0, "heartbeat", 1)))
    with pytest.raises(InvalidInput, match="the log ends 0 s after its first entry, before 5 s"):
        imported(LONG, happening((0, "arrive", 1)), 5.0)


def test_a_log_that_is_longer_than_the_memory_comes_out_as_if_it_were_not(monkeypatch: pytest.MonkeyPatch) -> None:
    shuffled = happening(*((n / 4, "arrive", n) for n in range(400)))
    random.Random(1).shuffle(shuffled)
    whole, _ = imported(LONG, shuffled)
    monkeypatch.setattr(importer, "SORTED_AT_ONCE", 7)
    monkeypatch.setattr(importer, "_CHUNK", 3)
    out = io.BytesIO()
    import_log("monday", SPEC, read_map(LONG.encode(), SPEC), log_of(shuffled), out)
    assert read_recording("recordings/monday.jsonl", out.getvalue(), SPEC) == whole
    assert [e.fields["id"] for e in whole.entries] == list(range(400))
