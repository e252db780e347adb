"""Which recordings a model may be fitted to, and which it must never see: later time, another policy in force, the
busiest windows.

A part is made of recordings whose `windows` say what counts. What lies before a window stays in the recording: it is
the history that brings a model into the right state, and nothing of it is judged there. `recordings.toml` in the
package may say otherwise::

    train = ["monday", { recording = "tuesday", until = 3600.0 }]
    later = [{ recording = "tuesday", from = 3600.0 }]
    other_policy = ["wednesday_random"]
    busiest = []
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from quintain.plugins.simulator import InvalidInput
from quintain_system.form.package import Placed, decoded, read_toml
from quintain_system.form.spec import Strict
from quintain_system.recordings.form import UNKNOWN_POLICY, Recording

SPLIT_FILE = "recordings.toml"
LATER_SHARE = 0.2  # of the time
BUSY_SHARE = 0.2  # of the windows
WINDOWS_OF_ONE = 5  # that a recording is cut into, to find the busiest
FEW_WINDOWS = 5  # fewer of one configuration: none can be spared
FAR_MORE = 2  # times as many amounts
FEW_INPUTS = 5  # a window with fewer says nothing
PARTS = ("train", "later", "other_policy", "busiest")

Window = tuple[float, float]


@dataclass(frozen=True)
class Split:
    """The four parts; `unverified` says in words what the recordings cannot show."""

    train: tuple[Recording, ...]
    later: tuple[Recording, ...]
    other_policy: tuple[Recording, ...]
    busiest: tuple[Recording, ...]
    unverified: tuple[str, ...] = ()

    @property
    def parts(self) -> Mapping[str, tuple[Recording, ...]]:
        return {"train": self.train, **self.held_out}

    @property
    def held_out(self) -> Mapping[str, tuple[Recording, ...]]:
        return {"later": self.later, "other_policy": self.other_policy, "busiest": self.busiest}


def _from_name(given: Any) -> Any:
    return {"recording": given} if isinstance(given, str) else given


class WindowSpec(Strict):
    recording: str
    start: float = Field(0.0, alias="from", ge=0, description="Seconds; what is before it is history.")
    until: float | None = Field(None, gt=0, description="Seconds; the recording's end if not given.")


AWindow = Annotated[WindowSpec, BeforeValidator(_from_name)]


class SplitSpec(Strict):
    """`recordings.toml`: a part that is not named is empty."""

    train: tuple[AWindow, ...] = Field(min_length=1)
    later: tuple[AWindow, ...] = ()
    other_policy: tuple[AWindow, ...] = ()
    busiest: tuple[AWindow, ...] = ()


def split_of(recordings: Sequence[Recording], files: Mapping[str, bytes]) -> Split:
    """As `recordings.toml` says, or else proposed. Raises InvalidInput."""
    if not recordings:
        raise InvalidInput("recordings/", "has no recording; a model is fitted to at least one")
    return _told(recordings, files[SPLIT_FILE]) if SPLIT_FILE in files else four_way(recordings)


def four_way(recordings: Iterable[Recording]) -> Split:
    """A split that depends on the recordings alone, not on their order."""
    by_name = sorted(recordings, key=lambda r: r.name)
    pool, other = _by_policy(by_name)
    earlier, later = _by_time(pool)
    train, busiest = _by_load(earlier)
    return Split(tuple(train), tuple(later), tuple(other), tuple(busiest), _unverified(by_name, later, other, busiest))


def window_of(recording: Recording, windows: Sequence[Window]) -> Recording:
    """The recording up to the last window's end, of which these windows count."""
    end = windows[-1][1]
    if end >= recording.duration:
        return replace(recording, windows=tuple(windows))
    entries = tuple(entry for entry in recording.entries if entry.time < end)
    return replace(recording, windows=tuple(windows), entries=entries, duration=end)


# ---------------------------------------------------------------------------------------------------------- proposed


def _by_policy(recordings: Sequence[Recording]) -> tuple[list[Recording], list[Recording]]:
    """The policy with the fewest entries is held out, if there are several; but not one that tried far more amounts
    than the others (CPU, memory): without it no model can know what an amount does."""
    entries: dict[str, int] = defaultdict(int)
    tried: dict[str, set[tuple[str, str, float]]] = defaultdict(set)
    for recording in recordings:
        entries[recording.policy] += len(recording.entries)
        decided = [e for e in recording.entries if e.role == "decision"]
        tried[recording.policy] |= {(e.kind, f, v) for e in decided for f, v in e.fields.items() if type(v) is float}
    if len(entries) < 2:
        return list(recordings), []
    most, *others = sorted(entries, key=lambda policy: -len(tried[policy]))
    if len(tried[most]) >= FAR_MORE * max(1, len(tried[others[0]])):
        del entries[most]
    held = max(entries, key=lambda policy: (-entries[policy], policy))
    return [r for r in recordings if r.policy != held], [r for r in recordings if r.policy == held]


