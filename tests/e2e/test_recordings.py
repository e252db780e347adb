"""From a log to a policy against the running services: recorded, checked, fitted, judged."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.e2e.conftest import Quintain
from tests.support.systems import MODEL, POLICY, SUITE, package

# After a search was made, before its id was noted; after model.py, without its card; after one of two recordings.
KILLS = (4, 4, 15)
RECORD = ("record", "--suite", "load_balancer", "--scenario", "steady")


def test_runs_are_recorded_into_a_new_package_and_added_to_it(quintain: Quintain, tmp_path: Path) -> None:
    folder = tmp_path / "balancer"
    ran = quintain(*RECORD, "--policy", "round_robin", "--out", str(folder))
    assert ran.code == 0, ran.err
    assert "left out: objectives.mean_seconds.bound" in ran.err
    assert not (folder / "model.py").exists()
    again = quintain(*RECORD, "--policy", "round_robin", "--out", str(folder))
    assert (again.code, "--force writes it again" in again.err) == (2, True)
    more = quintain(*RECORD, "--policy", "shortest_queue", "--out", str(folder))
    assert more.code == 0, more.err
    assert sorted(file.name for file in (folder / "recordings").iterdir()) == [
        "steady-round_robin.jsonl.gz",
        "steady-shortest_queue.jsonl.gz",
    ]


def test_what_cannot_be_recorded_is_refused_with_a_reason(quintain: Quintain, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    assert "holds other things" in quintain(*RECORD, "--out", str(tmp_path)).err
    failing = tmp_path / "fails.py"
    failing.write_text("def decide(observation, happened):\n    return 1 / 0\n", encoding="utf-8")
    ran = quintain(*RECORD, "--policy", str(failing), "--out", str(tmp_path / "new"))
    assert (ran.code, "ZeroDivisionError" in ran.out) == (1, True)
    assert not (tmp_path / "new").exists()
    ran = quintain("record", "--simulator", "spot_deadline", "--suite", "x", "--out", str(tmp_path / "new"))
    assert (ran.code, "cannot be recorded; those of" in ran.err) == (2, True)


def test_a_log_is_imported_and_what_is_wrong_with_it_is_said(quintain: Quintain, tmp_path: Path) -> None:
    folder = tmp_path / "balancer"
    quintain(*RECORD, "--policy", "round_robin", "--out", str(folder))
    log = tmp_path / "monday.csv"
    log.write_text("at,what,id\n1.0,arrive,1\n2.0,done,1\n3.0,done,7\n", encoding="utf-8")
    column_map = tmp_path / "map.toml"
    column_map.write_text(
        """
