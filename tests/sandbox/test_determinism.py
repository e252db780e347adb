"""Sources of chance: what a policy commonly uses is the same in every run; what is not shows in a second jail.

The second jail has another hash seed and other addresses, as the verifier's check of determinism has.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from quintain_verifier.sandbox.jail import Jail
from quintain_verifier.sandbox.limits import MIB, Limits

ATTACKS = Path(__file__).parent / "attacks"
LIMITS = Limits(wall_seconds=60, step_seconds=60, cpu_seconds=1, memory_bytes=256 * MIB)


@pytest.fixture(scope="module")
def other_jail() -> Iterator[Jail]:
    with Jail(["act_guest"], isolation="required", hash_seed=1) as jail:
        yield jail


def _answers(jail: Jail, source: str, seed: int = 0) -> list[str]:
    with jail.open(source, guest_module="act_guest", limits=LIMITS, seed=seed) as run:
        policy = run.open_policy({})
        return [json.dumps(policy.ask({"t": t})) for t in range(3)]


@pytest.mark.parametrize(
    "name",
    [
        "nd_01_random_module",
        "nd_03_datetime_now",
        "nd_09_system_random",
        "nd_11_pid",
        "nd_17_time_original",
        "nd_19_honest_seeded",
    ],
)
def test_is_the_same_everywhere(jail: Jail, other_jail: Jail, name: str) -> None:
    source = (ATTACKS / f"{name}.py").read_text()
    answers = _answers(jail, source)
    assert _answers(jail, source) == answers
    assert _answers(other_jail, source) == answers


@pytest.mark.parametrize("name", ["nd_05_hash_str", "nd_13_clock_coarse_ctypes"])
def test_shows_in_the_second_jail(jail: Jail, other_jail: Jail, name: str) -> None:
    source = (ATTACKS / f"{name}.py").read_text()
    assert _answers(jail, source) != _answers(other_jail, source)


def test_the_order_of_a_set_of_names_shows_in_the_second_jail(jail: Jail, other_jail: Jail) -> None:
    source = "def act(o):\n    return list({f'function-{i}' for i in range(100)})"
    assert _answers(jail, source) == _answers(jail, source)
    assert _answers(jail, source) != _answers(other_jail, source)


@pytest.mark.parametrize(
    "expression",
    [
        "random.Random().random()",
        "(random.seed(), random.random())[1]",
        "random.sample(range(1000), 5)",
        "[uuid.uuid4().hex, secrets.token_hex(4), os.urandom(4).hex()]",
        "[time.time(), time.time_ns(), time.monotonic(), time.perf_counter(), time.localtime(), time.strftime('%X')]",
        "str([datetime.datetime.now(), datetime.datetime.now(datetime.UTC), datetime.date.today()])",
    ],
)
def test_common_sources_of_chance_are_seeded(jail: Jail, other_jail: Jail, expression: str) -> None:
    source = f"import datetime, os, random, secrets, time, uuid\ndef act(o):\n    return {expression}"
    answers = _answers(jail, source)
    assert _answers(other_jail, source) == answers
    if "random" in expression:
        assert len(set(answers)) == 3
        assert _answers(jail, source, seed=7) != answers


def test_time_passes_so_that_loops_with_a_deadline_end(jail: Jail) -> None:
    source = (
        "import time\ndef act(o):\n    end, n = time.monotonic() + 0.001, 0\n"
        "    while time.monotonic() < end:\n        n += 1\n    time.sleep(60)\n    return n"
    )
    assert 900 < int(_answers(jail, source)[0]) <= 1000


def test_the_patched_datetime_is_still_one(jail: Jail) -> None:
    source = (
        "import datetime, random\ndef act(o):\n    now = datetime.datetime.now()\n"
        "    return [isinstance(now, datetime.date), (now + datetime.timedelta(hours=1) - now).seconds,"
        " repr(datetime.datetime(2026, 1, 2)), random.Random(3).random() == random.Random(3).random()]"
    )
    assert json.loads(_answers(jail, source)[0]) == [True, 3600, "datetime.datetime(2026, 1, 2, 0, 0)", True]
