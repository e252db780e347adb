"""What is wrong in a package is said once, with the file, the line and the key, and what would be right."""

from __future__ import annotations

import gzip

import pytest
from tests.support.systems import MODEL, SUITE, SYSTEM, TRACE, package, run

from quintain.plugins.simulator import InvalidInput, Simulator
from quintain_system.package_simulator import PackageSimulator
from quintain_system.plugin import simulator

INVARIANT = 'slots = { type = "capacity", acquire = "started", release = ["done"], item = "job", limit = "slots" }'
BACK = 'back = { type = "order", first = "done", then = "started", by = "job" }\n[metrics]'
PLACES = INVARIANT.replace("slots =", "places =").replace('limit = "slots"', 'limit = "places"')
SECONDS = 'seconds = { type = "time", from = "job", to = ["done"], by = "job" }'
DRAWN = 'arrivals = [{ kind = "job", rate = 2.0, fields = { seconds = { exponential = 0.8 } } }]'


def line_of(text: str, part: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), start=1) if part in line)


def opened(files: dict[str, bytes]) -> Simulator:
    made = simulator.from_files("mine", files)
    for entry in made.suite("mine").entries:
        made.scenario(entry.scenario)
    return made


# name -> (what is replaced, by what, place without the line, words)
SYSTEM_FAULTS = {
    "not TOML": ("[config]", "[config", "", "is not TOML"),
    "an unknown table": ("[config]", "[colour]\nred = 1\n[config]", "colour", "is an unknown key"),
    "an unknown key": ("default = 2, min = 1", "default = 2, mini = 1", "config.slots.mini", "is an unknown key"),
    "no name": ('name = "counter"\n', "", "name", "is missing"),
    "a bad name": ('"counter"', '"The Counter"', "name", "'The Counter'"),
    "a default outside its range": ("default = 2", "default = 0", "config.slots.default", "0 is below 1"),
    "an unknown type": ('id = "id"', 'id = "uuid"', "inputs.job.fields.id.type", "'uuid'"),
    "a reference to nothing": ('job = "ref:job" }\n[events.s', 'job = "ref:task" }\n[events.s',
                               "decisions.start.fields.job.of", "'task' is unknown; known are: job"),
    "an index of nothing": ('free = "int"', 'free = "index:rooms"', "observation.free.of", "known are: slots"),
    "two ids": ('id = "id"', 'id = "id", other = "id"', "inputs.job.fields", "two fields of type 'id'"),
    "a decision with an id": ('job = "ref:job" }\n[events.s', 'job = "id" }\n[events.s',
                              "decisions.start.fields.job", "makes none: use ref"),
    "a hidden decision": ("[decisions.start]\n", "[decisions.start]\nhidden = true\n",
                          "decisions.start", "it is the policy that decides"),
    "a hidden observation": ('free = "int"', 'free = { type = "int", hidden = true }', "observation.free.hidden",
                             "is what a policy sees"),
    "one name twice": ("[events.done]", "[events.job]", "events.job", "inputs has a kind of this name already"),
    "a range without a value": ("min = 0.0", "min = 2.0, max = 1.0", "inputs.job.fields.seconds.min", "no value fits"),
    "a call after nothing": ('calls = ["job", "done"]', 'calls = ["job", "gone"]', "policy.calls[2]",
                    "'gone' is unknown"),
    "never called": ('calls = ["job", "done"]', "calls = []", "policy", "says never when a policy is asked"),
    "classes of nothing": ("[metrics]", '[classes]\nof = "job"\nfield = "size"\n[metrics]', "classes.field",
                           "'size' is unknown; known are: id, seconds"),
    "an invariant of no type": (INVARIANT, 'slots = { type = "magic" }', "invariants.slots", "needs a type"),
    "a capacity that can never hold": (INVARIANT, INVARIANT.replace('limit = "slots"', "limit = 0.5"),
                                       "invariants.slots.limit", "can never hold: the limit is 0.5 and one takes 1"),
    "an order that can never hold": ('then = "done"', 'then = "started"', "invariants.started", "can never hold"),
    "orders in a circle": ("[metrics]", BACK, "invariants.back",
                           "can never hold: done comes before started, and started before done"),
    "an order against a conservation": (
        "[metrics]", 'back = { type = "conservation", enter = ["done"], leave = ["started"], by = "job" }\n[metrics]',
        "invariants.back", "can never hold: done comes before started"),
    "an invariant of what never happens": ('release = ["done"]', 'release = ["gone"]', "invariants.slots.release",
                                           "'gone' never happens"),
    "a metric of what never happens": ('of = ["done"]', 'of = ["gone"]', "metrics.done.of", "'gone' never happens"),
    "a metric of no type": (SECONDS, "seconds = { }", "metrics.seconds", "needs a type"),
    "a metric with an unknown key": (SECONDS, SECONDS.replace(" }", ", colour = 1 }"), "metrics.seconds.colour",
                                     "is an unknown key"),
    "a metric by nothing": (SECONDS, SECONDS.replace('by = "job"', 'by = "task"'), "metrics.seconds.by",
                            "'task' is unknown"),

                       "a formula of nothing": ("[objectives.seconds]",
                             'x = { type = "formula", value = "2 * late" }\n[objectives.seconds]', "metrics.x.value",
                             "'late' is unknown; known are: done, duration, seconds, slots"),
    "code for a formula": ("[objectives.seconds]",
                           'x = { type = "formula", value = "().__class__" }\n[objectives.seconds]', "metrics.x.value",
                           "is not allowed"),
    "an objective of nothing": ('metric = "seconds"', 'metric = "speed"', "objectives.seconds.metric",
                    "known are: done"),
    "an objective without a worst": ('metric = "seconds"\ndirection = "minimize"\nbound = "job_seconds_mean"',
                                     'metric = "done"\ndirection = "minimize"', "objectives.seconds", "needs 'worst'"),
    "an objective that rewards leaving things": (SECONDS, SECONDS.replace(" }", ', unfinished = "ignored" }'),
                                                 "objectives.seconds", "rewards leaving things unfinished"),
    "a bound of nothing": ("job_seconds_mean", "task_seconds_mean", "objectives.seconds.bound", "is unknown"),
    "a baseline that is not there": ("[config]", 'baseline = "best"\n[config]', "", "'best' is unknown"),
}  # fmt: skip
SYSTEM_FAULTS["a baseline that is not there"] = (
    'name = "counter"\n', 'name = "counter"\nbaseline = "best"\n', "baseline", "'best' is unknown; known are: fifo"
)  # fmt: skip


