"""Suites: the built-in ones, and a user's own directory."""

from pathlib import Path

import pytest

from quintain.plugins.simulator import Aggregation, InvalidInput, Part
from quintain_faas.plugin import simulator
from quintain_faas.scenario import spec_of
from quintain_faas.scenario_suite import built_in_scenarios, built_in_suites, load_suite

OWN = """
description = "my own"
objective = "throughput"
aggregation = "mean_normalized"
[defaults.run]
duration = 30
[defaults.generator]
num_pipelines = 2
[[scenarios]]
name = "calm"
part = "train"
[scenarios.generator]
waiting_seconds_mean = 20
[[scenarios]]
name = "storm"
part = "held_out"
run.random_seed = 7
generator = { num_pipelines = 30 }
"""


def own_suite(folder: Path, text: str) -> Path:
    (folder / "suite.toml").write_text(text)
    return folder


def test_the_papers_experiment_has_ten_train_traces_scored_by_the_median_throughput() -> None:
    suite = simulator.suite("paper-reference")
    assert (suite.objective, suite.aggregation) == ("throughput", Aggregation.MEDIAN_VALUE)
    train = [e.scenario for e in suite.entries if e.part is Part.TRAIN]
    params = [spec_of(simulator.scenario(name)).params for name in train]
    assert [(p.num_pipelines, p.random_seed) for p in params] == [
        (10 * 2**b, seed) for b in range(5) for seed in (10, 11)
    ]
    assert all(p.waiting_seconds_mean == p.num_pipelines and p.num_operators == 10 for p in params)
    assert {(p.duration, p.ticks_per_second, p.num_pools, p.ram_gb_per_pool) for p in params} == {(600, 1000, 1, 500)}


def test_the_papers_held_out_traces_are_the_same_family_with_other_seeds() -> None:
    suite = simulator.suite("paper-reference")
    held_out = [spec_of(simulator.scenario(e.scenario)).params for e in suite.entries if e.part is Part.HELD_OUT]
    assert sorted({p.random_seed for p in held_out}) == [12, 13]
    assert len(held_out) == 10


def test_the_standard_suite_trains_on_six_kinds_and_holds_out_four() -> None:
    suite = simulator.suite("standard")
    kinds = {part: {e.scenario[:2] for e in suite.entries if e.part is part} for part in Part}
    assert kinds == {Part.TRAIN: {"T1", "T2", "T3", "T4", "T5", "T6"}, Part.HELD_OUT: {"H1", "H2", "H3", "H4"}}
    assert len(suite.entries) == 20


def test_every_built_in_scenario_is_found_under_a_name_of_its_own() -> None:
    entries = [e.scenario for loaded in built_in_suites().values() for e in loaded.suite.entries]
    assert sorted(entries) == sorted(set(entries)) == sorted(built_in_scenarios())
    assert all(simulator.scenario(name).description for name in entries)


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidInput, match=r"suite: 'papers' is unknown; known are: paper-reference, standard, smoke"):
        simulator.suite("papers")
    with pytest.raises(InvalidInput, match=r"scenario: 'T9' is unknown; known are: .*burst160_seed13 and 25 more"):
        simulator.scenario("T9")


def test_a_users_own_suite_directory(tmp_path: Path) -> None:
    loaded = load_suite(own_suite(tmp_path, OWN))
    assert [(e.scenario, e.part) for e in loaded.suite.entries] == [("calm", Part.TRAIN), ("storm", Part.HELD_OUT)]
    calm, storm = (spec_of(s).params for s in loaded.scenarios.values())
    assert (calm.duration, calm.num_pipelines, calm.waiting_seconds_mean) == (30, 2, 20)
    assert (storm.duration, storm.num_pipelines, storm.random_seed) == (30, 30, 7)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('objective = "throughput"', 'objective = "speed"', r":objective: 'speed' is not one of throughput"),
        ('"mean_normalized"', '"mean"', r":aggregation: 'mean' is not one of median_value, mean_normalized"),
        ('part = "held_out"', 'part = "test"', r"scenarios\[2\]\.part: 'test' is not one of train, held_out"),
        ('part = "train"', 'part = "held_out"', r"none is of part 'train'"),
        ('name = "storm"', 'name = "calm"', r"scenarios\[2\]\.name: 'calm' is there twice"),
        ('name = "storm"\n', "", r"scenarios\[2\]: needs a name"),
        ("[defaults.run]", "[defaults.time]", r"defaults\.time: unknown table"),
        ("num_pipelines = 30", "pipelines = 30", r"scenarios\[2\] \(storm\):generator:pipelines: unknown key"),
    ],
)
def test_a_broken_suite_is_refused_with_its_place(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert OWN.count(old) == 1
    with pytest.raises(InvalidInput, match=words):
        load_suite(own_suite(tmp_path, OWN.replace(old, new)))


def test_a_suite_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"suite\.toml: cannot be read: No such file"):
        load_suite(tmp_path / "nowhere")


def test_a_broken_trace_in_an_own_suite_is_found_when_it_is_loaded(tmp_path: Path) -> None:
    text = OWN.replace("[scenarios.generator]\nwaiting_seconds_mean = 20", 'workload.trace = "t.csv"')
    (tmp_path / "t.csv").write_text("pipeline_id\np1\n")
    with pytest.raises(InvalidInput, match=r"t\.csv:1:arrival_seconds"):
        load_suite(own_suite(tmp_path, text))
