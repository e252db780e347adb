"""The extractor finds the policy in whatever a model says, and never raises."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fault_server.answers import FENCES, fenced
from tests.fault_server.table import NO_POLICY

from quintain.plugins.simulator import RequiredDefinition
from quintain_generator.domain.diff import DiffError, find_blocks
from quintain_generator.domain.extract import extract
from quintain_generator.domain.gate import check, defines_policy

POLICY = '"""Sorts."""\n\n\ndef decide(state):\n    return sorted(state)\n'
REQUIRED = (RequiredDefinition("function", "decide", "decides"),)


def is_policy(source: str) -> bool:
    return defines_policy(source, REQUIRED, 100_000)


@pytest.mark.parametrize("kind", sorted(set(FENCES) - NO_POLICY))
def test_a_policy_is_found_behind_every_kind_of_fence(kind: str) -> None:
    assert extract(fenced(POLICY, kind), is_policy).source == POLICY


def test_of_several_policies_the_last_one_counts() -> None:
    second = POLICY.replace("sorted", "list")
    text = f"```python\n{POLICY}```\nWait, better:\n```python\n{second}```\n"
    assert extract(text, is_policy).source == second


def test_a_fence_inside_the_policys_docstring_does_not_cut_it() -> None:
    policy = '"""Example:\n```\ndecide([])\n```\n"""\ndef decide(state):\n    return state\n'
    assert extract(f"Here:\n```python\n{policy}```\nDone.", is_policy).source == policy


@pytest.mark.parametrize("mark", ["```", "````", "~~~"])
@pytest.mark.parametrize("end", ["{mark}\n", "{mark}\nDone.\n", ""])
@pytest.mark.parametrize(
    "text",
    [
        '"""Like\n```python\nx = decide([])\n```\n"""\n',
        '"""Like\n```python\ndef decide(state):\n    return 0\n```\n"""\n',
        'TEXT = """\n```\n"""\n',
        "# ```python\n# decide([])\n# ```\n",
    ],
)
def test_a_fence_in_a_text_of_the_policy_neither_cuts_it_nor_brings_back_a_draft(
    text: str, mark: str, end: str
) -> None:
    policy = text + POLICY
    draft = "A draft:\n```python\ndef decide(state):\n    return 1\n```\n"
    answer = f"{draft}The policy:\n{mark}python\n{policy}{end.format(mark=mark)}"
    assert extract(answer, is_policy).source == policy


@pytest.mark.parametrize(
    "later",
    [
        "print(decide([2, 1]))\n",
        "from policy import decide\n\nprint(decide([2, 1]))\n",
        "import policy\n\n\ndef test_it():\n    decide = policy.decide\n    assert decide([])\n",
        "class Test:\n    def decide(self):\n        assert True\n",
        "def decide(state):\n    ...\n",
        'def decide(state):\n    """Sorts."""\n    pass\n',
    ],
)
def test_an_example_a_test_or_a_sketch_after_the_policy_is_not_taken_for_it(later: str) -> None:
    assert extract(f"```python\n{POLICY}```\nThe rest:\n```python\n{later}```\n", is_policy).source == POLICY


def test_an_excerpt_after_the_policy_is_not_taken_for_it() -> None:
    helper = "def key(x):\n    return -x\n\n\n"
    part = "def decide(state):\n    return sorted(state, key=key)\n"
    text = f"```python\n{helper}{part}```\nThe heart of it:\n```python\n{part}```\n"
    assert extract(text, is_policy).source == helper + part
    corrected = part.replace("key=key", "key=abs")
    assert extract(f"{text}Better:\n```python\n{corrected}```\n", is_policy).source == corrected


