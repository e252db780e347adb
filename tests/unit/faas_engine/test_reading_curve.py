"""Runs in several threads share the curve of memory while reading."""

from typing import Any

from quintain_faas.engine.curve import ReadingCurve


class OvertakenCurve(ReadingCurve):
    """Whatever a thread stores, another one has stored a shorter array right after it."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value[:10] if name == "_steps" else value)


def test_a_thread_gets_as_many_steps_as_it_asked_for_whatever_others_store() -> None:
    assert len(OvertakenCurve(0.01).steps(5000)) >= 5000
