"""A policy in the caller's own process: for trusted policies, library use and tests. No isolation whatsoever.

The messages are the same objects that would cross a pipe, so an engine cannot tell the difference; they are just not
encoded.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable
from types import ModuleType
from typing import cast

from quintain.plugins.simulator import (
    POLICY_FILENAME,
    FailureKind,
    GuestSession,
    JsonValue,
    LoadGuest,
    ModelFault,
    OpenPolicy,
    OpenProgram,
    Outcome,
    Policy,
    PolicyError,
    PolicyFailure,
    Program,
    ProgramSimulator,
    RunOptions,
    Scenario,
    Simulator,
)


def policy_failure(error: BaseException, kind: FailureKind) -> PolicyFailure:
    """Describe an exception by the policy's own lines only."""
    lines = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == POLICY_FILENAME]
    line = lines[-1].lineno if lines else None
    if isinstance(error, SyntaxError) and error.filename == POLICY_FILENAME:
        line = error.lineno
    frames = "".join(f"  line {f.lineno}, in {f.name}\n" for f in lines)
    return PolicyFailure(kind, f"{type(error).__name__}: {error}", line=line, traceback=frames)


class InProcessPolicy:
    """`Policy` over a guest session in this process."""

    def __init__(self, load: LoadGuest, source: str, setup: JsonValue) -> None:
        self._on_query: Callable[[JsonValue], JsonValue] | None = None
        try:
            self._session: GuestSession = load(source, setup, self._query)
        except Exception as error:
            raise PolicyError(policy_failure(error, FailureKind.LOAD)) from error

    @property
    def info(self) -> JsonValue:
        return self._session.info

    def ask(self, message: JsonValue, on_query: Callable[[JsonValue], JsonValue] | None = None) -> JsonValue:
        self._on_query = on_query
        try:
            return self._session.answer(message)
        except Exception as error:
            raise PolicyError(policy_failure(error, FailureKind.RAISED)) from error

    def _query(self, question: JsonValue) -> JsonValue:
        if self._on_query is None:
            raise PolicyError(PolicyFailure(FailureKind.PROTOCOL, "a query where none is answered"))
        return self._on_query(question)


def in_process(simulator: Simulator, source: str) -> OpenPolicy:
    """An `OpenPolicy` that runs `source` right here, with the simulator's guest module."""
    load = _guest(simulator.guest_module, simulator.guest_source)

    def open_policy(setup: JsonValue) -> Policy:
        return InProcessPolicy(load, source, setup)

    return open_policy


def _guest(guest_module: str, guest_source: str) -> LoadGuest:
    if guest_module:
        return cast(LoadGuest, importlib.import_module(guest_module).load)
    module = ModuleType("guest")
    sys.modules["guest"] = module  # as in the jail
    exec(compile(guest_source, "guest.py", "exec"), module.__dict__)
    return cast(LoadGuest, module.load)


class _InProcessProgram:
    """`Policy` over a program's guest session in this process."""

    def __init__(self, program: Program, setup: JsonValue) -> None:
        load = _guest(program.guest_module, program.guest_source)
        self._name = program.name
        try:
            self._inner = InProcessPolicy(load, program.source, setup)
        except PolicyError as error:
            raise ModelFault(program.name, error.failure) from error

    @property
    def info(self) -> JsonValue:
        return self._inner.info

    def ask(self, message: JsonValue, on_query: Callable[[JsonValue], JsonValue] | None = None) -> JsonValue:
        try:
            return self._inner.ask(message, on_query)
        except PolicyError as error:
            raise ModelFault(self._name, error.failure) from error


in_process_program: OpenProgram = _InProcessProgram
"""Opens a simulator's program right here: for one that is trusted."""


def simulate(simulator: Simulator, scenario: Scenario, open_policy: OpenPolicy, options: RunOptions) -> Outcome:
    """One run, with the simulator's own programs in this process too: only for a simulator that is trusted."""
    if isinstance(simulator, ProgramSimulator):
        return simulator.run_with_programs(scenario, open_policy, in_process_program, options)
    return simulator.run(scenario, open_policy, options)