def _by_time(pool: Sequence[Recording]) -> tuple[list[Recording], list[Recording]]:
    """The last recordings, if they say when they began and there are three at least; else the end of each."""
    starts = [recording.start for recording in pool if recording.start is not None]
    if len(pool) >= 3 and len(starts) == len(pool) and len(set(starts)) > 1:
        ordered = sorted(pool, key=lambda r: (r.start or 0.0, r.name))
        wanted = LATER_SHARE * sum(r.duration for r in pool)
        later = [ordered.pop()]
        while len(ordered) > 2 and sum(r.duration for r in later) + ordered[-1].duration <= wanted:
            later.append(ordered.pop())
        return ordered, later[::-1]
    ends = [(1.0 - LATER_SHARE) * recording.duration for recording in pool]
    earlier = [window_of(r, [(0.0, end)]) for r, end in zip(pool, ends, strict=True)]
    return earlier, [window_of(r, [(end, r.duration)]) for r, end in zip(pool, ends, strict=True)]


def _by_load(pool: Sequence[Recording]) -> tuple[list[Recording], list[Recording]]:
    """The windows with most inputs a second are held out: of each configuration, since what is much for a small system
    is little for a large one."""
    loads: dict[str, list[tuple[float, int, Window]]] = defaultdict(list)
    for number, recording in enumerate(pool):
        edges = [recording.duration * i / WINDOWS_OF_ONE for i in range(WINDOWS_OF_ONE + 1)]
        counts = _inputs_between(recording, edges)
        for low, high, count in zip(edges, edges[1:], counts, strict=False):
            if count >= FEW_INPUTS:
                config = json.dumps(recording.config, sort_keys=True)
                loads[config].append((count / (high - low), number, (low, high)))
    taken: dict[int, list[Window]] = defaultdict(list)
    for found in loads.values():
        if len(found) >= FEW_WINDOWS:
            found.sort(key=lambda load: (-load[0], load[1], load[2]))
            for _, number, window in found[: int(BUSY_SHARE * len(found))]:
                taken[number].append(window)
    train: list[Recording] = []
    for number, recording in enumerate(pool):
        left = _without(recording.duration, sorted(taken.get(number, ())))
        if left:
            train.append(window_of(recording, left))
    busiest = [window_of(pool[number], _merged(sorted(windows))) for number, windows in sorted(taken.items())]
    return train, busiest


def _inputs_between(recording: Recording, edges: Sequence[float]) -> list[int]:
    """Inputs by window; those of the very beginning declare what exists."""
    counts = [0] * (len(edges) - 1)
    length = edges[1] - edges[0]
    for entry in recording.entries:
        if entry.role == "input" and entry.time > 0:
            counts[min(len(counts) - 1, int(entry.time / length))] += 1
    return counts


def _without(duration: float, taken: Sequence[Window]) -> list[Window]:
    left: list[Window] = []
    begun = 0.0
    for low, high in taken:
        if low > begun:
            left.append((begun, low))
        begun = high
    if begun < duration:
        left.append((begun, duration))
    return left


def _merged(windows: Sequence[Window]) -> list[Window]:
    merged: list[Window] = []
    for low, high in windows:
        if merged and merged[-1][1] == low:
            merged[-1] = (merged[-1][0], high)
        else:
            merged.append((low, high))
    return merged


def _unverified(
    recordings: Sequence[Recording],
    later: Sequence[Recording],
    other: Sequence[Recording],
    busiest: Sequence[Recording],
) -> tuple[str, ...]:
    words = []
    policies = sorted({recording.policy for recording in recordings})
    if not other:
        words.append(f"one policy in the log ({policies[0] if policies else 'none'}): nothing is known of others")
    if UNKNOWN_POLICY in policies:
        names = ", ".join(r.name for r in recordings if r.policy == UNKNOWN_POLICY)
        words.append(f"the policy in force is unknown in {names}")
    if not busiest:
        words.append("few windows: none could be held out for high load")
    if not any(_judged(recording) for recording in later):
        words.append("nothing came in the later time that is held out")
    return tuple(words)


def _judged(recording: Recording) -> bool:
    return any(entry.role == "input" and recording.counts(entry.time) for entry in recording.entries)


# -------------------------------------------------------------------------------------------------------------- told


def _told(recordings: Sequence[Recording], data: bytes) -> Split:
    spec = read_toml(SPLIT_FILE, data, SplitSpec)
    placed = Placed(SPLIT_FILE, decoded(SPLIT_FILE, data))
    known = {recording.name: recording for recording in recordings}
    parts: dict[str, tuple[Recording, ...]] = {}
    judged: dict[str, list[tuple[Window, str]]] = defaultdict(list)  # recording -> what counts, for which part
    for part in PARTS:
        chosen = []
        for number, wanted in enumerate(getattr(spec, part)):
            at = (part, number)
            recording = known.get(wanted.recording)
            if recording is None:
                raise placed.error(at, f"{wanted.recording!r} is no recording; there are: {', '.join(sorted(known))}")
            until = recording.duration if wanted.until is None else wanted.until
            if not wanted.start < until <= recording.duration:
                message = f"{wanted.start:g} to {until:g} s is no part of {wanted.recording}, 0 to "
                raise placed.error(at, f"{message}{recording.duration:g} s")
            for (low, high), other in judged[wanted.recording]:
                if "train" in (part, other) and part != other and wanted.start < high and low < until:
                    raise placed.error(at, f"{wanted.recording}, {low:g} to {high:g} s, counts for {other} as well")
            judged[wanted.recording].append(((wanted.start, until), part))
            chosen.append(window_of(recording, [(wanted.start, until)]))
        parts[part] = tuple(chosen)
    words = _unverified(recordings, parts["later"], parts["other_policy"], parts["busiest"])
    return Split(parts["train"], parts["later"], parts["other_policy"], parts["busiest"], words)
