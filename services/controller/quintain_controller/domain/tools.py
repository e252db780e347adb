"""The tools that a model may call before it submits: how they are declared, what their arguments are, what they say.

What a tool says is a function of the candidates that were told when the conversation was asked for, of its arguments
and of the verdicts: so it can be said again, and compared, by a replay. Nothing here knows a held-out scenario.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from quintain_controller.domain.model import Candidate, SearchContext, ToolDeclaration, VerdictStatus

MAX_TEXT = 10_000  # characters of one answer
_MAX_POLICY = 1_000_000
_BEST_SHOWN, _LATEST_SHOWN = 15, 15
_ROWS_SHOWN = 60
_CELLS_SHOWN, _CELL_CHARACTERS, _WORDS_CHARACTERS = 10, 80, 200
_GROUPS_SHOWN = 24
_FEW_WORDS, _FEW_NUMBERS = 12, 8
_BEGIN_COLUMNS = ("start_tick", "start_seconds", "start", "begin")
_END_COLUMNS = ("end_tick", "end_seconds", "end")
_TIME_COLUMNS = ("time_seconds", "time", "at_seconds", "at", "tick", *_BEGIN_COLUMNS)


@dataclass(frozen=True, slots=True)
class ScenarioRun:
    """What came of a policy on one train scenario. `normalized`: 0 the worst, 1 the bound. `broken_floors`: (name,
    reached, required). `groups`: metrics by class of work. `detail`: the simulator's own JSON document, if it was asked
    for."""

    name: str
    value: float
    normalized: float
    failure: str
    broken_floors: tuple[tuple[str, float, float], ...]
    metrics: Mapping[str, float]
    groups: Mapping[str, Mapping[str, float]]
    failures_by_reason: Mapping[str, int]
    timeline: tuple[tuple[float, str], ...]
    detail: str


@dataclass(frozen=True, slots=True)
class PolicyRun:
    """What came of a policy on some train scenarios. `feedback` is the verifier's text, `seconds` how long it worked
    (0: it had the verdict already)."""

    simulator_build: str
    status: VerdictStatus
    failure: str
    feedback: str
    scenarios: tuple[ScenarioRun, ...]
    seconds: float


class WrongCall(ValueError):
    """A tool call that cannot be run; the message says why, to the model."""


# ------------------------------------------------------------------------------------------------------- declarations


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
    tool: ClassVar[str]
    what: ClassVar[str]  # it does, for the model


_POLICY = Field(min_length=1, max_length=_MAX_POLICY, description="the complete module")
_SCENARIOS = Field(default=(), max_length=1000, description="train scenarios by name; empty: all of them")
_CANDIDATE = Field(default=None, ge=0, description="a candidate's number; left out: the policy that you ran last")


class Run(_Arguments):
    """Arguments of `run`."""

    tool = "run"
    what = "Run a policy on train scenarios: scores, broken floors, failures with their line, and what happened there."
    policy: str = _POLICY
    scenarios: tuple[str, ...] = _SCENARIOS


class Compare(_Arguments):
    """Arguments of `compare`."""

    tool = "compare"
    what = "Run a policy on train scenarios and show its values beside those of an earlier candidate."
    policy: str = _POLICY
    other: int = Field(ge=0, description="the candidate's number")
    scenarios: tuple[str, ...] = _SCENARIOS


class Observe(_Arguments):
    """Arguments of `observe`."""

    tool = "observe"
    what = "Everything measured of a policy on one scenario (use of resources, waits, completions), by class of work."
    scenario: str
    group: str = Field(default="", alias="class", description="a class of work; left out: all of them")
    candidate: int | None = _CANDIDATE


class Timeline(_Arguments):
    """Arguments of `timeline`."""

    tool = "timeline"
    what = "What happened on one scenario within a span of simulated time."
    scenario: str
    begin: float = Field(default=0.0, alias="from", description="seconds of simulated time")
    end: float = Field(default=1e12, alias="to", description="seconds of simulated time")
    candidate: int | None = _CANDIDATE


class Floors(_Arguments):
    """Arguments of `floors`."""

    tool = "floors"
    what = "What a scenario is measured with: the baseline's value, the provable bound, and the floors to keep."
    scenario: str = Field(default="", description="left out: all train scenarios")


class Candidates(_Arguments):
    """Arguments of `candidates`."""

    tool = "candidates"
    what = "The best and the latest candidates of this search with their scores and what was tried."


class Source(_Arguments):
    """Arguments of `source`."""

    tool = "source"
    what = "The source of an earlier candidate."
    number: int = Field(ge=0)


class Note(_Arguments):
    """Arguments of `note`."""

    tool = "note"
    what = "Write down what you learned, for the people who read this search."
    text: str = Field(min_length=1, max_length=4000)


Arguments = Run | Compare | Observe | Timeline | Floors | Candidates | Source | Note
_KINDS: tuple[type[_Arguments], ...] = (Run, Compare, Observe, Timeline, Floors, Candidates, Source, Note)
NAMES = tuple(kind.tool for kind in _KINDS)
RUNS = frozenset({Run.tool, Compare.tool, Observe.tool, Timeline.tool})
"""Tools that ask the verifier."""


def declarations() -> tuple[ToolDeclaration, ...]:
    """As they are frozen into a search when it is created."""
    return tuple(ToolDeclaration(kind.tool, kind.what, json.dumps(_schema(kind), sort_keys=True)) for kind in _KINDS)


def _schema(kind: type[_Arguments]) -> dict[str, Any]:
    """JSON Schema in the plain form that all providers take: no titles, no references, arrays without a fixed shape."""
    raw = kind.model_json_schema(by_alias=True)
    properties: dict[str, Any] = {}
    for name, given in raw.get("properties", {}).items():
        plain = next((form for form in given.get("anyOf", ()) if form.get("type") != "null"), given)
        kept = {"type": plain["type"]}
        if plain["type"] == "array":
            kept["items"] = {"type": plain["items"]["type"]}
        if "description" in given:
            kept["description"] = given["description"]
        properties[name] = kept
    return {
        "type": "object",
        "properties": properties,
        "required": raw.get("required", []),
        "additionalProperties": False,
    }


def arguments(name: str, text: str) -> Arguments:
    """Raises WrongCall that says what is wrong, and where."""
    kind = next((kind for kind in _KINDS if kind.tool == name), None)
    if kind is None:
        raise WrongCall(f"there is no tool {name!r}; there are {', '.join(NAMES)}")
    try:
        return kind.model_validate_json(text or "{}")  # type: ignore[return-value]  # one of the union, by the table
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'arguments'}: {e['msg']}" for e in error.errors()[:8])
        known = ", ".join(_schema(kind)["properties"]) or "none"
        raise WrongCall(f"{problems} (arguments of {name}: {known})") from None


# -------------------------------------------------------------------------------------------------------- what they say


def scenarios_of(context: SearchContext, wanted: Sequence[str]) -> tuple[str, ...]:
    """The train scenarios that are meant, in the order of the suite. Raises WrongCall for others."""
    unknown = [name for name in wanted if name not in context.train]
    if unknown:
        raise WrongCall(f"there is no scenario {unknown[0][:100]!r}; there are {', '.join(context.train)}")
    return tuple(name for name in context.train if not wanted or name in wanted)


def say_run(run: PolicyRun) -> str:
    lines = [_status(run), *(_row(s) for s in run.scenarios), "", run.feedback]
    return bounded("\n".join(lines))


def say_comparison(run: PolicyRun, number: int, other: Mapping[str, float]) -> str:
    lines = [_status(run), f"Normalised values (0 the worst, 1 the bound): yours, candidate {number}'s, difference"]
    known = [(s, other[s.name]) for s in run.scenarios if s.name in other]
    lines += [f"- {s.name}: {s.normalized:.4f} {value:.4f} {s.normalized - value:+.4f}" for s, value in known]
    if known:
        mine, theirs = sum(s.normalized for s, _ in known) / len(known), sum(v for _, v in known) / len(known)
        lines.append(f"Mean: {mine:.4f} {theirs:.4f} {mine - theirs:+.4f}")
    lines += [_row(s) for s in run.scenarios if s.failure or s.broken_floors]
    return bounded("\n".join(lines))


def say_observation(run: PolicyRun, group: str) -> str:
    """Raises WrongCall for a class of work that there is not."""
    scenario = run.scenarios[0]
    if group and group not in scenario.groups:
        raise WrongCall(f"there is no class {group[:100]!r} in {scenario.name}; there are {', '.join(scenario.groups)}")
    lines = [_row(scenario)]
    if not group:
        lines += ["All work:", *_metrics(scenario.metrics)]
    for name, metrics in scenario.groups.items():
        if group in ("", name):
            lines += [f"Class {name}:", *_metrics(metrics)]
    if durations := _durations(scenario.detail, group):
        lines += ["What took how long:", *durations]
    if scenario.failures_by_reason:
        lines.append("Failures of work by reason: " + _listed(scenario.failures_by_reason))
    return bounded("\n".join(lines))


def say_timeline(run: PolicyRun, begin: float, end: float) -> str:
    scenario = run.scenarios[0]
    lines = [_row(scenario)]
    events = [f"{at:.6g} s: {text}" for at, text in scenario.timeline if begin <= at <= end]
    if events:
        lines += ["Around the worst moment:", *_thinned(events)]
    for name, rows in _tables(scenario.detail, begin, end).items():
        lines += [f"{name}:", *_thinned(rows)]
    if len(lines) == 1:
        lines.append(f"Nothing is recorded from {begin:.6g} s to {end:.6g} s.")
    return bounded("\n".join(lines))


def say_floors(context: SearchContext, first: Candidate, wanted: Sequence[str]) -> str:
    lines = []
    for name in scenarios_of(context, wanted):
        known = first.references.get(name)
        if known is None:
            lines.append(f"- {name}: not known, the first policy did not run there")
            continue
        bound = "none" if known.bound is None else f"{known.bound:.6g}"
        floors = _listed(known.floors) or "none"
        lines.append(f"- {name}: baseline {known.baseline:.6g}, bound {bound}, floors: {floors}")
    return bounded("\n".join(lines))


def say_candidates(context: SearchContext, candidates: Sequence[Candidate]) -> str:
    scored = [c for c in candidates if c.status is VerdictStatus.OK and c.train is not None]
    best = sorted(scored, key=lambda c: -context.greater_is_better(c.train.score if c.train else 0.0))[:_BEST_SHOWN]
    latest = list(candidates)[-_LATEST_SHOWN:]
    lines = ["Best:", *map(_candidate, best), "Latest:", *map(_candidate, latest)]
    return bounded("\n".join(lines))


def bounded(text: str) -> str:
    """The beginning and the end of what is too long."""
    if len(text) <= MAX_TEXT:
        return text
    gap = f"\n[... of {len(text)} characters, the middle is left out ...]\n"
    room = MAX_TEXT - len(gap)
    return text[: room * 3 // 4] + gap + text[-room // 4 :]


def _status(run: PolicyRun) -> str:
    if run.status is VerdictStatus.OK:
        mean = sum(s.normalized for s in run.scenarios) / max(1, len(run.scenarios))
        return f"It ran to the end on {len(run.scenarios)} scenarios; mean of the normalised values {mean:.4f}."
    return f"{run.status.name.lower().replace('_', ' ')}: {run.failure}".rstrip(": ")


def _row(scenario: ScenarioRun) -> str:
    words = [f"- {scenario.name}: {scenario.value:.6g}, normalised {scenario.normalized:.4f}"]
    words += [f"floor {name} broken: {got:.6g} of {needed:.6g}" for name, got, needed in scenario.broken_floors]
    return "; ".join([*words, *([f"failed: {scenario.failure}"] if scenario.failure else [])])


def _candidate(candidate: Candidate) -> str:
    score = "no score" if candidate.train is None else f"{candidate.train.score:.6g}"
    return f"- {candidate.number}: {score}: {candidate.summary}"


def _metrics(metrics: Mapping[str, float]) -> list[str]:
    return [f"- {name}: {value:.6g}" for name, value in metrics.items()]


def _listed(values: Mapping[str, float] | Mapping[str, int]) -> str:
    return ", ".join(f"{name} {value:.6g}" for name, value in values.items())


def _thinned(lines: Sequence[str]) -> list[str]:
    """At most so many of them, evenly."""
    if len(lines) <= _ROWS_SHOWN:
        return list(lines)
    step = len(lines) / _ROWS_SHOWN
    return [*(lines[int(i * step)] for i in range(_ROWS_SHOWN)), f"(every {step:.3g}-th of {len(lines)})"]


def _document(detail: str) -> tuple[dict[str, dict[str, list[Any]]], float]:
    """The tables by columns in a simulator's document, and how many ticks it has a second (0: it does not say)."""
    try:
        document = json.loads(detail or "{}")
    except ValueError:
        return {}, 0.0
    tables: dict[str, dict[str, list[Any]]] = {}
    for name, columns in document.items() if isinstance(document, dict) else ():
        lists = isinstance(columns, dict) and all(isinstance(values, list) for values in columns.values())
        if lists and len({len(values) for values in columns.values()}) == 1:
            tables[name] = columns
    ticks = document.get("ticks_per_second") if isinstance(document, dict) else None
    return tables, ticks if isinstance(ticks, int | float) and ticks > 0 else 0.0


