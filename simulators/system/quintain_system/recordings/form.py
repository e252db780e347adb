"""A recording: what one system logged in one episode, as JSON Lines (``recordings/NAME.jsonl`` or ``.jsonl.gz``).

The first line is the header, each further line one entry, in order of time; of one instant in order of happening::

    {"recording": 1, "system": "shop", "policy": "fifo", "config": {"servers": 4}, "duration": 600.0}
    {"time": 0.8, "input": "request", "id": 1, "size": "small"}
    {"time": 0.8, "decision": "route", "request": 1, "server": 0}
    {"time": 1.1, "event": "finished", "request": 1, "server": 0}

A kind whose fields are called like one of the format's own keys has them in a table of their own: ``"fields": {...}``.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import IO, Any

from quintain.plugins.simulator import InvalidInput
from quintain_system.engine.records import MAX_ID_CHARACTERS, check_field
from quintain_system.engine.timeline import Role
from quintain_system.form.checks import config_problem
from quintain_system.form.package import RECORDINGS_FOLDER
from quintain_system.form.spec import FieldSpec, KindSpec, SystemSpec

FORMAT = 1
ENDINGS = (".jsonl", ".jsonl.gz")
UNKNOWN_POLICY = "unknown"
MAX_ENTRIES = 2_000_000  # of one recording in memory
MAX_LINE_CHARACTERS = 1 << 20

ROLES: tuple[Role, ...] = ("input", "decision", "event")
_OWN_KEYS = frozenset(("time", "fields", *ROLES))
_HEADER_KEYS = ("recording", "system", "policy", "config", "duration", "start", "about")


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that came from outside, was decided, or happened; `time` in seconds from the recording's beginning."""

    time: float
    role: Role
    kind: str
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class Recording:
    """One episode. `policy` names what decided (``unknown`` if nobody knows), `duration` is in seconds, `start`
    (seconds since any fixed instant) orders recordings in time. `config` is whole: defaults are filled in.

    `windows` ((from, until) in seconds, ascending) is what of it counts; the rest is history, which a model goes
    through to be in the right state. A recording as it was read counts from 0 to its duration.
    """

    name: str
    system: str
    policy: str
    config: Mapping[str, Any]
    duration: float
    entries: tuple[Entry, ...] = field(repr=False)
    start: float | None = None
    about: str = ""
    windows: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        if not self.windows:
            object.__setattr__(self, "windows", ((0.0, self.duration),))

    def counts(self, time: float) -> bool:
        """Whether what begins at `time` is to be judged. A window's end belongs to it only if it is the recording's."""
        return any(low <= time < high or time == high == self.duration for low, high in self.windows)


def file_of(name: str) -> str:
    """The file of a recording called `name`, as it is written."""
    return f"{RECORDINGS_FOLDER}{name}.jsonl.gz"


def is_recording(file: str) -> bool:
    return file.startswith(RECORDINGS_FOLDER) and file.endswith(ENDINGS) and file.count("/") == 1


def name_of(file: str) -> str:
    """``recordings/monday.jsonl.gz`` -> ``monday``"""
    short = file.removeprefix(RECORDINGS_FOLDER)
    for ending in reversed(ENDINGS):
        short = short.removesuffix(ending)
    return short


def read_recordings(files: Mapping[str, bytes], spec: SystemSpec) -> tuple[Recording, ...]:
    """All of a package's files, by name. Raises InvalidInput."""
    return tuple(read_recording(file, files[file], spec) for file in sorted(files) if is_recording(file))


def read_recording(file: str, data: bytes | IO[bytes], spec: SystemSpec) -> Recording:
    """A recording with every entry checked against the declared kinds: fields and their types, order of time.

    What contradicts itself across entries (unknown ids, broken invariants) is for `consistency.contradictions` to say.
    Raises InvalidInput with the file, the line and the key.
    """
    header, entries = open_recording(file, data, spec)
    kept: list[Entry] = []
    for entry in entries:
        if len(kept) == MAX_ENTRIES:
            raise InvalidInput(f"{file}:{len(kept) + 2}", f"has more than {MAX_ENTRIES} entries; split it by time")
        kept.append(entry)
    return replace(header, entries=tuple(kept))


def open_recording(file: str, data: bytes | IO[bytes], spec: SystemSpec) -> tuple[Recording, Iterator[Entry]]:
    """The header, as a recording without entries, and the entries one by one: entry n (from 0) is line n + 2."""
    lines = _lines(file, data)
    first = next(lines, None)
    if first is None:
        raise InvalidInput(f"{file}:1", "is empty; the first line is the header")
    header = _header(file, _json(f"{file}:1", first), spec)
    return header, _entries(file, lines, header, spec)


