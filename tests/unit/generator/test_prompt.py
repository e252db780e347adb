"""The prompt is bounded, its static part never changes, and it names no domain of its own."""

from __future__ import annotations

from dataclasses import replace

import pytest
from benchmarks.prompt_size import example_of, measure, task_at
from hypothesis import given, settings
from hypothesis import strategies as st

from quintain.plugins.backend import Attempt, Operator, Task
from quintain_generator.domain.prices import estimate_prompt_tokens, estimate_tokens
from quintain_generator.prompt.builder import CHAPTER, ask_again, build_prompt

BUDGET = 24_000


def with_parents(task: Task, operator: Operator) -> Task:
    return replace(task, operator=operator, parents=(example_of(1), example_of(2)))


def test_the_static_part_is_byte_identical_through_a_search_whatever_the_operator() -> None:
    systems = {
        build_prompt(with_parents(task_at(attempt), operator), BUDGET)[0].content
        for attempt in (1, 2, 33, 200)
        for operator in Operator
    }
    assert len(systems) == 1


def test_a_closed_chapter_of_the_digest_never_changes_again() -> None:
    def chapters(attempt: int) -> list[str]:
        return [m.content for m in build_prompt(task_at(attempt), BUDGET) if m.content.startswith("# Attempts")]

    for attempt in range(CHAPTER, 4 * CHAPTER):
        assert chapters(attempt) == chapters(attempt + 1)[: len(chapters(attempt))]


def test_the_order_is_most_stable_first_and_the_instruction_last() -> None:
    prompt = build_prompt(task_at(100), BUDGET)
    heads = [m.content.split("\n")[0].split(" (")[0] for m in prompt]
    assert prompt[0].role == "system"
    assert heads[1:] == [
        "# Attempts 0 to 31", "# Attempts 32 to 63", "# Attempts 64 to 95", "# Latest attempts",
        "# Inspiration 1", "# Inspiration 2", "# The parent", "# Now",
    ]  # fmt: skip
    assert [n for n, m in enumerate(prompt) if m.cache_breakpoint] == [0, 3]


def test_the_size_levels_off_while_the_whole_history_grows() -> None:
    ten, fifty, two_hundred = (measure(n, BUDGET) for n in (10, 50, 200))
    assert two_hundred.tokens < ten.tokens * 1.6
    assert fifty.tokens * 10 < fifty.whole_history_tokens
    assert two_hundred.tokens * 40 < two_hundred.whole_history_tokens
    assert min(ten.cacheable_share, fifty.cacheable_share, two_hundred.cacheable_share) > 0.2


@settings(max_examples=60, deadline=None)
@given(
    budget=st.integers(1_000, 40_000),
    attempts=st.integers(0, 300),
    feedback=st.integers(0, 60_000),
    inspirations=st.integers(0, 5),
    summary=st.text(max_size=400),
)
def test_the_budget_is_kept_beyond_what_is_indispensable(
    budget: int, attempts: int, feedback: int, inspirations: int, summary: str
) -> None:
    task = replace(
        task_at(2),
        parents=(replace(example_of(1), feedback="f" * feedback),),
        inspirations=tuple(example_of(n) for n in range(inspirations)),
        history=tuple(Attempt(n, f"c{n}", None, summary) for n in range(attempts)),
    )
    bare = replace(task, parents=(replace(example_of(1), feedback=""),), inspirations=(), history=(), lessons=())
    indispensable = estimate_prompt_tokens(build_prompt(bare, budget))
    latest = CHAPTER * (estimate_tokens("x" * 200)) + 200  # the open chapter and the lessons
    assert estimate_prompt_tokens(build_prompt(task, budget)) <= max(budget, indispensable + budget // 4 + latest)


@pytest.mark.parametrize(
    ("operator", "words"),
    [
        (Operator.FULL, "Write a better policy than the parent"),
        (Operator.DIFF, "answer with SEARCH/REPLACE blocks"),
        (Operator.CROSSOVER, "Combine what is best in the parents"),
        (Operator.REPAIR, "The parent failed. Find the cause"),
    ],
)
def test_each_operator_has_its_instruction(operator: Operator, words: str) -> None:
    assert words in build_prompt(with_parents(task_at(3), operator), BUDGET)[-1].content


def test_the_first_attempt_of_all_needs_no_parent() -> None:
    prompt = build_prompt(replace(task_at(1), parents=(), history=(), lessons=(), best_score=None), BUDGET)
    assert [m.role for m in prompt] == ["system", "user"]
    assert "Write a policy" in prompt[-1].content


def test_long_feedback_keeps_its_beginning_and_its_end() -> None:
    feedback = "BEGIN" + "x" * 200_000 + "Traceback: line 7"
    task = replace(task_at(2), parents=(replace(example_of(1), feedback=feedback),))
    parent = build_prompt(task, BUDGET)[-2].content
    assert "BEGIN" in parent
    assert "Traceback: line 7" in parent
    assert "characters left out" in parent


def test_no_text_of_ours_names_a_domain() -> None:
    words = " ".join(m.content for m in build_prompt(with_parents(task_at(2), Operator.CROSSOVER), BUDGET)).lower()
    ours = words.replace("containers/s", "")  # the example's feedback
    for domain_word in ("pipeline", "container", "cluster", "cache", "schedul", "memory", "cpu", "pool"):
        assert domain_word not in ours


def test_asking_again_keeps_the_prompt_as_a_prefix() -> None:
    prompt = build_prompt(task_at(2), BUDGET)
    longer = ask_again(prompt, "my answer", "block 1: not there")
    assert longer[: len(prompt)] == prompt
    assert longer[-2].content == "my answer"
    assert "block 1: not there" in longer[-1].content
