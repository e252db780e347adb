"""Builds the prompt of a request. A pure function of the task, so what was sent can be shown again.

Layout, most stable first, so that a provider can cache as much as possible:

1. system: contract, policy interface, objective, facts of the scenarios, answer formats. Byte-identical through a
   search. Breakpoint.
2. the run's digest in closed chapters of `CHAPTER` attempts each, which never change again. Breakpoint after the last.
3. the attempts since then, the notebook, the table of results.
4. the parents with their feedback.
5. inspirations, as changes of the parent.
6. what to do this time.

The budget is in estimated tokens (see `domain.prices.estimate_tokens`) and is kept whatever the task holds. Parts 1 and
6 are never cut. The chapters have a share of their own, so that what is cached does not depend on the rest. Then come
the parents' sources; what is left is filled piece by piece, the piece of most worth for its size first (`_WORTH`). No
text here names a domain: the simulator's description brings it. What candidates wrote, and every report that may quote
them, stand in fences that no text of theirs can close.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from quintain.plugins.backend import Attempt, Message, Operator, Task
from quintain_generator.domain.marks import shown_source
from quintain_generator.domain.prices import estimate_prompt_tokens, estimate_tokens
from quintain_generator.prompt.fences import fenced, one_line, shorten
from quintain_generator.prompt.instruction import instruction
from quintain_generator.prompt.results import attempt_line, inspiration, noted_in, results_table, score_words
from quintain_generator.prompt.static import static_part

CHAPTER = 32
_CHAPTERS_SHARE = 0.15  # of the budget
_SECTION_SHARE = 0.25  # of the budget: the longest section of a feedback
_MAX_LESSONS = 24
_MAX_LESSON_CHARACTERS = 500
_FRAME_TOKENS = 40  # of a message around its pieces: title, fences
# What a piece is worth, in points; those after it in its part count less.
_WORTH = {"feedback": 60.0, "results": 50.0, "inspiration": 40.0, "notebook": 8.0, "attempts": 5.0}
_ATTEMPTS_HALVED = 8  # attempts ago, at which one is worth half
AGAIN_SHARE = 0.25
"""Of the budget: what asking again may add to a prompt."""


class PromptTooLarge(ValueError):
    """What is never cut does not fit into the budget; the message says by how much."""


@dataclass(slots=True)
class _Part:
    """A part of the prompt that is made of pieces, taken in order as far as there is room."""

    pieces: Sequence[str]
    worth: Sequence[float]  # of each piece
    taken: int = 0

    @property
    def texts(self) -> Sequence[str]:
        return self.pieces[: self.taken]

    @property
    def density(self) -> float:
        """Worth for each token of the next piece."""
        return self.worth[self.taken] / max(1, estimate_tokens(self.pieces[self.taken]))


@dataclass(slots=True)
class _Fill:
    """Takes pieces of parts, the one of most worth for its size first, and remembers the order."""

    parts: Sequence[_Part]
    left: int
    order: list[_Part] = field(default_factory=list)

    def fill(self) -> None:
        heap = [(-part.density, number) for number, part in enumerate(self.parts) if part.pieces]
        heapq.heapify(heap)
        while heap:
            part = self.parts[(number := heapq.heappop(heap)[1])]
            frame = _FRAME_TOKENS if part.taken == 0 else 1
            size = estimate_tokens(part.pieces[part.taken]) + frame
            if size > self.left:
                continue  # what follows it in its part says less
            self.left -= size
            part.taken += 1
            self.order.append(part)
            if part.taken < len(part.pieces):
                heapq.heappush(heap, (-part.density, number))

    def take_back(self) -> bool:
        """The last piece; False if none is left."""
        if not self.order:
            return False
        self.order.pop().taken -= 1
        return True


def build_prompt(task: Task, budget_tokens: int) -> tuple[Message, ...]:
    """The messages of `task`, at most `budget_tokens`. Raises PromptTooLarge."""
    system = Message("system", static_part(task, budget_tokens), cache_breakpoint=True)
    last = Message("user", instruction(task))
    left = budget_tokens - estimate_prompt_tokens([system, last])
    smallest = estimate_prompt_tokens(_parent(task, n, 0, ()) for n in range(len(task.parents)))
    if left < smallest:
        needed = budget_tokens - left + smallest
        raise PromptTooLarge(
            f"the simulator's guide, the objective and the instructions need {needed} tokens; prompt_tokens is "
            f"{budget_tokens}"
        )
    chapters, open_attempts = _chapters(task, min(left - smallest, int(budget_tokens * _CHAPTERS_SHARE)))
    left -= estimate_prompt_tokens(chapters)
    sources = _sources(task, left)
    left -= estimate_prompt_tokens(_parent(task, n, sources[n], ()) for n in range(len(task.parents)))
    lines = _Part([attempt_line(a) for a in reversed(open_attempts)], [*_attempts_worth(len(open_attempts))])
    notebook = _Part(_lessons(task), [_WORTH["notebook"]] * len(task.lessons))
    table = _Part([text] if (text := results_table(task)) else [], [_WORTH["results"]])
    feedback = [_feedback(example.feedback, int(budget_tokens * _SECTION_SHARE)) for example in task.parents]
    parent = task.parents[0] if task.parents else None
    listed = {attempt.candidate_id for attempt in task.history}
    inspirations = [
        _Part([inspiration(number, example, parent, listed)], [_WORTH["inspiration"] / number])
        for number, example in enumerate(task.inspirations, start=1)
    ]
    fill = _Fill([lines, notebook, table, *feedback, *inspirations], left)
    fill.fill()

    def assembled() -> tuple[Message, ...]:
        parents = [_parent(task, n, sources[n], feedback[n].texts) for n in range(len(task.parents))]
        noted = noted_in(notebook.texts)
        latest = open_attempts[len(open_attempts) - lines.taken :]
        recent = [_section("Latest attempts", [attempt_line(a, noted=a.number in noted).rstrip("\n") for a in latest])]
        recent.append(
            _section(
                "Notebook: what candidates claimed, and what came of it (the latest first)",
                [f"- {t}" for t in notebook.texts],
            )
        )
        recent.append(_section("Results by scenario (0 the worst, 1 the bound)", table.texts))
        ideas = [Message("user", text) for part in inspirations for text in part.texts]
        return (system, *chapters, *(m for m in recent if m is not None), *parents, *ideas, last)

    prompt = assembled()
    while estimate_prompt_tokens(prompt) > budget_tokens and fill.take_back():
        prompt = assembled()
    return prompt


def ask_again(
    prompt: tuple[Message, ...], answer: str, problem: str, operator: Operator, budget_tokens: int
) -> tuple[Message, ...]:
    """The prompt with the answer that cannot be taken and the reason; longer by AGAIN_SHARE of the budget at most."""
    blocks = "with SEARCH/REPLACE blocks copied exactly from the parent, or " if operator is Operator.DIFF else ""
    demand = (
        f"Your answer cannot be taken:\n\n{fenced(problem, 'text')}\n"
        f"Answer again {blocks}with the complete policy in one fenced block."
    )
    again = Message("user", demand)
    room = int(budget_tokens * AGAIN_SHARE) - estimate_prompt_tokens([again, Message("assistant", "")])
    return (*prompt, Message("assistant", shorten(answer, room)), again)


def _chapters(task: Task, budget_tokens: int) -> tuple[list[Message], list[Attempt]]:
    """Closed chapters (cacheable), the oldest left out first, and the attempts of the open one."""
    chapters: dict[int, list[Attempt]] = {}
    for attempt in task.history:
        chapters.setdefault(attempt.number // CHAPTER, []).append(attempt)
    open_attempts = chapters.pop(max(chapters), []) if chapters else []
    kept: list[Message] = []
    for number in sorted(chapters, reverse=True):
        first, last = number * CHAPTER, number * CHAPTER + CHAPTER - 1
        lines = [attempt_line(a).rstrip("\n") for a in chapters[number]]
        message = Message("user", f"# Attempts {first} to {last}\n\n{fenced(chr(10).join(lines), 'text')}")
        budget_tokens -= estimate_prompt_tokens([message])
        if budget_tokens < 0:
            break
        kept.insert(0, message)
    if kept:
        kept[-1] = Message("user", kept[-1].content, cache_breakpoint=True)
    return kept, open_attempts


def _attempts_worth(count: int) -> Iterator[float]:
    """Of the latest first."""
    for age in range(count):
        yield _WORTH["attempts"] / (1.0 + age / _ATTEMPTS_HALVED)


def _lessons(task: Task) -> list[str]:
    """The latest first: they stand last in a task."""
    return [one_line(lesson, _MAX_LESSON_CHARACTERS) for lesson in reversed(task.lessons[-_MAX_LESSONS:])]


def _feedback(text: str, section_tokens: int) -> _Part:
    """By its sections, which stand in the order of what they are worth."""
    sections = [shorten(section, section_tokens) for section in text.strip().split("\n\n") if section.strip()]
    return _Part(sections, [_WORTH["feedback"] / (1 + number) for number in range(len(sections))])


def _section(title: str, texts: Sequence[str]) -> Message | None:
    return Message("user", f"# {title}\n\n{fenced(chr(10).join(texts), 'text')}") if texts else None


def _sources(task: Task, budget_tokens: int) -> list[int]:
    """How many tokens of each parent's source are shown: all, if they fit."""
    sizes: list[int] = []
    left = budget_tokens
    for index, example in enumerate(task.parents):
        share = left // (len(task.parents) - index)
        frame = estimate_prompt_tokens([_parent(task, index, 0, ())])
        size = min(estimate_tokens(shown_source(example).strip()), max(0, share - frame))
        while size > 0 and estimate_prompt_tokens([_parent(task, index, size, ())]) > share:  # fences of vast length
            size //= 2
        left -= estimate_prompt_tokens([_parent(task, index, size, ())])
        sizes.append(size)
    return sizes


def _parent(task: Task, index: int, source_tokens: int, feedback: Sequence[str]) -> Message:
    example = task.parents[index]
    title = "# The parent" if len(task.parents) == 1 else f"# Parent {index + 1}"
    source = fenced(shorten(shown_source(example).strip(), source_tokens), "python")
    report = f"\n## Feedback on it\n\n{fenced(chr(10).join(feedback), 'text')}" if feedback else ""
    return Message("user", f"{title} ({score_words(example)})\n\n{source}{report}")