@pytest.mark.parametrize("name", SYSTEM_FAULTS)
def test_a_fault_in_system_toml(name: str) -> None:
    before, after, key, words = SYSTEM_FAULTS[name]
    assert before in SYSTEM
    with pytest.raises(InvalidInput) as found:
        opened(package(system=SYSTEM.replace(before, after, 1)))
    file, _, place = found.value.field.partition(":")
    assert file == "system.toml"
    if key:
        line, _, path = place.partition(":")
        assert path == key
        written = SYSTEM.replace(before, after, 1).splitlines()
        assert 1 <= int(line) <= len(written)
    assert words in found.value.message


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        (
            '{ type = "string", values = ["small", "large"] }',
            '"smal"',
            "'smal' never comes; must be small or large",
        ),
        ('{ type = "string", values = ["small", "large"] }', '["small", "huge"]', "'huge' never comes"),
        ('"bool"', '"yes"', "'yes' never comes; must be true or false"),
    ],
)
def test_a_metric_of_a_value_that_never_comes(field: str, value: str, words: str) -> None:
    changed = SYSTEM.replace('id = "id"', f'id = "id", size = {field}').replace(
        'of = ["done"] }', f'of = ["job"], where = {{ size = {value} }} }}'
    )
    with pytest.raises(InvalidInput) as found:
        opened(package(system=changed))
    assert found.value.field == f"system.toml:{line_of(changed, 'where')}:metrics.done.where.size"
    assert words in found.value.message