def _in_seconds(columns: Mapping[str, list[Any]], ticks: float, names: Sequence[str]) -> tuple[str, list[float | None]]:
    """The first of these columns that there is, in seconds; an empty name if there is none that can be read so."""
    name = next((name for name in names if name in columns), "")
    scale = ticks if "tick" in name else 1.0
    if not name or not scale:
        return "", []
    return name, [value / scale if isinstance(value, int | float) else None for value in columns[name]]


def _tables(detail: str, begin: float, end: float) -> dict[str, list[str]]:
    """The rows of a simulator's document within a span of time, of each table that has a time."""
    found: dict[str, list[str]] = {}
    tables, ticks = _document(detail)
    for name, columns in tables.items():
        time, seconds = _in_seconds(columns, ticks, _TIME_COLUMNS)
        others = [key for key in columns if key != time][:_CELLS_SHOWN]
        words = columns["what"] if others == ["what"] and _all(columns["what"], str) else None
        rows = [
            f"{at:.6g} s: "
            + (
                words[index][:_WORDS_CHARACTERS]
                if words
                else ", ".join(f"{k} {_cell(columns[k][index])}" for k in others)
            )
            for index, at in enumerate(seconds)
            if at is not None and begin <= at <= end
        ]
        if rows:
            found[name] = rows
    return found


