"""Recordings: their file form, what is wrong in one, and which part of them a model may be fitted to."""

from __future__ import annotations

import gzip
import io
import json
from dataclasses import replace
from importlib import resources
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quintain.plugins.package_files import package_files
from quintain.plugins.simulator import InvalidInput
from quintain_system.form.package import read_package
from quintain_system.recordings.form import Entry, Recording, packed, read_recording, read_recordings, write_recording
from quintain_system.recordings.split import SPLIT_FILE, four_way, split_of

FILES = package_files(resources.files("quintain_system") / "packages" / "load_balancer")
SPEC = read_package(FILES).spec
CONFIG = {"servers": 8, "slow_every": 4, "deadline": 0.5}
HEADER = {"recording": 1, "system": "load_balancer", "policy": "fifo", "config": {"servers": 8}, "duration": 10.0}
REQUEST = {"time": 1.0, "input": "request", "id": 1, "size": "small", "work": 0.2}
ROUTE = {"time": 1.0, "decision": "route", "request": 1, "server": 3}
STARTED = {"time": 1.0, "event": "started", "request": 1, "server": 3}
FINISHED = {"time": 1.2, "event": "finished", "request": 1, "server": 3}


def lines(*entries: dict[str, Any], header: dict[str, Any] = HEADER) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in (header, *entries))


def recording(name: str, policy: str = "fifo", start: float | None = None, times: range = range(100)) -> Recording:
    """A request a second, answered half a second later."""
    entries = []
    for time in times:
        entries.append(Entry(time + 0.25, "input", "request", {"id": time, "size": "small", "work": 0.1}))
        entries.append(Entry(time + 0.75, "event", "finished", {"request": time, "server": 0}))
    return Recording(name, "load_balancer", policy, CONFIG, 100.0, tuple(entries), start)


def test_what_is_written_is_read_again() -> None:
    data = lines(REQUEST, ROUTE, STARTED, FINISHED)
    found = read_recording("recordings/monday.jsonl", data, SPEC)
    assert (found.name, found.policy, found.config, found.duration) == ("monday", "fifo", CONFIG, 10.0)
    assert [(e.role, e.kind) for e in found.entries] == [
        ("input", "request"), ("decision", "route"), ("event", "started"), ("event", "finished")
    ]  # fmt: skip
    out = io.BytesIO()
    write_recording(found, out)
    assert read_recording("recordings/monday.jsonl", out.getvalue(), SPEC) == found
    assert read_recording("recordings/monday.jsonl.gz", packed(found), SPEC) == found
    assert packed(found) == packed(found)


@given(
    st.lists(
        st.tuples(
            st.floats(0, 10, allow_nan=False),
            st.one_of(st.integers(), st.text(min_size=1, max_size=200)),
            st.sampled_from(["small", "large"]),
            st.floats(0, 1e300, allow_nan=False),
        )
    )
)
def test_any_values_come_back_to_the_last_bit(values: list[tuple[float, int | str, str, float]]) -> None:
    entries = [
        Entry(time, "input", "request", {"id": number, "size": size, "work": work})
        for time, number, size, work in sorted(values, key=lambda v: v[0])
    ]
    made = Recording("any", "load_balancer", "fifo", CONFIG, 10.0, tuple(entries))
    assert read_recording("recordings/any.jsonl.gz", packed(made), SPEC) == made


def test_fields_called_like_the_formats_own_keys_have_a_table() -> None:
    files = {**FILES, "system.toml": FILES["system.toml"].replace(b"fields.size", b"fields.event")}
    files["system.toml"] = files["system.toml"].replace(b'field = "size"', b'field = "event"')
    files["suite.toml"] = files["suite.toml"].replace(b"size =", b"event =")
    spec = read_package(files).spec
    entry = Entry(1.0, "input", "request", {"id": 1, "event": "small", "work": 0.5})
    made = Recording("odd", "load_balancer", "fifo", CONFIG, 10.0, (entry,))
    assert read_recording("recordings/odd.jsonl.gz", packed(made), spec) == made