policy = "unknown"
[[rows]]
input = "request"
time = "at"
when = { column = "what", is = ["arrive"] }
fields = { id = "id", size = { value = "small" } }
[[rows]]
event = "finished"
time = "at"
when = { column = "what", is = ["done"] }
fields = { request = "id", server = { value = 0 } }
""",
        encoding="utf-8",
    )
    ran = quintain("system", "import", str(folder), str(log), "--map", str(column_map))
    assert ran.code == 0, ran.err
    assert "monday.csv:4: unknown_id: finished.request names request 7" in ran.out
    checked = quintain("system", "check", str(folder))
    assert checked.code == 1
    assert "recordings/monday.jsonl.gz:4: unknown_id" in checked.out
    assert "quintain fit" in checked.out
    log.write_text("at,what,id\n1.0,arrive,1\n2026-01-31,done,1\n", encoding="utf-8")
    ran = quintain("system", "import", str(folder), str(log), "--map", str(column_map), "--force")
    assert (ran.code, "two formats of time in one log" in ran.err) == (2, True)
    assert "recordings/monday.jsonl.gz" in quintain("system", "check", str(folder)).out


def test_the_faas_engine_is_recorded_under_its_own_policies_and_the_packages(
    quintain: Quintain, tmp_path: Path
) -> None:
    folder = tmp_path / "pools"
    options = ("record", "--simulator", "faas", "--suite", "smoke", "--scenario", "smoke_steady", "--out", str(folder))
    ran = quintain(*options, "--policy", "fifo")
    assert ran.code == 0, ran.err
    ran = quintain(*options, "--policy", str(folder / "baselines" / "random_sizes.py"))
    assert ran.code == 0, ran.err + ran.out
    checked = quintain("system", "check", str(folder))
    assert checked.code == 0, checked.out
    assert "smoke_steady-random_sizes.jsonl.gz" in checked.out


def counter(folder: Path) -> Path:
    """A small system of one's own with two policies, to stand for a real one."""
    drawn = 'arrivals = [{ kind = "job", rate = 1.5, fields = { seconds = { exponential = 0.8 } } }]'
    last_first = POLICY.replace("waiting[:free], waiting[free:]", "waiting[::-1][:free], waiting[::-1][free:][::-1]")
    for name, content in package(
        suite=SUITE.replace('trace = "few.csv"', f"seed = 1\n{drawn}").replace("= 10.0", "= 60.0"),
        **{"baselines/last_first.py": last_first},
    ).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_the_card_of_a_model_stands_beside_floors_and_ranks_policies_in_the_truth(
    quintain: Quintain, tmp_path: Path
) -> None:
    truth, folder = counter(tmp_path / "counter"), tmp_path / "log"
    policies = ("--policy", "fifo", "--policy", "last_first")
    ran = quintain("record", "--suite", str(truth), *policies, "--out", str(folder))
    assert ran.code == 0, ran.err
    model = MODEL.replace("self.jobs[job.id] = job.seconds", "self.jobs[job.id] = self.random.expovariate(1 / 0.8)")
    model = model.replace("self.jobs = {}", "self.jobs, self.random = {}, random")
    (folder / "model.py").write_text(model, encoding="utf-8")
    page = tmp_path / "card.html"
    card = quintain("fidelity", str(folder), "--references", "0", "--attack", "0", "--html", str(page), "--json")
    found = json.loads(card.out)
    assert {row["name"] for row in found["parts"]} == {"train", "later", "other_policy", "busiest"}
    assert all(row["floors"].keys() == {"queueing", "replay"} for row in found["parts"])
    assert {reference["name"] for reference in found["decision"]["references"]} == {"fifo", "last_first"}
    assert "decision fidelity: too few policies, or they are all alike" in found["untested"]
    assert (card.code == 1) == (found["fidelity"] == "failed")
    assert "Policies in the model and in the truth" in page.read_text(encoding="utf-8")


def test_what_is_found_in_a_model_says_to_the_end_how_far_the_model_is_trusted(
    quintain: Quintain, tmp_path: Path
) -> None:
    truth, folder = counter(tmp_path / "counter"), tmp_path / "log"
    assert quintain("record", "--suite", str(truth), "--policy", "fifo", "--out", str(folder)).code == 0
    (folder / "model.py").write_text(MODEL.replace("job.seconds", "0.8"), encoding="utf-8")
    policy = folder / "baselines" / "fifo.py"

    def verdict(suite: Path) -> dict[str, str]:
        return quintain("verify", str(policy), "--simulator", "system", "--suite", str(suite), "--json").lines[0]

    assert verdict(truth)["fidelity"] == "FIDELITY_UNSPECIFIED"
    assert verdict(folder)["fidelity"] == "FIDELITY_UNVERIFIED"
    carded = quintain("fidelity", str(folder), "--references", "0", "--attack", "0", "--json")
    card = json.loads(carded.out)
    assert card["fidelity"] == "failed", "every job takes as long as another: no model of this system"
    assert json.loads((folder / "fidelity.json").read_text(encoding="utf-8")) == card
    found = verdict(folder)
    assert (found["fidelity"], found["fidelity_reason"].partition(" (and")[0]) == (
        "FIDELITY_FAILED",
        card["refused"][0],
    )
    said = f"fidelity failed: {card['refused'][0]}"
    assert said in quintain("verify", str(policy), "--simulator", "system", "--suite", str(folder)).out
    search = ("search", "--simulator", "system", "--suite", str(folder), "--backend", "offline", "--candidates", "1")
    *events, last = quintain(*search, "--json").lines
    assert {event["fidelity"] for event in events} == {"FIDELITY_FAILED"}
    assert last["fidelity"] == "FIDELITY_FAILED"
    assert said in quintain("show", last["search_id"]).out
    header = [line for line in quintain("best", last["search_id"]).out.splitlines() if line.startswith("# ")]
    assert any(line.startswith(f"# found in a model, {said}") for line in header)
    page = tmp_path / "report.html"
    assert quintain("report", last["search_id"], "--out", str(page)).code == 0
    assert "Found in a model of the system, fidelity failed: " in page.read_text(encoding="utf-8")
    (folder / "model.py").write_text(MODEL.replace("job.seconds", "0.7"), encoding="utf-8")
    assert verdict(folder)["fidelity_reason"].startswith("the card is of another model.py")


