"""What came of earlier candidates, in the fewest words: a table by scenario, lines, and inspirations as changes."""

from __future__ import annotations

import difflib
import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

from quintain.plugins.backend import Attempt, Example, Task
from quintain_generator.domain.marks import shown_source
from quintain_generator.domain.prices import estimate_tokens
from quintain_generator.prompt.fences import fenced, one_line

_LATEST_COLUMNS = 5
_MOST_ROWS = 40
_MOST_MOVES = 8
_NAME_CHARACTERS = 40
_LOST = 0.005  # of a value, to be worth a word
_MOST_LOST = 3
_SUMMARY_CHARACTERS = 300
_LARGEST_CHANGE = 0.6  # of the source's size: a larger one is harder to read than the whole
_MOST_DIFFED_LINES = 4000


@dataclass(frozen=True, slots=True)
class _Column:
    candidate: str
    title: str
    values: Mapping[str, float]

    @property
    def mean(self) -> float:
        return sum(self.values.values()) / len(self.values)


def results_table(task: Task) -> str:
    """Rows are scenarios, columns the first, the best and the latest candidates and the parents; below it where each of
    them loses most against the best that is known of a scenario. Empty without values."""
    known = _known(task)
    columns = _columns(task, known)
    if not columns:
        return ""
    names = list(dict.fromkeys(name for column in columns for name in column.values))
    best = {n: max(values[n] for values in known.values() if n in values) for n in names}
    shown = names if len(names) <= _MOST_ROWS else _telling(names, columns, best)
    labels = {n: one_line(n, _NAME_CHARACTERS) for n in names}
    width = max(len("scenario"), *(len(labels[n]) for n in shown))
    heads = [*(c.title for c in columns), "best of any"]
    rows = [[f"{'scenario':<{width}}", *heads]]
    for n in shown:
        cells = [f"{c.values[n]:.3f}" if n in c.values else "-" for c in columns]
        rows.append([f"{labels[n]:<{width}}", *cells, f"{best[n]:.3f}"])
    means = [f"{c.mean:.4f}" for c in columns]
    rows.append([f"{'mean':<{width}}", *means, f"{sum(best.values()) / len(best):.4f}"])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    if len(shown) < len(names):
        lines.append(f"({len(names) - len(shown)} scenarios on which they differ least are left out)")
    # Of an inspiration the same is said where it is shown.
    ideas = {example.candidate_id for example in task.inspirations}
    lost = [text for c in columns if c.candidate not in ideas and (text := _lost(c, best, labels))]
    return "\n".join([*lines, *lost])


def _known(task: Task) -> dict[str, Mapping[str, float]]:
    """Values by candidate."""
    known = {a.candidate_id: a.scenario_values for a in task.history if a.scenario_values}
    for example in (*task.parents, *task.inspirations):
        if example.scenario_values:
            known[example.candidate_id] = example.scenario_values
    return known


def _columns(task: Task, known: Mapping[str, Mapping[str, float]]) -> list[_Column]:
    measured = [a for a in task.history if a.scenario_values]
    parents = [p.candidate_id for p in task.parents if p.candidate_id in known]
    best = max((a for a in measured if a.score is not None), key=_mean, default=None)
    wanted = [*(a.candidate_id for a in measured[:1] if a.number == 0), *parents]
    wanted += [best.candidate_id] if best else []
    latest = [a.candidate_id for a in measured[-_LATEST_COLUMNS:]]
    numbers = {a.candidate_id: a.number for a in measured}
    columns = []
    for candidate in sorted(dict.fromkeys([*wanted, *latest]), key=lambda c: numbers.get(c, -1)):
        roles = [
            word
            for word, held in (("parent", candidate in parents), ("best", best and best.candidate_id == candidate))
            if held
        ]
        columns.append(_Column(candidate, " ".join([_label(candidate), *roles]), known[candidate]))
    return columns


def _label(candidate: str) -> str:
    """As the digest and the notebook number it."""
    return f"#{candidate[1:]}" if re.fullmatch(r"c\d{1,9}", candidate, re.ASCII) else one_line(candidate, 12)


