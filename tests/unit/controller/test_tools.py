"""What tools are called with, and what they say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from quintain_controller.domain import tools
from quintain_controller.domain.model import VerdictStatus
from quintain_controller.domain.tools import PolicyRun, ScenarioRun, WrongCall


def scenario(**fields: Any) -> ScenarioRun:
    made = {
        "name": "t1", "value": 0.5, "normalized": 0.25, "failure": "", "broken_floors": (), "metrics": {"cost": 2.0},
        "groups": {"big": {"peak": 7.0}, "small": {"peak": 1.0}}, "failures_by_reason": {}, "timeline": (),
        "detail": "",
    }  # fmt: skip
    return ScenarioRun(**(made | fields))


def ran(*scenarios: ScenarioRun) -> PolicyRun:
    return PolicyRun("b", VerdictStatus.OK, "", "what happened", scenarios or (scenario(),), 1.0)


def test_each_tool_is_declared_in_the_plain_form_that_all_providers_take() -> None:
    declared = {tool.name: json.loads(tool.parameters) for tool in tools.declarations()}
    assert set(declared) == {"run", "compare", "observe", "timeline", "floors", "candidates", "source", "note"}
    for schema in declared.values():
        assert schema["type"] == "object"
        assert schema["additionalProperties"] is False
        assert set(schema["required"]) <= set(schema["properties"])
        for field in schema["properties"].values():
            assert field["type"] in ("string", "integer", "number", "array")
            assert set(field) <= {"type", "description", "items"}
    assert declared["run"]["required"] == ["policy"]
    assert set(declared["observe"]["properties"]) == {"scenario", "class", "candidate"}
    assert set(declared["timeline"]["properties"]) == {"scenario", "from", "to", "candidate"}


def test_the_declarations_are_the_same_each_time() -> None:
    assert tools.declarations() == tools.declarations()


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("run", '{"policy": ""}', "policy: String should have at least 1 character"),
        ("run", '{"policy": "x", "scenarios": "t1"}', "scenarios: Input should be a valid"),
        ("source", '{"number": -1}', "number: Input should be greater than or equal to 0"),
        (
            "observe",
            '{"scenario": "t1", "klass": "big"}',
            r"klass: Extra inputs .* \(arguments of observe: scenario, class",
        ),
        ("run", "{", "arguments: Invalid JSON"),
        ("fly", "{}", "there is no tool 'fly'; there are run, compare"),
    ],
)
def test_wrong_arguments_are_named(name: str, text: str, words: str) -> None:
    with pytest.raises(WrongCall, match=words):
        tools.arguments(name, text)


def test_an_observation_is_of_one_class_or_all() -> None:
    assert "Class big:\n- peak: 7" in tools.say_observation(ran(), "big")
    assert "small" not in tools.say_observation(ran(), "big")
    assert "cost: 2" in tools.say_observation(ran(), "")
    with pytest.raises(WrongCall, match="there are big, small"):
        tools.say_observation(ran(), "huge")


def test_an_observation_says_what_took_how_long_by_class_and_cpus() -> None:
    jobs = {
        "id": ["a", "b", "c"], "start_tick": [0, 10, 40], "end_tick": [10, 30, 50], "cpu": [4, 4, 8],
        "priority": ["BIG_WORK", "BIG_WORK", "SMALL"], "ram": [1.5, 7.25, 3.0],
    }  # fmt: skip
    many = {name: values * 10 for name, values in jobs.items()} | {"id": [f"j{n}" for n in range(30)]}
    many["ram"] = [n / 7 for n in range(30)]
    said = tools.say_observation(ran(scenario(detail=json.dumps({"ticks_per_second": 10, "jobs": many}))), "big")
    assert '- jobs: priority "BIG_WORK", cpu 4: 20 times, mean 1.5 s, longest 2 s, ram up to 4' in said
    assert "SMALL" not in said
    assert "took how long" not in tools.say_observation(ran(), "")


def test_a_timeline_is_read_from_the_tables_of_a_document() -> None:
    detail = {
        "ticks_per_second": 10, "name": "x", "odd": {"time": [1], "a": [1, 2]}, "plain": {"a": [1]},
        "samples": {"tick": [0, 10, 20], "free": [1.0, 0.5, 0.0]}, "jobs": {"start_tick": [15], "class": ["big"]},
        "events": {"time_seconds": [0.5, 1.25], "what": ["job(id=1)", "started(job=1)"]},
    }  # fmt: skip
    one = scenario(detail=json.dumps(detail), timeline=((0.5, "early"), (1.5, "late")))
    said = tools.say_timeline(ran(one), 1.0, 2.0)
    assert "1.5 s: late" in said
    assert "early" not in said
    assert "samples:\n1 s: free 0.5\n2 s: free 0" in said
    assert 'jobs:\n1.5 s: class "big"' in said
    assert "events:\n1.25 s: started(job=1)" in said
    assert "odd" not in said
    assert "Nothing is recorded from 5 s to 6 s." in tools.say_timeline(ran(scenario()), 5.0, 6.0)
    assert "Nothing" in tools.say_timeline(ran(scenario(detail="[not json")), 0.0, 1.0)


def test_long_tables_are_thinned_and_long_answers_cut_in_the_middle() -> None:
    detail = json.dumps({"samples": {"time": list(range(1000)), "n": list(range(1000))}})
    said = tools.say_timeline(ran(scenario(detail=detail)), 0.0, 1e9)
    assert said.count("\n") < 70
    assert "of 1000" in said
    text = tools.bounded("a" * 30_000 + "z")
    assert len(text) <= tools.MAX_TEXT
    assert text.endswith("z")
    assert "of 30001 characters" in text


def test_a_comparison_shows_both_and_what_is_broken() -> None:
    broken = scenario(name="t2", normalized=0.0, broken_floors=(("completion", 0.1, 0.5),))
    said = tools.say_comparison(ran(scenario(), broken), 3, {"t1": 0.5, "t2": 0.5, "gone": 1.0})
    assert "- t1: 0.2500 0.5000 -0.2500" in said
    assert "Mean: 0.1250 0.5000 -0.3750" in said
    assert "floor completion broken: 0.1 of 0.5" in said