def test_an_attack_finds_what_no_recording_shows_and_the_next_fit_must_not_allow_it(
    quintain: Quintain, tmp_path: Path
) -> None:
    truth, folder = counter(tmp_path / "counter"), tmp_path / "log"
    assert quintain("record", "--suite", str(truth), "--policy", "fifo", "--out", str(folder)).code == 0
    instant = MODEL.replace("job.seconds", "0.01")
    (folder / "model.py").write_text(instant, encoding="utf-8")
    fidelity = ("fidelity", str(folder), "--references", "0", "--attack", "2", "--json")
    card = json.loads(quintain(*fidelity).out)
    attack = card["attack"]
    assert (card["fidelity"], attack["tried"], attack["checked"]) == ("failed", 2, True)
    (hole,) = attack["holes"]
    assert hole["exceeded"][0]["what"] == "mean seconds from started to done"
    assert f"attack: {hole['words']}" in card["refused"]
    (example,) = (folder / "counterexamples").glob("*.json")
    stated = json.loads(example.read_text(encoding="utf-8"))
    assert stated["scenario"] == hole["scenario"]
    assert stated["exceeded"] == ["mean seconds from started to done", "metric seconds"]
    assert "def decide" in stated["policy"]
    assert json.loads(quintain(*fidelity).out) == card, "the same seed, the same attack and card"
    again = quintain("verify", str(folder / "model.py"), "--simulator", "fit", "--suite", str(folder))
    assert again.code == 1
    assert f"counterexample {example.stem}: mean seconds from started to done is 0.01" in again.out
    right = tmp_path / "right.py"
    right.write_text(MODEL.replace("job.seconds", "0.8"), encoding="utf-8")
    assert quintain("verify", str(right), "--simulator", "fit", "--suite", str(folder)).code == 0


def test_a_model_that_breaks_is_refused_by_its_recordings_and_by_the_attack(quintain: Quintain, tmp_path: Path) -> None:
    truth, folder = counter(tmp_path / "counter"), tmp_path / "log"
    assert quintain("record", "--suite", str(truth), "--policy", "fifo", "--out", str(folder)).code == 0
    endless = MODEL.replace("config.slots", "1000").replace("job.seconds", "2.0")
    (folder / "model.py").write_text(endless, encoding="utf-8")
    ran = quintain("fidelity", str(folder), "--references", "4", "--attack", "2", "--json")
    card = json.loads(ran.out)
    assert (ran.code, card["fidelity"]) == (1, "failed")
    assert any("train: started: 3 held, and the limit is 2" in words for words in card["refused"])
    (hole,) = card["attack"]["holes"]
    assert "rejected invariant slots: started: 3 held, and the limit is 2" in hole["broke"]
    assert {r["model"] for r in card["decision"]["references"]} == {None}


def test_several_models_are_kept_and_the_worst_of_them_counts(
    quintain: Quintain, killed: Callable[..., bool], tmp_path: Path
) -> None:
    truth, folder = counter(tmp_path / "counter"), tmp_path / "log"
    assert quintain("record", "--suite", str(truth), "--policy", "fifo", "--out", str(folder)).code == 0
    fit = ("fit", str(folder), "--candidates", "6", "--keep", "2")
    before = searches(quintain)
    assert killed(6, *fit), "with model.py, and without the other"
    assert not (folder / "models").exists()
    ran = quintain(*fit)
    assert ran.code == 0, ran.err
    assert searches(quintain) - before == Counter(["a model of log"])
    assert not (folder / ".fit.json").exists()
    (other,) = (folder / "models").iterdir()
    assert other.name == "model_2.py"
    policy = str(folder / "baselines" / "fifo.py")
    verify = ("verify", policy, "--simulator", "system", "--suite", str(folder))
    verdict = quintain(*verify, "--json").lines[0]
    assert [(s["group"], s["model"]) for s in verdict["scenarios"]] == [
        ("log/few", "model"),
        ("log/few", "model_2"),
        ("log/many", "model"),
        ("log/many", "model_2"),
    ]
    alone = {model["name"]: model["value"] for model in verdict["train"]["models"]}
    assert verdict["train"]["score"] == min(alone.values())
    assert "worst of 2 models in each situation; alone: model " in quintain(*verify).out
    search = ("search", "--simulator", "system", "--suite", str(folder), "--backend", "offline", "--candidates", "1")
    *_, last = quintain(*search, "--json").lines
    assert "on train: worst of 2 models" in quintain("show", last["search_id"]).out
    assert "# train: worst of 2 models" in quintain("best", last["search_id"]).out
    again = quintain("fit", str(folder), "--candidates", "1", "--force")
    assert again.code == 0, again.err
    assert not other.exists(), "a model of an earlier fit does not stay beside the new one"