def write_recording(recording: Recording, out: IO[bytes]) -> None:
    """As JSON Lines, not packed. The same recording gives the same bytes."""
    for line in lines_of(recording, recording.entries):
        out.write(line)


def lines_of(header: Recording, entries: Iterable[Entry]) -> Iterator[bytes]:
    """The lines of a file, so that a log of any length can be written."""
    head = {
        "recording": FORMAT,
        "system": header.system,
        "policy": header.policy,
        "config": dict(header.config),
        "duration": header.duration,
        **({} if header.start is None else {"start": header.start}),
        **({"about": header.about} if header.about else {}),
    }
    yield _line(head)
    for entry in entries:
        fields = dict(entry.fields)
        own = {"fields": fields} if _OWN_KEYS & fields.keys() else fields
        yield _line({"time": entry.time, entry.role: entry.kind, **own})


def packed(recording: Recording) -> bytes:
    """The bytes of a ``.jsonl.gz``: equal for equal recordings."""
    return gzip.compress(b"".join(lines_of(recording, recording.entries)), mtime=0)


def unchecked(data: bytes) -> Recording:
    """What `packed` wrote, without a package to check it against."""
    head, *rest = _lines("recording.jsonl.gz", data)
    found = json.loads(head)
    config = {key: tuple(v) if isinstance(v, list) else v for key, v in found["config"].items()}
    entries = tuple(_entry("recording", json.loads(line)) for line in rest)
    return Recording("", found["system"], found["policy"], config, float(found["duration"]), entries)


# ----------------------------------------------------------------------------------------------------------- reading


