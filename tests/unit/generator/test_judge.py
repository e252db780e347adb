"""What an answer is worth: changes are applied to the parent, and what cannot be applied is said to be so."""

from __future__ import annotations

from dataclasses import replace

import pytest
from benchmarks.prompt_size import task_at

from quintain.plugins.backend import BackendReply, CallOutcome, Example, Operator
from quintain_generator.domain.generation import GenerationOutcome
from quintain_generator.domain.judge import Judgement, judge

PARENT = "def decide(state):\n    return sorted(state)\n"
CHANGE = "<<<<<<< SEARCH\n    return sorted(state)\n=======\n    return list(state)\n>>>>>>> REPLACE\n"
DRAFT = CHANGE.replace("list", "tuple")
CHANGED = PARENT.replace("sorted", "list")


def judged(text: str, operator: Operator = Operator.DIFF) -> Judgement:
    task = replace(task_at(2), operator=operator, parents=(Example("c1", PARENT),))
    return judge(task, BackendReply(CallOutcome.OK, text=text), 10_000)


@pytest.mark.parametrize(
    "text",
    [
        f"Faster.\n\n{CHANGE}",
        f"Faster.\n\n```python\n{CHANGE}```\n",
        f"<think>\n{DRAFT}</think>\nFaster.\n\n{CHANGE}",
        f"Let me see.\n{DRAFT}</think>\nFaster.\n\n{CHANGE}".replace("\n", "\r\n"),
    ],
)
def test_a_change_is_applied_once_and_drafts_of_it_are_not(text: str) -> None:
    judgement = judged(text)
    assert (judgement.outcome, judgement.source, judgement.rationale) == (GenerationOutcome.OK, CHANGED, "Faster.")


def test_a_change_of_a_policy_of_the_offline_backend_is_nobodys_genes() -> None:
    made = Example("c1", f'# genes: {{"order": "arrival"}}\n{PARENT}', 0.5)
    task = replace(task_at(2), operator=Operator.DIFF, parents=(made,))
    for text in (CHANGE, f"```python\n{made.source.replace('sorted', 'list')}```"):
        assert judge(task, BackendReply(CallOutcome.OK, text=text), 10_000).source.strip() == CHANGED.strip()


def test_a_whole_policy_will_do_where_a_change_was_asked_for() -> None:
    assert judged(f"```python\n{CHANGED}```").source == CHANGED


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("```diff\n-    return sorted(state)\n+    return list(state)\n```", "neither a SEARCH/REPLACE block"),
        ("```python\n    return list(state)\n```", "neither a SEARCH/REPLACE block"),
        (CHANGE.replace("sorted", "nowhere"), "block 1: the SEARCH part is not in the source"),
        (CHANGE + DRAFT, "block 2: the SEARCH part is not in the source"),
        (CHANGE.split(">>>>", maxsplit=1)[0], "block 1: it has no end"),
        ("@@ -2 +2 @@\n-    return sorted(state)\n+    return list(state)\n", "neither a SEARCH/REPLACE block"),
        ("*** Begin Patch\n*** Update File: policy.py\n*** End Patch", "neither a SEARCH/REPLACE block"),
        (CHANGE.replace("SEARCH", "HEAD").replace("REPLACE", "mine"), "neither a SEARCH/REPLACE block"),
        (f"<<<<<<< SEARCH\n{PARENT}=======\n>>>>>>> REPLACE\n", "leaves nothing of the parent"),
        (f"<<<<<<< SEARCH\nnowhere\n=======\n{CHANGED}>>>>>>> REPLACE\n", "not in the source"),
        (f"```\n<<<<<<< SEARCH\nnowhere\n=======\n{CHANGED}>>>>>>> REPLACE\n", "not in the source"),
    ],
)
def test_what_is_no_change_of_the_parent_is_to_be_asked_again_with_the_reason(text: str, reason: str) -> None:
    judgement = judged(text)
    assert judgement.outcome is GenerationOutcome.DIFF_FAILED
    assert reason in judgement.detail


def test_a_whole_policy_beside_blocks_that_do_not_apply_will_do() -> None:
    quoted = "You asked for\n<<<<<<< SEARCH\n...\n=======\n...\n>>>>>>> REPLACE\nbut this is simpler:\n"
    assert judged(f"{quoted}```python\n{CHANGED}```\n").source == CHANGED


def test_changes_in_lower_case_apply() -> None:
    assert judged(CHANGE.replace("SEARCH", "search").replace("REPLACE", "replace")).source == CHANGED


def test_a_draft_of_a_change_in_the_thinking_is_not_applied_where_the_answer_is_a_policy() -> None:
    assert judged(f"<think>\n{DRAFT}</think>\n```python\n{CHANGED}```\n").source == CHANGED


@pytest.mark.parametrize("operator", [Operator.FULL, Operator.REPAIR])
def test_the_parent_quoted_after_the_new_policy_is_not_taken_for_the_answer(operator: Operator) -> None:
    text = f"```python\n{CHANGED}```\nFor comparison, the parent was:\n```python\n{PARENT}```\n"
    assert judged(text, operator).source == CHANGED


@pytest.mark.parametrize("around", ["{}", "```\n{}```", "```diff\n@@ -1 +1 @@\n-a\n+b\n```"])
def test_a_change_where_the_whole_policy_was_asked_for_is_said_to_be_one(around: str) -> None:
    whole = f"<<<<<<< SEARCH\n{PARENT}=======\n{CHANGED}>>>>>>> REPLACE\n"
    assert "whole policy" in judged(around.format(whole), Operator.FULL).detail


def test_a_refusal_in_words_is_not_asked_again() -> None:
    assert judged("I would rather not.").outcome is GenerationOutcome.NO_CODE


def test_blocks_are_no_answer_where_the_whole_policy_was_asked_for() -> None:
    assert judged(CHANGE, Operator.FULL).outcome in (GenerationOutcome.NO_CODE, GenerationOutcome.INVALID_CODE)


def test_looking_for_duplicates_does_not_parse_without_end() -> None:
    """A source of many megabytes would take minutes."""
    vast = Example("c2", "x = 1\n" * 2_000_000)
    task = replace(task_at(2), parents=(Example("c1", PARENT),), inspirations=(vast, Example("c3", CHANGED)))
    reply = BackendReply(CallOutcome.OK, text=f"```python\n{PARENT}```")
    assert judge(task, reply, 10_000).detail == "the same program as candidate c1"
    other = BackendReply(CallOutcome.OK, text="```python\ndef decide(state):\n    return 1\n```")
    assert judge(task, other, 10_000).outcome is GenerationOutcome.OK
    last = BackendReply(CallOutcome.OK, text=f"```python\n{CHANGED}```")
    assert judge(task, last, 10_000).detail == "the same program as candidate c3"