def test_the_line_is_the_one_where_the_key_stands() -> None:
    with pytest.raises(InvalidInput) as found:
        opened(package(system=SYSTEM.replace('of = ["done"]', 'of = ["gone"]')))
    assert found.value.field == f"system.toml:{line_of(SYSTEM, 'done = { type')}:metrics.done.of"
    with pytest.raises(InvalidInput) as found:
        opened(package(suite=SUITE.replace("rate = 2.0", "rate = -2.0")))
    assert found.value.field == f"suite.toml:{line_of(SUITE, 'rate')}:scenarios[2].arrivals[1].rate"


SUITE_FAULTS = {
    "an unknown objective": ('objective = "seconds"', 'objective = "speed"', "objective", "known are: seconds"),
    "held out alone": ('part = "train"', 'part = "held_out"', "scenarios", "none is of part 'train'"),
    "an unknown part": ('part = "train"', 'part = "test"', "scenarios[1].part", "'test'"),
    "one name twice": ('name = "many"', 'name = "few"', "scenarios[2].name", "'few' is there twice"),
    "no duration": ("duration = 10.0\n", "", "scenarios[1].duration", "is missing"),
    "no inputs": (DRAWN, "", "scenarios[2]", "needs exactly one of trace, arrivals and workload = true"),
    "no such trace": ('"few.csv"', '"lots.csv"', "scenarios[1].trace", "'lots.csv' is not there"),
    "no workload": (DRAWN, "workload = true", "scenarios[2].workload", "has no workload.py"),
    "an unknown config": ("seed = 3", "seed = 3\nconfig = { slot = 3 }", "scenarios[2].config.slot",
                          "known are: places, slots"),
    "a config outside": ("seed = 3", "seed = 3\nconfig = { slots = 0 }", "scenarios[2].config.slots", "0 is below 1"),
    "a config of another type": ("seed = 3", 'seed = 3\nconfig = { slots = "2" }', "scenarios[2].config.slots",
                                 "must be of the default's type, a whole number"),
    "a config under which an invariant cannot hold": (
        "seed = 3", "seed = 3\nconfig = { places = 0 }", "scenarios[2].config",
        "invariant places can never hold: the limit is 0 and one takes 1"),
    "arrivals of nothing": ('kind = "job"', 'kind = "task"', "scenarios[2].arrivals[1].kind", "known are: job"),
    "a field without values": (", fields = { seconds = { exponential = 0.8 } }", "", "scenarios[2].arrivals[1].fields",
                               "says nothing about the field 'seconds'"),
    "two distributions": ("exponential = 0.8", "exponential = 0.8, constant = 1.0",
                          "scenarios[2].arrivals[1].fields.seconds", "exactly one distribution"),
    "a negative mean": ("exponential = 0.8", "exponential = -0.8",
                        "scenarios[2].arrivals[1].fields.seconds.exponential", "-0.8"),
}  # fmt: skip


@pytest.mark.parametrize("name", SUITE_FAULTS)
def test_a_fault_in_a_suite(name: str) -> None:
    before, after, key, words = SUITE_FAULTS[name]
    assert before in SUITE
    system = SYSTEM.replace("[inputs.job]", "places = 9\n[inputs.job]").replace("[metrics]", f"{PLACES}\n[metrics]")
    with pytest.raises(InvalidInput) as found:
        opened(package(system=system, suite=SUITE.replace(before, after, 1)))
    file, line, path = found.value.field.split(":")
    assert (file, path) == ("suite.toml", key)
    assert int(line) >= 1
    assert words in found.value.message