CUTS = [
    "def helper(x):\n    return (x +",
    "def helper(x):\n",
    "def helper(x):\n    y = 1\n    return (y,",
    'TEXT = """abc',
    "@cached\n",
    "for x in y:\n    if x:\n",
    "LIMITS = {'a': 1,\n",
    "if x and",
]


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("before", ["", "Here:\n\n", "Here:\n```python\n", "```python\n" + POLICY + "```\nNo:\n```\n"])
def test_an_answer_that_was_cut_off_is_no_policy_though_its_beginning_would_be_one(before: str, cut: str) -> None:
    found = extract(f"{before}{POLICY}\n\n{cut}", is_policy)
    assert not found.is_policy
    assert "syntax error" in check(found.source, REQUIRED, 100_000).problem


@pytest.mark.parametrize(
    "first", ["SCALE = 3", "if True:\n    SCALE = 3", "try:\n    x = 1\nfinally:\n    y = 2", "print(3)"]
)
@pytest.mark.parametrize("before", ["", "Here it is.\n\n", "Python:\n"])
def test_code_without_a_fence_keeps_its_first_lines(before: str, first: str) -> None:
    assert extract(f"{before}{first}\n\n\n{POLICY}", is_policy).source == f"{first}\n\n\n{POLICY}"


@pytest.mark.parametrize(
    "words",
    [
        "That is it. It's good.", "Done!", "- It sorts.", "* It sorts.", "1. It doesn't wait.", "**Why:** it's fast.",
        "For example, it's fast for small x.", "If you'd like more, say so.", "if you'd like more, say so.", "---",
        "`decide` isn't slow.", "</code>\nIt's fast.", "(It's fast.)", "> It's quoted.", "Это всё.", "Note: it's fast.",
    ],
)  # fmt: skip
@pytest.mark.parametrize("before", ["", "```python\n"])
def test_words_after_code_without_an_end_are_left_out(before: str, words: str) -> None:
    assert extract(f"{before}{POLICY}\n{words}\n\nMore of them.\n", is_policy).source == POLICY


DRAFT = "```python\ndef decide(state):\n    return 0\n```\n"


@pytest.mark.parametrize(
    ("tag", "closing"),
    [("<think>", "</think>"), ('<think budget="9">', "</think>"), ("<|thinking|>", "<|/thinking|>"),
     ("<analysis>", "</analysis>"), ("[THINK]", "[/THINK]")],
)  # fmt: skip
@pytest.mark.parametrize("answer", ["```python\ndef decide(state:\n```\n", "I can't help with that.\n"])
def test_a_draft_in_the_thinking_does_not_stand_in_for_the_answer(tag: str, closing: str, answer: str) -> None:
    assert not extract(f"{tag}\nMaybe:\n{DRAFT}{closing}\n{answer}", is_policy).is_policy


@pytest.mark.parametrize("line", ["TAG = '<think>'\n", "TAG = '</think>'\n", "TAG = 'a<think>b</think>c'\n"])
def test_a_tag_within_the_policy_stays_in_it(line: str) -> None:
    assert extract(f"Here:\n```python\n{line}{POLICY}```\n", is_policy).source == line + POLICY


@pytest.mark.parametrize("prefix", ["> > ", "\u00a0", "\u200b", "- > "])
def test_a_fence_is_seen_behind_quotation_marks_and_what_cannot_be_seen(prefix: str) -> None:
    lines = f"```python\n{POLICY}```".split("\n")
    text = "\n".join(prefix.replace("-", " ") + line if ">" in prefix or "`" in line else line for line in lines)
    assert extract(f"Here:\n\n{text}\n", is_policy).source == POLICY


def test_thinking_without_its_opening_tag_is_left_out() -> None:
    text = f"```python\ndef decide(state): return 0\n```\n</think>\nSo:\n```python\n{POLICY}```\n"
    assert extract(text, is_policy).source == POLICY


def test_thinking_that_never_ends_is_searched_as_a_last_resort() -> None:
    assert extract(f"<think>\nIt is:\n```python\n{POLICY}```\n", is_policy).source == POLICY


