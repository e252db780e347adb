"""Builds the prompt of a request. A pure function of the task, so what was sent can be shown again.

Layout, most stable first, so that a provider can cache as much as possible:

1. system: contract, policy interface, objective and answer formats. Byte-identical through a search. Breakpoint.
2. the run's digest in closed chapters of `CHAPTER` attempts each, which never change again. Breakpoint after the last.
3. the attempts since then, and the lessons.
4. inspirations.
5. the parents with their full feedback.
6. what to do this time.

The budget is in estimated tokens (see `domain.prices.estimate_tokens`). Parts 1, 5 and 6 are always sent; what does not
fit is left out oldest chapter first, then inspirations from the last, then the tail of long feedback. No text here
names a domain: the simulator's description brings it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from quintain.plugins.backend import Attempt, Example, Message, Operator, Task
from quintain.plugins.simulator import Direction
from quintain_generator.domain.prices import estimate_prompt_tokens, estimate_tokens

CHAPTER = 32
MAX_SUMMARY_CHARACTERS = 160
_HISTORY_SHARE = 0.25  # of the budget
_FEEDBACK_SHARE = 0.25
_MAX_LESSONS = 12

_INTRODUCTION = """\
You design a policy for a simulated system. A policy is one Python module. It is run in a sandbox by a deterministic
simulator on several scenarios and scored; you see the scores and what went wrong, and write the next policy.

Rules:
- The policy is Python 3.11 with the standard library only. No files, network, processes, threads or clock.
- It must be deterministic: the same inputs give the same decisions. No unseeded randomness.
- An exception or a broken rule fails the scenario, which then counts as the worst score. Be robust before being clever.
- It must generalise: scenarios you never see decide which policy wins, so do not tune to single scenarios.
"""

_ANSWER_FORMATS = """\
# How to answer

First a short rationale (at most ten sentences): what you change and why it should help. Then the code.

When asked for a whole policy: exactly one fenced block with the complete module.

```python
# the complete policy
```

When asked for a change: one or more blocks of this form, no other code. SEARCH must be copied exactly from the parent
and occur in it only once; blocks are applied in order.