TRACE_FAULTS = {
    "a clock that runs back": ("1.0,3,", "0.2,3,", "few.csv:4:time", "is before the row above"),
    "no time": ("1.0,3,", "soon,3,", "few.csv:4:time", "must be seconds from the beginning"),
    "a negative time": ("0.5,1,", "-0.5,1,", "few.csv:2:time", "must be seconds from the beginning"),
    "after the end": ("6.0,4,", "60.0,4,", "few.csv:5:time", "after the scenario's end, 10 s"),
    "an id twice": ("0.5,2,", "0.5,1,", "few.csv:3", "job 1 is there already"),
    "a gap": ("1.0,3,1.0", "1.0,3,", "few.csv:4:seconds", "is empty"),
    "a short row": ("1.0,3,1.0", "1.0,3", "few.csv:4", "has 2 cells, the first row has 3"),
    "no number": ("1.0,3,1.0", "1.0,3,long", "few.csv:4:seconds", "'long' is no float"),
    "below the range": ("1.0,3,1.0", "1.0,3,-1.0", "few.csv:4", "job.seconds is -1.0; must be between 0 and inf"),
    "an unknown column": ("time,id,seconds", "time,id,secs", "few.csv:1:secs", "known are: id, kind, seconds, time"),
    "no column of time": ("time,id,seconds", "id,id,seconds", "few.csv:1", "needs a column 'time'"),
    "nothing": (TRACE, "", "few.csv:1", "is empty; the first row must name the columns"),
    "an unknown kind": (TRACE, "time,kind,id,seconds\n1.0,task,1,1.0\n", "few.csv:2:kind", "'task' is none of job"),
    "not UTF-8": ("0.5,1,", "0.5,\udcff,", "few.csv", "is not UTF-8 text"),
}


@pytest.mark.parametrize("name", TRACE_FAULTS)
def test_a_fault_in_a_trace(name: str) -> None:
    before, after, place, words = TRACE_FAULTS[name]
    assert before in TRACE
    files = package() | {"few.csv": TRACE.replace(before, after, 1).encode(errors="surrogateescape")}
    with pytest.raises(InvalidInput) as found:
        opened(files)
    assert found.value.field == place
    assert words in found.value.message


def test_a_trace_may_be_packed_and_begin_with_a_byte_order_mark() -> None:
    packed = package(suite=SUITE.replace("few.csv", "few.csv.gz"), trace=None)
    packed["few.csv.gz"] = gzip.compress(b"\xef\xbb\xbf" + TRACE.encode(), mtime=0)
    made, plain = opened(packed), opened(package())
    assert made.scenario("mine/few").digest == plain.scenario("mine/few").digest
    packed["few.csv.gz"] = b"\x1f\x8bnonsense"
    with pytest.raises(InvalidInput, match="cannot be unpacked"):
        opened(packed)


def test_a_trace_of_too_many_rows_is_refused_before_it_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quintain_system.engine.inputs.MAX_INPUTS", 3)
    for last in ("7.0,5,1.0\n", '7.0,"5",1.0\n'):
        with pytest.raises(InvalidInput, match="has more than 3 rows; split it by time") as found:
            opened(package(trace=TRACE + last))
        assert found.value.field == "few.csv:5"


@pytest.mark.parametrize(
    ("left_out", "words"),
    [
        ({"system": None}, "system.toml: is missing"),
        ({"model": None}, "model.py: is missing"),
        ({"suite": None}, "suite.toml: is missing"),
        ({"baselines/fifo.py": None}, "baselines/: has no .py file"),
    ],
)
def test_a_file_that_is_not_there(left_out: dict[str, None], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        opened(package(**left_out))


def test_inputs_can_come_from_a_workload_of_ones_own() -> None:
    files = package(suite=SUITE.replace(DRAWN, "workload = true"))
    files["workload.py"] = b"""
from quintain_system import Record

def inputs(config, random, duration):
    for number in range(30):
        yield number * 0.5, Record("job", id=number, seconds=0.2 + random.random())
"""
    made = simulator.from_files("mine", files)
    assert isinstance(made, PackageSimulator)
    outcomes = [run(made, "mine/many", made.describe().baselines[0].source) for _ in range(2)]
    assert outcomes[0] == outcomes[1]
    assert outcomes[0].metrics["done"] == 30


def test_two_packages_of_one_content_are_one_build_and_any_change_is_another() -> None:
    first, second = (simulator.from_files("mine", package()) for _ in range(2))
    other = simulator.from_files("mine", package(model=MODEL + "\n"))
    assert first.describe().build == second.describe().build != other.describe().build
