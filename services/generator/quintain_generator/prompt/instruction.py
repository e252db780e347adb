"""What is asked this time, in words that differ between requests that are in flight together."""

from __future__ import annotations

from quintain.plugins.backend import Operator, Task
from quintain_generator.prompt.fences import plain_name

_APPROACHES = (
    "Make the change that you expect to gain most.",
    "Question the main idea: where would another mechanism do better?",
    "Look for what it wastes, or does too late.",
    "Look for a case that it treats badly, or does not treat at all.",
    "Look for a constant that suits some scenarios only, and let it follow from what the policy observes.",
)
_TRY_FIRST = """\
Submit a policy {what}. Try before you submit: you have tools that run a policy on scenarios of your choice and show
what happened there. Your answers and the runs are limited, so let each run decide something: state a hypothesis, run
what would refute it on the scenarios where it matters, keep what held. Then call `submit` with the complete module,
best with one that you ran."""
_SCENARIOS = 4  # that are pointed at in turn; has no factor in common with the number of approaches
# What nobody has reached yet counts for so much of what somebody has. A scenario with less than this share of the most
# to gain is not pointed at.
_UNREACHED, _WORTH_A_WORD = 0.5, 1 / 3


def instruction(task: Task) -> str:
    """A function of the task: its number chooses the words."""
    orientation = [f"This is candidate {task.number}." if task.number else ""]
    if task.best_score is not None and task.best_score != (task.parents[0].score if task.parents else None):
        orientation.append(f"The best score so far is {task.best_score:.6g}.")
    if task.bound_score is not None:
        orientation.append(f"No policy can be better than {task.bound_score:.6g}.")
    orientation = [sentence for sentence in orientation if sentence]
    parts = [" ".join(orientation), _emphasis(task), _demand(task)]
    return "# Now\n\n" + "\n\n".join(part for part in parts if part) + "\n"


def _emphasis(task: Task) -> str:
    if task.operator not in (Operator.FULL, Operator.DIFF, Operator.AGENT) or not task.parents or not task.number:
        return ""
    sentence = _APPROACHES[task.number % len(_APPROACHES)]
    behind = _furthest_behind(task)
    if not behind:
        return sentence
    scenario = behind[task.number % len(behind)]
    return f"{sentence} Begin with what happens in `{scenario}`, without losing elsewhere."


def _furthest_behind(task: Task) -> list[str]:
    """Scenarios on which the first parent has most to gain against the best that is known and the bound."""
    values = {n: v for n, v in task.parents[0].scenario_values.items() if plain_name(n)}
    others = [a.scenario_values for a in task.history]
    others += [e.scenario_values for e in (*task.parents, *task.inspirations)]
    best = {n: max([v, *(o[n] for o in others if n in o)]) for n, v in values.items()}
    worth = {n: best[n] - v + _UNREACHED * max(0.0, 1.0 - best[n]) for n, v in values.items()}
    ranked = sorted((n for n in worth if worth[n] > 0.0), key=lambda n: (-worth[n], n))
    return [n for n in ranked[:_SCENARIOS] if worth[n] >= _WORTH_A_WORD * worth[ranked[0]]]


def _demand(task: Task) -> str:
    match task.operator:
        case Operator.DIFF:
            return "Improve the parent by a change: answer with SEARCH/REPLACE blocks."
        case Operator.CROSSOVER:
            return "Combine what is best in the parents into one policy that beats both: answer with the whole policy."
        case Operator.REPAIR:
            return (
                "The parent failed. Find the cause in its feedback and mend it without losing what was good: answer "
                "with the whole policy."
            )
        case Operator.AGENT:
            return _TRY_FIRST.format(what="better than the parent" if task.parents else "that is good on all scenarios")
    if not task.parents:
        return "Write a policy: answer with the whole policy."
    return "Write a better policy than the parent: answer with the whole policy."