@pytest.mark.parametrize(
    ("data", "place", "word"),
    [
        (b"", "monday.jsonl:1", "is empty"),
        (b"time,kind\n", "monday.jsonl:1", "is no JSON"),
        (lines(header={**HEADER, "recording": 2}), ":1:recording", "begins with 1"),
        (lines(header={**HEADER, "system": "shop"}), ":1:system", "this package is 'load_balancer'"),
        (lines(header={k: v for k, v in HEADER.items() if k != "policy"}), ":1:policy", "or be 'unknown'"),
        (lines(header={**HEADER, "duration": 0}), ":1:duration", "above 0"),
        (lines(header={**HEADER, "sped": 1}), ":1:sped", "unknown key"),
        (lines(header={**HEADER, "config": {"server": 8}}), ":1:config.server", "known are: servers"),
        (lines(header={**HEADER, "config": {"servers": 0}}), ":1:config.servers", "below 1"),
        (lines({**REQUEST, "time": "1.0"}), ":2:time", "must be seconds"),
        (lines({**REQUEST, "time": -1}), ":2:time", "must be seconds"),
        (lines({**REQUEST, "time": 10**400}), ":2:time", "must be seconds"),
        (lines(FINISHED, REQUEST), ":3:time", "time runs back"),
        (lines({**REQUEST, "time": 11.0}), ":2:time", "after the end"),
        (lines({**REQUEST, "input": "call"}), ":2:input", "no declared input; declared are: request"),
        (lines({**REQUEST, "event": "started"}), ":2", "exactly one of input, decision, event"),
        (lines({"time": 1.0, "id": 1}), ":2", "it says none"),
        (lines({**REQUEST, "size": "huge"}), ":2:size", "one of large, small"),
        (lines({**STARTED, "server": 8}), ":2:server", "there are 0 to 7"),
        (lines({**REQUEST, "id": 1.5}), ":2:id", "whole number or a text"),
        (lines({**STARTED, "node": 1}), ":2:node", "is no field of started; its fields are: request, server"),
        (lines({"time": 1.0, "event": "started", "request": 1}), ":2:server", "is missing"),
        (lines(REQUEST)[:-3], ":2", "is no JSON"),
        (lines(REQUEST).replace(b"0.2", b"NaN"), ":2", "NaN is no number"),
        (lines(REQUEST) + b"\n", ":3", "empty line"),
        (lines(REQUEST) + b"\xff\n", "monday.jsonl:", "not UTF-8"),
    ],
)
def test_what_is_wrong_is_said_with_file_line_and_key(data: bytes, place: str, word: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        read_recording("recordings/monday.jsonl", data, SPEC)
    assert place in raised.value.field
    assert word in raised.value.message


def test_a_pack_that_is_cut_off_says_so() -> None:
    with pytest.raises(InvalidInput, match="cannot be unpacked"):
        read_recording("recordings/monday.jsonl.gz", gzip.compress(lines(REQUEST))[:-9], SPEC)


def test_a_packages_recordings_are_found_by_name() -> None:
    files = {"recordings/b.jsonl": lines(), "recordings/a.jsonl.gz": gzip.compress(lines()), "recordings/notes": b""}
    assert [found.name for found in read_recordings(files, SPEC)] == ["a", "b"]


def test_a_package_that_has_recordings_needs_no_model_to_be_read() -> None:
    without = {name: data for name, data in FILES.items() if name != "model.py"}
    assert read_package({**without, "recordings/a.jsonl": lines()}).models == {}
    with pytest.raises(InvalidInput, match=r"model\.py: is missing"):
        read_package(without)


# -------------------------------------------------------------------------------------------------------------- split


def judged(parts: tuple[Recording, ...]) -> set[tuple[str, float]]:
    return {(r.name, e.time) for r in parts for e in r.entries if e.role == "input" and r.counts(e.time)}


def test_the_four_parts_share_nothing_and_lose_nothing() -> None:
    log = [recording("a"), recording("b", times=range(60)), recording("c", "random", times=range(50))]
    split = four_way(log)
    parts = [judged(part) for part in (split.train, *split.held_out.values())]
    assert set.union(*parts) == judged(tuple(log))
    assert sum(map(len, parts)) == len(judged(tuple(log)))
    assert {r.policy for r in split.other_policy} == {"random"}
    assert not any(r.policy == "random" for part in (split.train, split.later, split.busiest) for r in part)
    assert split.unverified == ()
    assert four_way(log[::-1]) == split


def test_nothing_that_happened_after_the_windows_is_in_a_part() -> None:
    split = four_way([recording("a")])
    for part in (split.train, *split.held_out.values()):
        for found in part:
            assert found.duration == found.windows[-1][1]
            assert all(entry.time <= found.duration for entry in found.entries)


def test_recordings_that_say_when_they_began_are_split_by_that() -> None:
    log = [recording(name, start=start) for name, start in (("a", 300.0), ("b", 100.0), ("c", 200.0), ("d", 0.0))]
    split = four_way(log)
    assert {r.name for r in split.later} == {"a"}
    assert {r.name for r in (*split.train, *split.busiest)} == {"b", "c", "d"}


def test_the_busiest_windows_are_held_out() -> None:
    calm = recording("calm")
    busy = replace(recording("busy"), entries=tuple(e for e in recording("busy").entries if 20 <= e.time < 36))
    more = [Entry(e.time + 0.1, "input", "request", {**e.fields, "id": -e.fields["id"]})
            for e in busy.entries if e.role == "input"]  # fmt: skip
    busy = replace(busy, entries=tuple(sorted((*busy.entries, *more), key=lambda e: e.time)))
    split = four_way([calm, busy])
    assert [(r.name, r.windows) for r in split.busiest] == [("busy", ((16.0, 32.0),))]


def test_what_cannot_be_split_off_is_said() -> None:
    tiny = recording("tiny", "unknown", times=range(3))
    split = four_way([tiny])
    words = " | ".join(split.unverified)
    assert "one policy in the log (unknown)" in words
    assert "the policy in force is unknown in tiny" in words
    assert "few windows" in words
    assert "nothing came in the later time" in words


def test_a_package_may_say_its_own_split() -> None:
    log = [recording("a"), recording("b", "random")]
    told = b"""
train = [{ recording = "a", until = 70.0 }]
later = [{ recording = "a", from = 70.0 }]
other_policy = ["b"]
"""
    split = split_of(log, {SPLIT_FILE: told})
    assert [(r.name, r.windows) for r in split.train] == [("a", ((0.0, 70.0),))]
    assert [(r.name, r.windows) for r in split.later] == [("a", ((70.0, 100.0),))]
    assert [r.name for r in split.other_policy] == ["b"]
    assert split.unverified == ("few windows: none could be held out for high load",)


@pytest.mark.parametrize(
    ("told", "place", "word"),
    [
        ("later = []", "train", "is missing"),
        ('train = ["c"]', "recordings.toml:1:train[1]", "there are: a, b"),
        ('train = [{ recording = "a", until = 200.0 }]', "train[1]", "0 to 200 s is no part of a, 0 to 100 s"),
        ('train = ["a"]\nlater = [{ recording = "a", from = 50.0 }]', "2:later[1]", "counts for train as well"),
        ('train = ["a"]\nweekend = ["b"]', "weekend", "unknown key"),
    ],
)
def test_a_split_that_cannot_be_says_why(told: str, place: str, word: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        split_of([recording("a"), recording("b")], {SPLIT_FILE: told.encode()})
    assert place in raised.value.field
    assert word in raised.value.message
