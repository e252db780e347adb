"""What the batch interfaces may send beside what they should: nothing of it is a crash, or an answer twice."""

from __future__ import annotations

import pytest

from quintain_generator.backends.batch_body import line_of
from quintain_generator.domain.generation import call_name


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ('{"custom_id": "b"}\n{"custom_id": "a", "n": 1}\n', 1),
        ('\n\n[]\nnot json\n{"custom_id": null}\n{"custom_id": "a", "n": 2}', 2),
        ('{"custom_id": "a", "n": 3}\r\n', 3),
        ('{"custom_id": "b"}', None),
        ("", None),
    ],
)
def test_a_call_is_found_by_its_name_wherever_it_stands(body: str, found: int | None) -> None:
    line = line_of(body, "a")
    assert (line["n"] if line is not None else None) == found


def test_names_of_calls_are_what_providers_take_and_are_never_the_same() -> None:
    ids = ["s1/1", "s1:1", "s1/11", "x" * 128, "x" * 127 + "y"]
    names = [call_name(name, attempt) for name in ids for attempt in (1, 2, 11)]
    assert len(set(names)) == len(names)
    assert all(len(name) <= 64 and name.replace("_", "").replace("-", "").isalnum() for name in names)
