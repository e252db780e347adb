"""The cheap gate says what is wrong with a policy before anything is verified."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.threads import taking_turns

from quintain.plugins.simulator import RequiredDefinition
from quintain_generator.domain.gate import ast_digest, check

FUNCTION = (RequiredDefinition("function", "decide", "decides"),)
DECORATED = (RequiredDefinition("decorator", "register_scheduler", "the scheduler"),)


def problem(source: str, required: tuple[RequiredDefinition, ...] = FUNCTION) -> str:
    return check(source, required, 10_000).problem


@pytest.mark.parametrize(
    "source",
    [
        "def decide(s): return s",
        "async def decide(s): return s",
        "decide = lambda s: s",
        "from operator import itemgetter as decide",
        "if True:\n    def decide(s): return s",
        "try:\n    import x\nexcept ImportError:\n    decide = sorted",
        "def make():\n    global decide\n    decide = sorted\nmake()",
        "(decide := sorted)",
    ],
)
def test_every_way_to_define_a_function_is_accepted(source: str) -> None:
    assert problem(source) == ""


@pytest.mark.parametrize(
    "source",
    [
        "@register_scheduler\ndef f(): pass",
        "@register_scheduler(key='x')\ndef f(): pass",
        "@eudoxia.register_scheduler(key='x')\ndef f(): pass",
    ],
)
def test_every_way_to_decorate_is_accepted(source: str) -> None:
    assert problem(source, DECORATED) == ""


@pytest.mark.parametrize(
    "source",
    [
        "class Policy:\n    def decide(self, s): return s",
        "def make():\n    def decide(s): return s\n    return decide",
        "def f():\n    decide = sorted",
        "[decide for decide in ()]",
        "f = lambda decide: decide",
        "from policy import decide",
        "import decide",
    ],
)
def test_what_a_simulator_would_not_find_is_no_definition(source: str) -> None:
    assert "does not define a function 'decide'" in problem(source)


def test_a_missing_entry_point_is_named_with_its_purpose() -> None:
    assert problem("def other(): pass") == "the policy does not define a function 'decide' (decides) at its top level"


def test_a_syntax_error_has_its_line() -> None:
    assert problem("x = 1\ndef decide(:\n  pass").startswith("syntax error in line 2")


def test_a_policy_beyond_the_size_limit_is_refused_with_both_sizes() -> None:
    assert problem("#" * 10_001) == "the policy has 10001 bytes; at most 10000 are allowed"


@pytest.mark.parametrize(
    "source", ["\x00", "(" * 5000, "-" * 9000 + "1", "x" + ".y" * 4000, f"x = 0x{'f' * 5000}", "[" * 90 + "]" * 90]
)
def test_what_breaks_parsers_is_a_problem_not_a_crash(source: str) -> None:
    assert problem(source)


def test_the_digest_ignores_comments_layout_and_docstrings_but_no_code() -> None:
    one = '"""A."""\ndef decide(s):\n    """Does."""\n    return s + 1  # one\n'
    same = "# genes: 1 2 3\ndef decide( s ):\n    return (s+1)\n"
    other = "def decide(s):\n    return s + 2\n"
    assert ast_digest(one) == ast_digest(same) != ast_digest(other)


def test_a_function_of_only_a_docstring_still_has_a_digest() -> None:
    assert ast_digest('def decide(s):\n    """Nothing."""\n') == ast_digest("def decide(s):\n    pass\n")


def test_hints_name_the_line_and_do_not_stop_anything() -> None:
    source = "import os\nimport time\ndef decide(s):\n    open('x')\n    return time.time()\n"
    checked = check(source, FUNCTION, 10_000)
    assert checked.problem == ""
    assert checked.hints == (
        "line 1: import of os does not work in the sandbox",
        "line 4: open() does not work in the sandbox",
        "line 5: time.time() makes the policy non-deterministic",
    )


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_the_gate_never_raises(source: str) -> None:
    check(source.encode("utf-8", "replace").decode(), FUNCTION, 10_000)


def test_sources_may_be_checked_in_several_threads_at_once() -> None:
    source = "def decide(x):\n" + "    x = [x, (x + 1) * 2, {x: x}]\n" * 300
    required = [RequiredDefinition("function", "decide", "decide(x)")]
    assert {checked.problem for checked in taking_turns(lambda: check(source, required, 100_000), 40)} == {""}
