"""The scenarios that people compare results on must not change by accident.

If a change is meant, write the new digests with

    python tests/golden/suites/test_pinned_suites.py > tests/golden/suites/digests.json

and say in the changelog that results before and after cannot be compared.
"""

import json
from pathlib import Path

from quintain_faas.scenario_suite import built_in_suites

PINNED = Path(__file__).with_name("digests.json")


def digests() -> dict[str, dict[str, str]]:
    return {
        name: {f"{e.part.value} {e.scenario}": loaded.scenarios[e.scenario].digest for e in loaded.suite.entries}
        for name, loaded in built_in_suites().items()
    }


def test_the_built_in_scenarios_are_the_pinned_ones() -> None:
    assert digests() == json.loads(PINNED.read_text())


if __name__ == "__main__":
    print(json.dumps(digests(), indent=1))