def _durations(detail: str, group: str) -> list[str]:
    """How long things took, of each table with a begin and an end: by what kind they were (columns of few words) and by
    numbers that take few values (CPUs), with the peaks of the other numbers. `group`: only where a word begins so."""
    lines: list[str] = []
    tables, ticks = _document(detail)
    for name, columns in tables.items():
        begin, begins = _in_seconds(columns, ticks, _BEGIN_COLUMNS)
        end, ends = _in_seconds(columns, ticks, _END_COLUMNS)
        if not begin or not end:
            continue
        rest = {key: values for key, values in columns.items() if key not in (begin, end)}
        kinds = [key for key, values in rest.items() if _all(values, str) and len(set(values)) <= _FEW_WORDS]
        numbers = [key for key, values in rest.items() if _all(values, int, float)]
        steps = [key for key in numbers if len(set(rest[key])) <= _FEW_NUMBERS]
        rows: dict[tuple[object, ...], list[int]] = {}
        for index in range(len(begins)):
            words = [rest[key][index] for key in kinds]
            if not group or any(word.casefold().startswith(group.casefold()) for word in words):
                rows.setdefault((*words, *(rest[key][index] for key in steps)), []).append(index)
        for key, indices in sorted(rows.items(), key=lambda row: -len(row[1]))[:_GROUPS_SHOWN]:
            took = [e - b for i in indices if (b := begins[i]) is not None and (e := ends[i]) is not None]
            if not took:
                continue
            said = ", ".join(f"{column} {_cell(value)}" for column, value in zip([*kinds, *steps], key, strict=True))
            peaks = "".join(f", {k} up to {max(rest[k][i] for i in indices):.6g}" for k in numbers if k not in steps)
            mean = sum(took) / len(took)
            lines.append(f"- {name}: {said}: {len(took)} times, mean {mean:.4g} s, longest {max(took):.4g} s{peaks}")
    return lines


def _all(values: Sequence[object], *kinds: type) -> bool:
    return bool(values) and all(isinstance(value, kinds) and not isinstance(value, bool) for value in values)


def _cell(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else json.dumps(value)[:_CELL_CHARACTERS]
