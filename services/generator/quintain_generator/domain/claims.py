"""What an answer claims of its policy: a hypothesis and predictions, read leniently from its prose."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from quintain.plugins.backend import Task

MAX_HYPOTHESIS_CHARACTERS = 500
MAX_PREDICTIONS = 8
_OVERALL = frozenset({"all", "mean", "overall", "score", "average", "total"})
_MARK = r"^[\s>#*_\-`]*"  # how a line of Markdown may begin
_HYPOTHESIS = re.compile(
    _MARK + r"hypothesis[*_`]*\s*[:=][*_`]*[ \t]*(.*(?:\n(?!\s*\n)(?!" + _MARK + r"predictions?\b).*)*)", re.I | re.M
)
_PREDICTION = re.compile(_MARK + r"predictions?[*_`]*\s*[:=][*_`]*[ \t]*(.*(?:\n[ \t]*[-*].*)*)", re.I | re.M)
_CHANGE = re.compile(
    r"([A-Za-z][\w./-]*)[`*_\"']*\s*(?::|=|by)?\s*([+\-\u2212\u2013]|\u00b1)?\s*(\d+(?:\.\d+)?|\.\d+)\s*(%)?"
)


@dataclass(frozen=True, slots=True)
class Prediction:
    """Change of a train scenario's normalised value against the first parent; an empty name is the mean of all."""

    scenario: str
    change: float


@dataclass(frozen=True, slots=True)
class Claims:
    hypothesis: str = ""
    predictions: tuple[Prediction, ...] = ()


NO_CLAIMS = Claims()


def claims_of(task: Task, texts: Sequence[str]) -> Claims:
    """Of the first of `texts` that claims something. What cannot be read is no claim."""
    names = _names(task)
    for text in texts:
        stated = _HYPOTHESIS.search(text)
        hypothesis = " ".join(stated[1].split()).strip("*_` ") if stated else ""
        made: dict[str, float] = {}
        for line in _PREDICTION.finditer(text):
            for scenario, change in _changes(line[1], names):
                made.setdefault(scenario, change)
        if hypothesis or made:
            predictions = [Prediction(scenario, change) for scenario, change in made.items()]
            return Claims(
                textwrap.shorten(hypothesis, MAX_HYPOTHESIS_CHARACTERS, placeholder=" ..."),
                tuple(predictions[:MAX_PREDICTIONS]),
            )
    return NO_CLAIMS


def _names(task: Task) -> tuple[str, ...]:
    shown = {s.name: None for s in task.scenarios}
    for parent in task.parents:
        shown |= dict.fromkeys(parent.scenario_values)
    return tuple(shown)


def _changes(text: str, names: Sequence[str]) -> Iterator[tuple[str, float]]:
    for name, sign, digits, percent in _CHANGE.findall(text):
        scenario = _scenario(name, names)
        change = float(digits) / (100.0 if percent else 1.0) * (-1.0 if sign in ("-", "\u2212", "\u2013") else 1.0)
        if scenario is not None and sign != "\u00b1" and abs(change) <= 1.0 and (sign or change == 0.0):
            yield scenario, change


def _scenario(said: str, names: Sequence[str]) -> str | None:
    """The scenario that is meant: by its name, or by the beginning of it if no other begins so."""
    name = said.rstrip(".-/").casefold()
    exact = [n for n in names if n.casefold() == name]
    if exact:
        return exact[0]
    if name in _OVERALL:
        return ""
    begins = [
        n
        for n in names
        if re.match(re.escape(name) + r"(?![A-Za-z0-9])", n, re.I) or n.casefold().startswith(name + "_")
    ]
    return begins[0] if len(begins) == 1 else None