@pytest.mark.parametrize(
    "around", ["```python\n{code}```\n", "```python\n{code}", "{code}", "Here:\n\n{code}\nThat is it."]
)
def test_a_policy_is_taken_whole_or_not_at_all(around: str) -> None:
    """A line that is not Python (or of a Python to come) is not left out to make the rest parse."""
    code = f"import math\n\nnew syntax {{x}} = 1\n\n\n{POLICY}"
    found = extract(around.format(code=code), is_policy)
    assert not found.is_policy
    assert "syntax error in line 3" in check(found.source, REQUIRED, 100_000).problem


def test_the_rationale_is_the_prose_before_the_code() -> None:
    assert extract(fenced(POLICY, "python"), is_policy).rationale == "A rationale."


def test_without_a_policy_the_largest_block_is_left_for_the_gate_to_explain() -> None:
    text = "```python\nx\n```\n```python\ndef other(state):\n    return 1\n```\n"
    assert extract(text, is_policy).source == "def other(state):\n    return 1\n"


@pytest.mark.parametrize("text", ["", "   \n", "I would rather not.", "\x00", "```", "~~~~\n", "<think>"])
def test_an_answer_without_code_gives_no_source(text: str) -> None:
    assert extract(text, is_policy).source.strip() in ("", "\x00")


@pytest.mark.parametrize(
    ("before", "piece", "after"),
    [
        *(("", piece, "") for piece in (
            "<think>", "</think>", "```\n", "```python\n", "a ```python\n", "def decide(s):\n", "import x\n1 x\n",
            "#\n1 x\n", "\n", ">", "<", "\ufeff", '"""\n', "<<<<<<< SEARCH\n", "<<<<<<< SEARCH\n=======\n",
            "<|im_end|>", "<|x", "<|start|>assistant", "<|channel|>final<|message|>", "<|channel|>", "</s>", " <s>",
            "```python\npython\n",
        )),
        ("```", " ", "`"), ("~~~", "~", "`"), ("```", "`", "~"), ("```python\n", "x\n", "```"),
    ],
)  # fmt: skip
def test_reading_an_answer_takes_time_in_proportion_to_its_length(before: str, piece: str, after: str) -> None:
    """Where it does not, this takes minutes to hours: no answer of a model may stop the service."""
    answer = before + piece * (1_000_000 // len(piece)) + after
    extract(answer, is_policy)
    with suppress(DiffError):
        find_blocks(answer)


_pieces = st.sampled_from(
    ["```", "```python", "~~~", "````", "\n", "\r\n", "\r", "<think>", "</think>", "<THINKING>", " ", "\t", POLICY,
     "def decide(state):", "    return 1", "'''", '"""', "\x00", "\ufeff", "\ud800", "@x", "(((((", "\\", "#",
     "<|im_end|>", "<|channel|>final<|message|>", "</s>", "python\n"]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(_pieces, st.text(max_size=20)), max_size=40).map("".join))
def test_it_never_raises_and_gives_text_that_can_be_stored(text: str) -> None:
    found = extract(text, is_policy)
    found.source.encode()
    found.rationale.encode()


@settings(max_examples=100, deadline=None)
@given(
    before=st.text(alphabet=st.characters(blacklist_characters="`~<>@#", blacklist_categories=["Cs"]), max_size=200),
    after=st.text(alphabet=st.characters(blacklist_characters="`~<>", blacklist_categories=["Cs"]), max_size=200),
    fence=st.sampled_from(["```", "````", "~~~"]),
    newline=st.sampled_from(["\n", "\r\n"]),
)
def test_prose_around_a_fenced_policy_does_not_matter(before: str, after: str, fence: str, newline: str) -> None:
    text = f"{before}\n{fence}python\n{POLICY}{fence}\n{after}".replace("\n", newline)
    assert extract(text, is_policy).source == POLICY


@pytest.mark.parametrize("text", ["x = '<|im_end|>'\n", "python = 1\npython\n", 'x = """\n</s>\n"""\n'])
def test_tokens_and_names_within_the_code_stay(text: str) -> None:
    assert extract(f"```python\n{text}{POLICY}```<|im_end|>", is_policy).source == text + POLICY