def _mean(attempt: Attempt) -> float:
    return sum(attempt.scenario_values.values()) / len(attempt.scenario_values)


def _telling(names: Sequence[str], columns: Sequence[_Column], best: Mapping[str, float]) -> list[str]:
    """The scenarios on which the candidates differ most from the best that is known."""
    spread = {n: max(best[n] - c.values.get(n, best[n]) for c in columns) for n in names}
    chosen = set(sorted(names, key=lambda n: (-spread[n], n))[:_MOST_ROWS])
    return [n for n in names if n in chosen]


def _lost(column: _Column, best: Mapping[str, float], labels: Mapping[str, str]) -> str:
    lost = sorted(((best[n] - v, n) for n, v in column.values.items() if best[n] - v > _LOST), reverse=True)[
        :_MOST_LOST
    ]
    return f"{column.title} loses most on: {', '.join(f'{labels[n]} -{loss:.3f}' for loss, n in lost)}" if lost else ""


def attempt_line(attempt: Attempt, *, noted: bool = False) -> str:
    """`noted`: the notebook says what it was."""
    score = "failed" if attempt.score is None else f"{attempt.score:.6g}"
    said = "see the notebook" if noted else one_line(attempt.summary, _SUMMARY_CHARACTERS)
    return f"{attempt.number}. {score}: {said}\n"


def noted_in(lessons: Iterable[str]) -> set[int]:
    """The candidates that these lessons of the notebook are about."""
    return {int(found[1]) for lesson in lessons if (found := re.match(r"#(\d{1,9}) from #\d", lesson, re.ASCII))}


def inspiration(number: int, example: Example, parent: Example | None, listed: Container[str] = ()) -> str:
    """As a change of the parent with what it gains, or whole if there is no parent or hardly anything in common.
    `listed`: the candidates of the digest, where their words stand."""
    moves = _moves(example, parent) if parent is not None else ""
    head = f"# Inspiration {number} ({score_words(example)})\n\n" + (f"{fenced(moves, 'text')}\n" if moves else "")
    words = "" if example.candidate_id in listed else example.feedback.strip()
    feedback = f"\nWhat was said of it:\n\n{fenced(words, 'text')}" if words else ""
    source = shown_source(example)
    change = changed(shown_source(parent), source) if parent is not None else None
    if change is None:
        return f"{head}{fenced(source.strip(), 'python')}{feedback}"
    return f"{head}What it has in place of the parent's lines:\n\n{fenced(change, 'diff')}{feedback}"


def changed(before: str, after: str) -> str | None:
    """A unified diff; None if it is not much shorter than `after`."""
    old, new = before.strip().splitlines(), after.strip().splitlines()
    if max(len(old), len(new)) > _MOST_DIFFED_LINES:
        return None
    lines = list(difflib.unified_diff(old, new, lineterm="", n=2))[2:]
    text = "\n".join(lines)
    return text if text and estimate_tokens(text) <= _LARGEST_CHANGE * estimate_tokens(after) else None


def _moves(example: Example, parent: Example) -> str:
    """Where it differs most from the parent by value."""
    both = [n for n in example.scenario_values if n in parent.scenario_values]
    moves = {n: example.scenario_values[n] - parent.scenario_values[n] for n in both}
    if not moves:
        return ""
    most = sorted((n for n in moves if abs(moves[n]) >= _LOST), key=lambda n: (-abs(moves[n]), n))[:_MOST_MOVES]
    said = [f"{one_line(n, _NAME_CHARACTERS)} {moves[n]:+.3f}" for n in most]
    return f"Against the parent: {', '.join([*said, f'mean {sum(moves.values()) / len(moves):+.4f}'])}"


def score_words(example: Example) -> str:
    """Which candidate it is, and its score."""
    number = _label(example.candidate_id)
    who = f"{number}, " if number.startswith("#") else ""
    if example.score is None:
        return f"{who}it failed"
    share = "" if example.normalized is None else f", {example.normalized:.0%} of the way to the bound"
    return f"{who}score {example.score:.6g}{share}"