def _line(values: Mapping[str, Any]) -> bytes:
    return json.dumps(values, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _lines(file: str, data: bytes | IO[bytes]) -> Iterator[str]:
    raw: IO[bytes] = io.BytesIO(data) if isinstance(data, bytes) else data
    unpacked = gzip.GzipFile(fileobj=raw) if file.endswith(".gz") else raw
    text = io.TextIOWrapper(unpacked, encoding="utf-8-sig", newline="\n")
    number = 0
    try:
        while line := text.readline(MAX_LINE_CHARACTERS + 1):
            number += 1
            if len(line) > MAX_LINE_CHARACTERS:
                raise InvalidInput(f"{file}:{number}", f"is longer than {MAX_LINE_CHARACTERS} characters")
            yield line
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{file}:{number + 1}", f"is not UTF-8 text: {error.reason}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidInput(f"{file}:{number + 1}", f"cannot be unpacked: {error}") from None


def _json(place: str, line: str) -> dict[str, Any]:
    if not line.strip():
        raise InvalidInput(place, "is an empty line")
    try:
        found = _DECODER.decode(line)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(place, f"is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise InvalidInput(place, "is no JSON object")
    return found


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)  # `json.loads` would make one for each line


def _header(file: str, found: dict[str, Any], spec: SystemSpec) -> Recording:
    place = f"{file}:1"
    if found.get("recording") != FORMAT:
        raise InvalidInput(f"{place}:recording", f"is {found.get('recording')!r:.100}; a header begins with {FORMAT}")
    if unknown := [key for key in found if key not in _HEADER_KEYS]:
        raise InvalidInput(f"{place}:{unknown[0]}", f"is an unknown key; known are: {', '.join(_HEADER_KEYS)}")
    if found.get("system") != spec.name:
        raise InvalidInput(f"{place}:system", f"is {found.get('system')!r:.100}; this package is {spec.name!r}")
    policy = found.get("policy")
    if not isinstance(policy, str) or not policy.strip():
        raise InvalidInput(
            f"{place}:policy", f"is {policy!r:.100}; must name the policy in force, or be {UNKNOWN_POLICY!r}"
        )
    duration = _number(f"{place}:duration", found.get("duration"), "seconds above 0")
    if duration <= 0:
        raise InvalidInput(f"{place}:duration", f"is {duration:g}; must be seconds above 0")
    start = None if found.get("start") is None else _number(f"{place}:start", found["start"], "seconds")
    about = found.get("about", "")
    if not isinstance(about, str):
        raise InvalidInput(f"{place}:about", f"is {about!r:.100}; must be a text")
    config = _config(place, found.get("config", {}), spec)
    return Recording(name_of(file), spec.name, policy, config, duration, (), start, about)


def finite(value: Any) -> bool:
    """Whether a value is a number that a float can hold."""
    try:
        return type(value) in (int, float) and math.isfinite(value)
    except OverflowError:
        return False


def _number(place: str, value: Any, wanted: str) -> float:
    if not finite(value):
        raise InvalidInput(place, f"is {value!r:.100}; must be {wanted}")
    return float(value)


def _config(place: str, given: Any, spec: SystemSpec) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise InvalidInput(f"{place}:config", f"is {given!r:.100}; must be a table")
    config: dict[str, Any] = {key: of.default for key, of in spec.config.items()}
    for key, value in given.items():
        if key not in spec.config:
            known = ", ".join(spec.config) or "none"
            raise InvalidInput(f"{place}:config.{key}", f"is an unknown key; known are: {known}")
        value = tuple(value) if isinstance(value, list) else value
        if problem := config_problem(spec.config[key], value):
            raise InvalidInput(f"{place}:config.{key}", problem)
        config[key] = float(value) if type(config[key]) is float and type(value) is int else value
    return config


def _entries(file: str, lines: Iterator[str], header: Recording, spec: SystemSpec) -> Iterator[Entry]:
    checks = {role: EntryChecks(kinds, header.config) for role, kinds in declared(spec).items()}
    last = 0.0
    for number, line in enumerate(lines, start=2):
        place = f"{file}:{number}"
        entry = _entry(place, _json(place, line))
        if entry.time < last:
            raise InvalidInput(f"{place}:time", f"{entry.time:g} is before the line above, {last:g}: time runs back")
        if entry.time > header.duration:
            raise InvalidInput(f"{place}:time", f"{entry.time:g} is after the end, duration {header.duration:g}")
        last = entry.time
        if problem := checks[entry.role].problem(entry):
            raise InvalidInput(f"{place}:{problem[0] or entry.role}", problem[1])
        yield entry


def declared(spec: SystemSpec) -> dict[Role, Mapping[str, KindSpec]]:
    return {"input": spec.inputs, "decision": spec.decisions, "event": spec.events}


def _entry(place: str, found: dict[str, Any]) -> Entry:
    time = found.pop("time", None)
    if time is None or not finite(time) or time < 0:
        raise InvalidInput(f"{place}:time", f"is {time!r:.100}; must be seconds from the beginning")
    roles: list[Role] = [role for role in ROLES if role in found]
    if len(roles) != 1:
        said = " and ".join(roles) or "none"
        raise InvalidInput(place, f"must say exactly one of {', '.join(ROLES)}; it says {said}")
    kind = found.pop(roles[0])
    fields = found.pop("fields", None)
    if fields is None:
        fields = found
    elif found or not isinstance(fields, dict):
        raise InvalidInput(f"{place}:fields", "must be a table that holds all fields")
    return Entry(float(time), roles[0], kind, fields)


class EntryChecks:
    """What the fields of one role's kinds must be."""

    def __init__(self, kinds: Mapping[str, KindSpec], config: Mapping[str, Any]) -> None:
        self._checks = {
            name: {key: (_check(of, config), of.optional) for key, of in kind.fields.items()}
            for name, kind in kinds.items()
        }

    def problem(self, entry: Entry) -> tuple[str, str] | None:
        """(field, what is wrong with it) or None; without a field the kind is."""
        checks = self._checks.get(entry.kind) if isinstance(entry.kind, str) else None
        if checks is None:
            return "", f"{entry.kind!r:.100} is no declared {entry.role}; declared are: {', '.join(self._checks)}"
        for key, (check, optional) in checks.items():
            if key not in entry.fields:
                if optional:
                    continue
                return key, f"is missing; the fields of {entry.kind} are: {', '.join(checks)}"
            if message := check(entry.fields[key]):
                return key, message
        if len(entry.fields) > len(checks) or not entry.fields.keys() <= checks.keys():
            extra = next(key for key in entry.fields if key not in checks)
            return extra, f"is no field of {entry.kind}; its fields are: {', '.join(checks) or 'none'}"
        return None


def _check(of: FieldSpec, config: Mapping[str, Any]) -> Callable[[Any], str]:
    """As in a run, but for ids: whether those exist shows only over the whole recording."""
    if of.type not in ("id", "ref"):
        return check_field(of, config)
    return _optional_id if of.optional else _id


def _id(value: Any) -> str:
    if type(value) is int or (type(value) is str and 0 < len(value) <= MAX_ID_CHARACTERS):
        return ""
    return f"is {value!r:.100}; must be a whole number or a text of at most {MAX_ID_CHARACTERS} characters"


def _optional_id(value: Any) -> str:
    return "" if value is None else _id(value)
