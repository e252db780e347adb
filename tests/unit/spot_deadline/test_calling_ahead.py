"""A policy that is called ahead decides as one that is called tick by tick, and knows nothing of what is to come."""

from __future__ import annotations

import ast
import random

import pytest
from tests.unit.spot_deadline.conftest import run

from quintain.plugins.inprocess import InProcessPolicy
from quintain.plugins.simulator import FailureKind, JsonValue
from quintain_spot_deadline import guest
from quintain_spot_deadline.conversation import AHEAD, EACH_TICK, Conversation
from quintain_spot_deadline.engine import Run, Window, run_window
from quintain_spot_deadline.job import job

WAVERING = """
def decide(job, now):
    seen = now.memory.setdefault("seen", [])
    seen.append(now.spot)
    now.memory["calls"] = now.memory.get("calls", 0) + 1
    assert now.memory["calls"] == now.tick + 1 == len(seen) == len(now.history)
    assert [state == "1" for state in now.history] == seen
    assert len(now.machines) == now.tick
    return ("spot", "none", "on_demand")[(sum(seen) * 7 + now.tick + now.work_left // 600) % 3]
"""
COUNTS_IN_A_GLOBAL = "CALLS = []\ndef decide(job, now):\n    CALLS.append(now.tick)\n    return 'on_demand'\n"
FAILS_LATER = """
def decide(job, now):
    if now.tick == 5 and not now.spot:
        raise ValueError("no spot in tick 5")
    return "spot"
"""


def availability(seed: int, ticks: int = 440) -> str:
    chance = random.Random(seed)
    return "".join(chance.choice("01") * chance.randint(1, 20) for _ in range(ticks))[:ticks]


def drive(source: str, available: str, mode: str) -> tuple[Run, Conversation]:
    wanted, done = job(overhead=180, deadline=252_000), Run()
    policy = InProcessPolicy(guest.load, source, {"job": list(wanted), "calling_mode": mode})
    conversation = Conversation(policy, mode)
    run_window(Window(wanted, available), conversation.decide, done)
    return done, conversation


@pytest.mark.parametrize("seed", range(10))
def test_memory_and_history_are_set_back_where_the_ticks_come_otherwise(seed: int) -> None:
    literal, _ = drive(WAVERING, availability(seed), EACH_TICK)
    ahead, conversation = drive(WAVERING, availability(seed), AHEAD)
    assert conversation.calling_mode == AHEAD
    assert ahead == literal
    assert len(set(literal.decided)) == 3


def test_the_future_changes_no_decision_before_it() -> None:
    """The same beginning, and every possible next tick: what was decided until then is the same."""
    first = availability(3)[:100]
    decided = [drive(WAVERING, first + rest * 340, AHEAD)[0].decided[:100] for rest in "01"]
    assert decided[0] == decided[1]


def test_an_exception_about_a_tick_that_does_not_come_is_none() -> None:
    assert drive(FAILS_LATER, "0" * 3 + "1" * 437, AHEAD)[0].finish_tick is not None
    outcome = run(FAILS_LATER.replace("== 5", "> 5"), mode=AHEAD)
    assert outcome.failure is not None
    assert outcome.failure.kind is FailureKind.RAISED
    assert "no spot in tick 5" in outcome.failure.message


def test_memory_that_cannot_be_copied_is_kept_and_the_policy_called_tick_by_tick() -> None:
    source = """
def decide(job, now):
    now.memory.setdefault("later", (n for n in range(1000)))
    assert next(now.memory["later"]) == now.tick
    return "on_demand"
"""
    assert drive(source, availability(1), AHEAD)[0].finish_tick == 289


@pytest.mark.parametrize(
    "source",
    [
        COUNTS_IN_A_GLOBAL,
        "def decide(job, now, seen=[]):\n    return 'none'\n",
        "def decide(job, now):\n    global x\n    x = 1\n    return 'none'\n",
        "def decide(job, now):\n    decide.x = 1\n    return 'none'\n",
        "class Policy:\n    calls = 0\ndef decide(job, now):\n    return 'none'\n",
        "import random\ndef decide(job, now):\n    return random.choice(['none', 'spot'])\n",
        "from functools import cache\n@cache\ndef f(x):\n    return x\ndef decide(job, now):\n    return 'none'\n",
        "def decide(job, now):\n    setattr(decide, 'x', 1)\n    return 'none'\n",
        "def decide(job, now):\n    decide.__dict__['x'] = 1\n    return 'none'\n",
        "def make():\n    n = 0\n    def decide(job, now):\n        nonlocal n\n        n += 1\n        return 'none'\n"
        "    return decide\ndecide = make()\n",
        "for x in range(3):\n    pass\ndef decide(job, now):\n    return 'none'\n",
    ],
)
def test_what_might_remember_something_itself_is_called_tick_by_tick(source: str) -> None:
    assert not guest.remembers_nothing_itself(ast.parse(source))
    assert run(source).calling_mode == EACH_TICK
    forced = run(source, mode=AHEAD)
    assert forced.failure is not None
    assert forced.failure.kind is FailureKind.LOAD


def test_constants_functions_and_pure_modules_may_be_called_ahead() -> None:
    source = (
        '"""Says so."""\nfrom __future__ import annotations\nimport math\nfrom bisect import bisect\n'
        "LIMITS: tuple[int, ...] = (1, 2)\nA = -2 * 3\n"
        "def helper(x: int, y: float = 1.5) -> float:\n    return math.log(x) + y\n"
        "def decide(job, now):\n    now.memory['x'] = helper(2)\n    return 'on_demand'\n"
    )
    assert guest.remembers_nothing_itself(ast.parse(source))
    assert run(source).calling_mode == AHEAD


class Scripted:
    """A guest that says what it was given."""

    def __init__(self, mode: str, answers: list[JsonValue]) -> None:
        self.info: JsonValue = {"calling_mode": mode}
        self.answers = answers
        self.heard: list[JsonValue] = []

    def ask(self, message: JsonValue, on_query: object = None) -> JsonValue:
        self.heard.append(message)
        return self.answers.pop(0)


def test_answers_ahead_are_taken_while_availability_stays_and_thrown_away_when_it_changes() -> None:
    guest_said = Scripted(AHEAD, [["spot", "none", "on_demand"], ["none"], ["on_demand", "spot"]])
    talk = Conversation(guest_said, "")
    assert [talk.decide(0, True), talk.decide(1, True), talk.decide(2, False)] == ["spot", "none", "none"]
    assert [talk.decide(3, False), talk.decide(4, False)] == ["on_demand", "spot"]
    assert guest_said.heard == [[0, True], [2, False], [3, False]]


@pytest.mark.parametrize("answer", [None, "spot", [], {}, ["spot"] * 65, ["spot", 7], [["spot"]], [None]])
def test_garbage_is_a_failure_of_the_policy(answer: JsonValue) -> None:
    talk = Conversation(Scripted(AHEAD, [answer]), "")
    with pytest.raises(Exception, match=r"protocol|rejected"):
        talk.decide(0, True)


def test_no_more_than_one_answer_is_taken_where_one_was_asked_for() -> None:
    talk = Conversation(Scripted(EACH_TICK, [["spot", "spot"]]), EACH_TICK)
    with pytest.raises(Exception, match="2 decisions where one was asked for"):
        talk.decide(0, True)
