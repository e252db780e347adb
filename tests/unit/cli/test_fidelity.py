"""The fidelity card: what is refused, what is unverified, and what makes a model verified."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tests.support.systems import SYSTEM

from quintain.plugins.recorder import Exceeded
from quintain.verifier.v1 import verifier_pb2 as pb
from quintain_cli.commands.fidelity import print_card
from quintain_cli.commands.fit import say_contradictions
from quintain_cli.fidelity.attack import Attack, Hole, worst_of_each
from quintain_cli.fidelity.card import Card, card_of
from quintain_cli.fidelity.decision import DecisionFidelity, Reference, decision_fidelity, gain_kept
from quintain_cli.fidelity.runs import prediction_error
from quintain_cli.report.fidelity_page import render_card

PARTS = ("train", "later", "other_policy", "busiest")
GOOD = decision_fidelity("truth", [Reference(f"p{n}", n / 10, n / 9) for n in range(8)])
UNHARMED = Attack(tried=30, seed=0, checked=True, holes=())


def detail(distance: float, floors: dict[str, float], windows: int = 3) -> str:
    cut = [{"recording": "monday", "from": 10.0 * n, "until": 10.0 * n + 10, "load": n + 1.0,
            "distance": distance + 0.01 * n, "floors": floors} for n in range(windows)]  # fmt: skip
    components = {"times: finished after started": {"distance": distance, "recorded": 2.0, "said": 1.5}}
    curves = {"held": {"times": [0, 1], "recorded": [1, 2], "said": [1, 1]}}
    quantiles = {"finished after started": {"shares": [0.5, 0.9], "recorded": [1, 3], "said": [1, 2]}}
    drawn = [{"recording": "monday", "levels": curves, "quantiles": quantiles}]
    words = ["finished comes too early"]
    return json.dumps({"windows": cut, "components": components, "words": words, "recordings": drawn})


def verdict(distances: dict[str, float], **floors: float) -> pb.Verdict:
    made = pb.Verdict(status=pb.VERDICT_STATUS_OK)
    for part, distance in distances.items():
        scenario = made.scenarios.add(scenario="mine/train" if part == "train" else f"mine/{part}/monday", ran=True)
        scenario.detail = detail(distance, floors or {"queueing": 0.5, "replay": 0.4})
        scenario.metrics.add(name="parameter_speed", value=3.5)
        scenario.metrics.add(name="worth_speed", value=0.02)
        scenario.metrics.add(name="parameter_idle", value=1.0)
        scenario.metrics.add(name="worth_idle", value=0.0)
    return made


def card(distances: dict[str, float], decision: DecisionFidelity | None = GOOD) -> Card:
    return card_of("mine", "ab" * 32, "cd" * 32, verdict(distances), (), decision, UNHARMED)


def test_a_model_that_beats_both_floors_everywhere_and_ranks_like_the_truth_is_verified() -> None:
    found = card(dict.fromkeys(PARTS, 0.1))
    assert (found.fidelity, found.refused, found.untested) == ("verified", (), ())
    assert [row.name for row in found.loads] == ["low load", "middle load", "high load"]
    assert found.loads[0].distance.mean < found.loads[2].distance.mean
    assert [(p.name, p.determined) for p in found.parameters] == [("speed", "well"), ("idle", "does nothing")]


def test_a_model_right_on_train_only_is_refused_with_the_part_and_the_floor() -> None:
    found = card({"train": 0.05, "later": 0.1, "other_policy": 0.45, "busiest": 0.1})
    assert found.fidelity == "failed"
    assert found.refused == ("other_policy: it is no nearer to the recordings than the floor replay",)


def test_what_was_not_tested_is_unverified_and_not_wrong() -> None:
    found = card({"train": 0.1, "later": 0.1}, decision=None)
    assert found.fidelity == "unverified"
    assert found.untested == (
        "nothing was held out as other_policy",
        "nothing was held out as busiest",
        "decision fidelity: name where the truth can be run (--truth-suite)",
    )


def test_a_model_that_ranks_policies_the_other_way_round_is_refused() -> None:
    turned = decision_fidelity("truth", [Reference(f"p{n}", n / 10, -n / 9) for n in range(8)])
    words = " | ".join(card(dict.fromkeys(PARTS, 0.1), turned).refused)
    assert "tau -1.00, at least 0.6 is needed" in words
    assert "its best policy loses 100% in the truth" in words


def hole(what: str, reached: float, *, confirmed: bool = True) -> Hole:
    return Hole("seconds #3", "few", (Exceeded(what, reached, 2.0, 1.0),), confirmed)


def attacked(*holes: Hole) -> Card:
    return replace(card(dict.fromkeys(PARTS, 0.1)), attack=Attack(30, 0, checked=True, holes=holes))


def test_a_hole_that_the_truth_does_not_have_refuses_the_model() -> None:
    found = attacked(hole("mean seconds from started to done", 0.1))
    words = "attack: seconds #3 in few: mean seconds from started to done is 0.1, recordings go to 2"
    assert (found.fidelity, found.refused) == ("failed", (words,))
    assert found.document()["attack"]["holes"][0]["words"] == words.removeprefix("attack: ")


def test_a_hole_that_no_truth_was_asked_about_leaves_the_model_unverified() -> None:
    found = attacked(hole("mean seconds from started to done", 0.1, confirmed=False))
    assert (found.fidelity, found.refused) == ("unverified", ())
    assert "no truth to ask: seconds #3 in few" in found.untested[0]


def test_a_model_that_nobody_attacked_is_unverified() -> None:
    found = replace(card(dict.fromkeys(PARTS, 0.1)), attack=None)
    assert found.untested == ("attack: nobody looked for policies that get too much out of it (--attack)",)


def test_of_many_holes_the_farthest_for_each_thing_is_kept() -> None:
    near, far, other = hole("a", 0.5), hole("a", 0.1), hole("b", 0.9)
    assert worst_of_each([near, other, far]) == [far, other]


def test_few_policies_prove_nothing() -> None:
    few = decision_fidelity("truth", [Reference("a", 0.1, 0.1), Reference("b", 0.2, 0.2)])
    assert card(dict.fromkeys(PARTS, 0.1), few).fidelity == "unverified"


def test_a_model_that_failed_on_a_recording_is_refused() -> None:
    made = verdict(dict.fromkeys(PARTS, 0.1))
    made.scenarios[1].failure.message = "invariant slots: 3 held"
    found = card_of("mine", "ab", "cd", made, (), GOOD)
    assert found.refused == ("later of monday: invariant slots: 3 held",)


def test_policies_that_fail_count_with_the_worst_score_and_are_told() -> None:
    found = decision_fidelity("truth", [Reference("a", None, 0.9), Reference("b", 0.5, 0.5), Reference("c", 0.7, None)])
    assert found.disagree == 2
    assert found.tau == pytest.approx(-1.0)
    assert found.regret == pytest.approx(1.0)


def test_of_equally_good_in_the_model_the_worst_in_the_truth_is_what_may_be_taken() -> None:
    found = decision_fidelity("truth", [Reference("a", 0.9, 0.2), Reference("b", 0.9, 0.8), Reference("c", 0.1, 0.0)])
    assert found.regret == pytest.approx(0.75)


def test_the_share_of_the_gain() -> None:
    assert gain_kept(0.5, 0.59, 0.6) == pytest.approx(0.9)
    assert gain_kept(0.5, 0.4, 0.6) == pytest.approx(-1.0)
    assert gain_kept(0.5, 0.5, 0.5) is None


def test_how_far_a_prediction_was_off() -> None:
    assert prediction_error({"a": 1.0, "b": 2.0, "c": 9.0}, {"a": 1.0, "b": 4.0}) == pytest.approx(0.25)
    assert prediction_error({"a": 0.0}, {"a": 0.0}) == 0.0
    assert prediction_error({}, {"a": 1.0}) == 1.0


def test_the_card_is_printed_written_as_json_and_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    made = verdict(dict.fromkeys(PARTS, 0.1))
    found = card_of("mine", "ab" * 32, "cd" * 32, made, ("one policy in the log",), GOOD, UNHARMED)
    print_card(found)
    out = capsys.readouterr().out
    for words in ("fidelity unverified", "other policy", "high load", "speed", "Kendall's tau 1.00", "one policy in"):
        assert words in out
    document = json.loads(json.dumps(found.document()))
    assert (document["fidelity"], document["decision"]["enough"]) == ("unverified", True)
    page = render_card(replace(found, package="<mine>"), made)
    assert "&lt;mine&gt;: unverified" in page
    assert "<script src" not in page
    assert page.count('class="plotly-graph-div"') == 6


def test_what_contradicts_itself_is_said_before_a_model_is_fitted_to_it(capsys: pytest.CaptureFixture[str]) -> None:
    recording = [
        {"recording": 1, "system": "counter", "policy": "fifo", "config": {"slots": 2}, "duration": 9.0},
        {"time": 1.0, "input": "job", "id": 1},
        {"time": 2.0, "event": "done", "job": 1},
    ]
    system = SYSTEM.replace(', seconds = { type = "float", min = 0.0, hidden = true }', "").replace(
        'bound = "job_seconds_mean"\n', ""
    )
    files = {
        "system.toml": system.encode(),
        "recordings/monday.jsonl": "\n".join(map(json.dumps, recording)).encode(),
    }
    say_contradictions(files)
    said = capsys.readouterr().err
    assert "the recordings contradict themselves" in said
    assert "recordings/monday.jsonl:3: invariant started" in said