def test_a_model_is_fitted_written_with_its_values_and_not_overwritten(quintain: Quintain, tmp_path: Path) -> None:
    truth, folder = counter(tmp_path / "counter"), tmp_path / "log"
    assert quintain("fit", str(tmp_path / "nowhere")).code == 2
    policies = ("--policy", "fifo", "--policy", "last_first")
    assert quintain("record", "--suite", str(truth), *policies, "--out", str(folder)).code == 0
    ran = quintain("fit", str(folder), "--candidates", "2", "--seed", "1")
    assert ran.code == 0, ran.err
    said = ran.out + ran.err
    assert all(part in said for part in ("train", "later", "other_policy", "busiest", "queueing", "replay"))
    model = (folder / "model.py").read_text(encoding="utf-8")
    assert "class Model" in model
    assert "wrote the model of candidate #" in said
    again = quintain("fit", str(folder), "--candidates", "2")
    assert (again.code, "--force" in again.err) == (2, True)
    assert (folder / "model.py").read_text(encoding="utf-8") == model
    shutil.rmtree(folder / "recordings")
    bare = quintain("fit", str(folder), "--candidates", "2", "--force")
    assert (bare.code, "recordings" in bare.err) == (2, True)


def contents(folder: Path) -> dict[str, bytes]:
    """Of a package: hidden files are no part of it."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not file.name.startswith(".")
    }


def searches(quintain: Quintain) -> Counter[str]:
    """How many there are by their titles."""
    return Counter(search["spec"]["title"] for search in quintain("searches", "--json").lines)


def test_a_loop_that_is_killed_goes_on_and_ends_as_one_that_was_not(
    quintain: Quintain, killed: Callable[..., bool], tmp_path: Path
) -> None:
    truth, folder = counter(tmp_path / "counter"), tmp_path / "log"
    policies = ("--policy", "fifo", "--policy", "last_first")
    assert quintain("record", "--suite", str(truth), *policies, "--out", str(folder)).code == 0
    (folder / "models").mkdir()
    (folder / "models" / "model_2.py").write_text(MODEL, encoding="utf-8")
    again = tmp_path / "again" / "log"
    shutil.copytree(folder, again)
    small = ("--rounds", "1", "--models", "1", "--policies", "2", "--references", "0", "--attack", "2")
    ran = quintain("loop", str(folder), *small, "--in-truth", "--json")
    (found,) = [line for line in ran.lines if "predicted" in line]
    assert ran.code == (1 if found["error"] > 0.1 else 0), ran.err
    assert 0.0 <= found["distance"] < 1.0
    made = contents(folder)
    card = json.loads(made["fidelity.json"])
    assert (card["model"], card["fidelity"]) == (hashlib.sha256(made["model.py"]).hexdigest(), found["fidelity"])
    assert [hole["words"] for hole in card["attack"]["holes"]] == found["holes"]
    assert {"winner.py", "recordings/few-loop_1.jsonl.gz", "recordings/many-loop_1.jsonl.gz"} < made.keys()
    assert not [name for name in made if name.startswith("models/")], "of an earlier fit"

    before = searches(quintain)
    assert [killed(moments, "loop", str(again), *small, "--in-truth") for moments in KILLS] == [True] * len(KILLS)
    resumed = quintain("loop", str(again), *small, "--in-truth", "--json")
    (same,) = [line for line in resumed.lines if "predicted" in line]
    ids = {"model": "", "policies": ""}
    assert {**same, **ids} == {**found, **ids}
    assert contents(again) == made
    assert not (again / ".loop.json").exists()
    made_twice = {title for title, count in (searches(quintain) - before).items() if count > 1}
    assert not made_twice - {"attack on a model by seconds"}, "what costs money is searched for once"


def test_a_loop_without_a_truth_says_what_is_missing(quintain: Quintain, tmp_path: Path) -> None:
    truth, folder = counter(tmp_path / "counter"), tmp_path / "log"
    assert quintain("record", "--suite", str(truth), "--out", str(folder)).code == 0
    (folder / "truth.toml").unlink()
    ran = quintain("loop", str(folder), "--rounds", "1", "--models", "1", "--policies", "1")
    assert (ran.code, "--truth-suite names a simulator's suite" in ran.err) == (2, True)