<<<<<<< SEARCH
lines of the parent
=======
lines that replace them
>>>>>>> REPLACE
"""


def build_prompt(task: Task, budget_tokens: int) -> tuple[Message, ...]:
    """The messages of `task`, at most `budget_tokens` if the indispensable parts allow it."""
    system = Message("system", _static_part(task), cache_breakpoint=True)
    parents = [Message("user", _parent(task, index, budget_tokens)) for index in range(len(task.parents))]
    last = Message("user", _instruction(task))
    left = budget_tokens - estimate_prompt_tokens([system, *parents, last])
    history = _digest(task, min(left, int(budget_tokens * _HISTORY_SHARE)))
    left -= estimate_prompt_tokens(history)
    inspirations = []
    for number, example in enumerate(task.inspirations, start=1):
        message = Message("user", _inspiration(number, example))
        left -= estimate_prompt_tokens([message])
        if left < 0:
            break
        inspirations.append(message)
    return (system, *history, *inspirations, *parents, last)


def ask_again(prompt: tuple[Message, ...], answer: str, problem: str) -> tuple[Message, ...]:
    """The prompt with the answer that did not apply and the reason."""
    demand = (
        f"Your change could not be applied: {problem}.\n"
        "Answer again with SEARCH/REPLACE blocks copied exactly from the parent, or with the complete policy in one "
        "fenced block."
    )
    return (*prompt, Message("assistant", answer), Message("user", demand))


def _static_part(task: Task) -> str:
    simulator, objective = task.simulator, task.objective
    better = "higher" if objective.direction is Direction.MAXIMIZE else "lower"
    parts = [
        _INTRODUCTION,
        f"# The system: {simulator.title}\n\n{simulator.policy_guide.strip()}\n",
        "# What the policy must define\n\n"
        + "".join(f"- {d.kind} `{d.name}`: {d.description}\n" for d in simulator.required_definitions),
        f"# The objective: {objective.name}\n\n{objective.description.strip()}\n\n"
        f"Metric `{objective.metric}` in {objective.unit}; {better} is better.\n",
    ]
    if task.suite_description:
        parts.append(f"# The scenarios\n\n{task.suite_description.strip()}\n")
    parts.append(_ANSWER_FORMATS)
    return "\n".join(parts)


def _digest(task: Task, budget_tokens: int) -> list[Message]:
    """Closed chapters (cacheable), then the open one with the lessons; oldest chapters are left out first."""
    chapters: dict[int, list[str]] = {}
    for attempt in task.history:
        chapters.setdefault(attempt.number // CHAPTER, []).append(_attempt_line(attempt))
    open_number = max(chapters, default=0)
    tail = "".join(chapters.pop(open_number, []))
    lessons = "".join(f"- {lesson}\n" for lesson in task.lessons[-_MAX_LESSONS:])
    recent = (f"# Latest attempts\n\n{tail}" if tail else "") + (f"\n# Lessons\n\n{lessons}" if lessons else "")
    left = budget_tokens - estimate_tokens(recent)
    kept: list[Message] = []
    for number in sorted(chapters, reverse=True):
        first, last = number * CHAPTER, number * CHAPTER + CHAPTER - 1
        message = Message("user", f"# Attempts {first} to {last}\n\n{''.join(chapters[number])}")
        left -= estimate_prompt_tokens([message])
        if left < 0:
            break
        kept.insert(0, message)
    if kept:
        kept[-1] = Message("user", kept[-1].content, cache_breakpoint=True)
    return [*kept, Message("user", recent)] if recent else kept


def _attempt_line(attempt: Attempt) -> str:
    score = "failed" if attempt.score is None else f"{attempt.score:.6g}"
    summary = " ".join(attempt.summary.split())[:MAX_SUMMARY_CHARACTERS]
    return f"{attempt.number}. {score}: {summary}\n"


def _parent(task: Task, index: int, budget_tokens: int) -> str:
    example = task.parents[index]
    title = "# The parent" if len(task.parents) == 1 else f"# Parent {index + 1}"
    feedback = _shorten(example.feedback.strip(), int(budget_tokens * _FEEDBACK_SHARE / len(task.parents)))
    return (
        f"{title} ({_standing(example)})\n\n```python\n{example.source.strip()}\n```\n"
        + (f"\n## Feedback on it\n\n{feedback}\n" if feedback else "")
        + _values(example.scenario_values)
    )


def _inspiration(number: int, example: Example) -> str:
    feedback = f"\n{example.feedback.strip()}\n" if example.feedback.strip() else ""
    return f"# Inspiration {number} ({_standing(example)})\n\n```python\n{example.source.strip()}\n```\n{feedback}"


def _standing(example: Example) -> str:
    if example.score is None:
        return "it failed"
    share = "" if example.normalized is None else f", {example.normalized:.0%} of the way to the bound"
    return f"score {example.score:.6g}{share}"


def _values(values: Mapping[str, float]) -> str:
    lines = "".join(f"- {name}: {value:.4f}\n" for name, value in sorted(values.items()))
    return f"\n## By scenario (0 the worst, 1 the bound)\n\n{lines}" if lines else ""


def _shorten(text: str, budget_tokens: int) -> str:
    """Keep the beginning and the end: the summary stands first, the traceback's last line says what happened."""
    excess = estimate_tokens(text) - budget_tokens
    if excess <= 0:
        return text
    keep = max(0, len(text) * budget_tokens // estimate_tokens(text))
    return f"{text[: keep * 2 // 3]}\n[... {len(text) - keep} characters left out ...]\n{text[len(text) - keep // 3 :]}"


def _instruction(task: Task) -> str:
    orientation = []
    if task.best_score is not None:
        orientation.append(f"The best score so far is {task.best_score:.6g}.")
    if task.bound_score is not None:
        orientation.append(f"No policy can be better than {task.bound_score:.6g}.")
    return f"# Now\n\n{' '.join(orientation)}\n\n{_demand(task.operator, task.parents)}\n".replace("\n\n\n\n", "\n\n")


def _demand(operator: Operator, parents: Sequence[Example]) -> str:
    if operator is Operator.DIFF:
        return "Improve the parent by a change: answer with SEARCH/REPLACE blocks."
    if operator is Operator.CROSSOVER:
        return "Combine what is best in the parents into one policy that beats both: answer with the whole policy."
    if operator is Operator.REPAIR:
        return (
            "The parent failed. Find the cause in its feedback and mend it without losing what was good: answer with "
            "the whole policy."
        )
    if not parents:
        return "Write a policy: answer with the whole policy."
    return "Write a better policy than the parent: answer with the whole policy."
