"""One policy in one fresh child, for one run."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from types import TracebackType
from typing import Any, NoReturn

from quintain.plugins.simulator import FailureKind, JsonValue, Policy, PolicyError, PolicyFailure
from quintain_verifier.sandbox.faults import RunCancelled, SandboxFault
from quintain_verifier.sandbox.forkserver import Child, Exit, ForkServer
from quintain_verifier.sandbox.frames import BadFrame, Channel, ChannelClosed, DeadlinePassed, FrameTooLarge
from quintain_verifier.sandbox.inside.session import MAX_FRAMES, MAX_MESSAGE_CHARACTERS, MAX_TYPE_CHARACTERS
from quintain_verifier.sandbox.limits import KIB, MAX_LIMITS, MIB, Limits
from quintain_verifier.sandbox.report import IsolationReport
from quintain_verifier.sandbox.same_core import SameCore

READY_SECONDS = 10.0  # fork and lock-down: milliseconds, but a server has many to serve
EXIT_SECONDS = 2.0  # from a hang-up to the news of the child's end
REAP_SECONDS = 10.0  # from SIGKILL to the news of the child's end
REPORT_BYTES = 64 * KIB  # a report or a description of an error
_CPU_SHARE = 0.9  # of the CPU limit: who used so much when the wall deadline came has used it up
_CPU_SLACK_SECONDS = 0.5  # the clock that RLIMIT_CPU is held against and the one that is reported differ
_GREEDY_SHARE = 0.5  # of the memory limit: who had so much and was killed by nobody we know died of it
_MAX_LINE = 10_000_000
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]")

_KILLED_BY = {
    FailureKind.PROTOCOL: "protocol",
    FailureKind.DECISION_SIZE: "size",
    FailureKind.CPU_LIMIT: "cpu",
    FailureKind.MEMORY_LIMIT: "memory",
    FailureKind.WALL_LIMIT: "wall",
}

_ChannelTrouble = (BadFrame, FrameTooLarge, ChannelClosed, DeadlinePassed)


@dataclass(frozen=True, slots=True)
class ResourceUsage:
    """What the child used; known after the run. `killed_by`: empty if it was alive to the end, else ``cpu``,
    ``memory``, ``wall``, ``protocol``, ``size``, ``cancel``, ``fault``, ``exit N`` or a signal's name."""

    cpu_seconds: float
    max_rss_bytes: int
    wall_seconds: float
    killed_by: str


@dataclass(frozen=True, slots=True)
class JailedProgram:
    """What a child is to load."""

    source: str
    guest_module: str
    guest_source: str
    seed: int


class JailedRun:
    """A child that waits for its policy; made by `Jail.open`. A context manager: at its end nothing of it is left.

    One thread uses it; `cancel` may come from any other. `isolation` is this child's own report.
    """

    isolation: IsolationReport

    def __init__(
        self, server: ForkServer, program: JailedProgram, limits: Limits, *, strict: bool, core: SameCore | None
    ) -> None:
        """Fork the child and hear its report. Raises SandboxFault."""
        self._server, self._program, self._limits, self._core = server, program, limits, core
        self._started = monotonic()
        self._waited = 0.0
        self._lock = threading.Lock()
        self._cancelled = self._closed = self._opened = False
        self._killed_by = ""
        self._wall_seconds: float | None = None  # set at the end
        self._end, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with theirs:
                self._child: Child = server.fork(theirs, limits.cpu_seconds, limits.memory_bytes)
        except BaseException:
            self._end.close()
            raise
        self._channel = Channel(self._end, max(limits.decision_bytes, REPORT_BYTES))
        try:
            self.isolation = self._hear_report(strict)
        except BaseException:
            self._killed_by = "fault"
            self.close()
            raise

    def _hear_report(self, strict: bool) -> IsolationReport:
        try:
            frame, _ = self._channel.receive(READY_SECONDS)
        except DeadlinePassed as error:
            self._server.quarantine("too slow to start a run")
            raise SandboxFault(f"a child was not ready after {READY_SECONDS} s") from error
        except _ChannelTrouble as error:
            self._child.exited.wait(EXIT_SECONDS)
            raise SandboxFault(f"a child ended before it was ready: {self._child.exit}") from error
        if frame[0] != "ready" or len(frame) != 2:
            raise SandboxFault("a child did not report its isolation")
        return IsolationReport.from_ready(frame[1], strict=strict)

    # ------------------------------------------------------------------------------------------------- the policy

    def open_policy(self, setup: JsonValue) -> Policy:
        """Load the policy (once). Raises PolicyError, SandboxFault, RunCancelled."""
        if self._opened:
            raise RuntimeError("a jailed run opens its policy once")
        self._opened = True
        program = self._program
        try:
            size = len(program.source.encode())
        except UnicodeEncodeError as error:
            self._fail(FailureKind.LOAD, f"the source is not valid Unicode: {error.reason} at character {error.start}")
        if size > self._limits.source_bytes:
            self._fail(FailureKind.LOAD, f"the source has {size} bytes; the limit is {self._limits.source_bytes}")
        load = {
            "source": program.source,
            "setup": setup,
            "guest_module": program.guest_module,
            "guest_source": program.guest_source,
            "seed": program.seed,
        }
        kind, info = self._exchange(["load", load], FailureKind.LOAD)
        if kind != "loaded":
            self._fail(FailureKind.PROTOCOL, f"sent {kind!r} where only 'loaded' may come")
        return JailedPolicy(self, info)

    def converse(self, message: JsonValue, on_query: Callable[[JsonValue], JsonValue] | None) -> JsonValue:
        frame = ["ask", message]
        while True:
            kind, value = self._exchange(frame, FailureKind.RAISED)
            if kind == "answer":
                return value
            if kind != "query" or on_query is None:
                self._fail(FailureKind.PROTOCOL, f"sent {kind!r} where it may not come")
            try:
                frame = ["reply", on_query(value)]
            except BaseException:
                self.close()  # the child waits for a reply that will not come
                raise

    def _exchange(self, frame: list[Any], raised: FailureKind) -> tuple[str, JsonValue]:
        """Send one message, hear one: its kind and value. Not ``loaded``, ``answer`` or ``query``: a failure."""
        if self._closed:
            raise RuntimeError("the run is over: its policy must not be asked again")
        try:
            started, patience = monotonic(), self._patience()
            if self._core is not None:
                self._core.turn(self._child, started)
            self._channel.send(frame, patience)
            reply, size = self._channel.receive(patience - (monotonic() - started))
            self._waited += monotonic() - started
        except _ChannelTrouble as trouble:
            self._diagnose(trouble)
        kind = reply[0]
        if kind not in ("answer", "query", "loaded") or len(reply) != 2:
            self._report_error(reply, raised)
        limits, channel = self._limits, self._channel
        if size > limits.decision_bytes:
            self._too_large(size)
        if channel.bytes_received > limits.output_bytes:
            self._fail(FailureKind.DECISION_SIZE, f"it sent more than {limits.output_bytes} bytes in all")
        if channel.messages_received > limits.messages:
            self._fail(FailureKind.PROTOCOL, f"it sent more than {limits.messages} messages")
        return kind, reply[1]

    def _patience(self) -> float:
        """Seconds that the next exchange may take."""
        return min(self._limits.step_seconds, self._limits.wall_seconds - self._waited)

    # --------------------------------------------------------------------------------------------------- failures

    def _fail(self, kind: FailureKind, message: str, *, line: int | None = None, traceback: str = "") -> NoReturn:
        self._killed_by = self._killed_by or _KILLED_BY.get(kind, "")
        self.close()
        raise PolicyError(PolicyFailure(kind, message, line=line, traceback=traceback))

    def _too_large(self, size: int) -> NoReturn:
        self._fail(FailureKind.DECISION_SIZE, f"a message of {size} bytes; the limit is {self._limits.decision_bytes}")

    def _report_error(self, frame: list[Any], raised: FailureKind) -> NoReturn:
        """The policy process says that something failed. Its word, in a checked shape."""
        match frame:
            case ["unsendable", str(what)]:
                what = _clean(what, MAX_MESSAGE_CHARACTERS)
                self._fail(FailureKind.PROTOCOL, f"the answer is not a JSON value: {what}")
            case ["error", str(name), str(message), line, list(frames)] if _is_line(line) and _are_frames(frames):
                name = _clean(name, MAX_TYPE_CHARACTERS).replace("\n", " ")
                message = _clean(message, MAX_MESSAGE_CHARACTERS)
                if name == "MemoryError":
                    raised = FailureKind.MEMORY_LIMIT
                    message = message or f"out of memory (limit: {self._limits.memory_bytes // MIB} MiB)"
                lines = "".join(f"  line {at}, in {_clean(where, MAX_TYPE_CHARACTERS)}\n" for at, where in frames)
                self._fail(raised, f"{name}: {message}", line=line, traceback=lines)
        self._fail(FailureKind.PROTOCOL, f"a message of an unknown kind or shape: {_clean(str(frame[0]), 80)!r}")

    def _diagnose(self, trouble: Exception) -> NoReturn:
        """Something happened to the channel: find out what ended the run, end it, say so."""
        if isinstance(trouble, ChannelClosed):
            self._child.exited.wait(EXIT_SECONDS)
        ended_by_itself = self._child.exited.is_set()
        self.close()
        if self._cancelled:
            raise RunCancelled
        exit, limits = self._child.exit, self._limits
        if isinstance(trouble, BadFrame):
            self._fail(FailureKind.PROTOCOL, str(trouble))
        if isinstance(trouble, FrameTooLarge):
            if trouble.size > MAX_LIMITS.decision_bytes:
                self._fail(FailureKind.PROTOCOL, f"a message that is {trouble.size} bytes long, or no message at all")
            self._too_large(trouble.size)
        if exit is None:
            raise SandboxFault("the fork server ended in the middle of a run") from trouble
        if isinstance(trouble, DeadlinePassed):
            if exit.cpu_seconds >= _CPU_SHARE * limits.cpu_seconds:
                self._over_cpu()
            self._fail(
                FailureKind.WALL_LIMIT,
                f"no answer in time: {limits.step_seconds} s for one, {limits.wall_seconds} s for all;"
                f" it used {exit.cpu_seconds:.1f} s of CPU",
            )
        if not ended_by_itself:
            self._fail(FailureKind.DIED, "it closed its channel")
        self._explain_death(exit)

    def _explain_death(self, exit: Exit) -> NoReturn:
        limits = self._limits
        if not os.WIFSIGNALED(exit.status):
            code = os.waitstatus_to_exitcode(exit.status)
            self._killed_by = f"exit {code}"
            self._fail(FailureKind.DIED, f"the policy process ended with exit status {code}")
        number = os.WTERMSIG(exit.status)
        name = signal.Signals(number).name if number in signal.valid_signals() else f"signal {number}"
        if number == signal.SIGSYS:
            self._killed_by = name
            self._fail(FailureKind.FORBIDDEN, "killed for a system call that no policy has an honest reason for")
        killed = number in (signal.SIGKILL, signal.SIGXCPU)
        if killed and exit.cpu_seconds >= min(limits.cpu_seconds - _CPU_SLACK_SECONDS, _CPU_SHARE * limits.cpu_seconds):
            self._over_cpu()
        if exit.max_rss_bytes >= _GREEDY_SHARE * limits.memory_bytes:
            self._fail(FailureKind.MEMORY_LIMIT, f"killed near its limit of {limits.memory_bytes // MIB} MiB")
        if killed:
            self._killed_by = "fault"
            raise SandboxFault("the policy process was killed from outside")
        self._killed_by = name
        hint = " (a crash in native code)" if number == signal.SIGSEGV else ""
        self._fail(FailureKind.DIED, f"the policy process was ended by {name}{hint}")

    def _over_cpu(self) -> NoReturn:
        self._fail(FailureKind.CPU_LIMIT, f"used up its {self._limits.cpu_seconds} s of CPU time")

    # ------------------------------------------------------------------------------------------------------ its end

    @property
    def usage(self) -> ResourceUsage:
        """Zeros where a fork server took the figures with it. Raises RuntimeError before the run is closed."""
        if self._wall_seconds is None:
            raise RuntimeError("the usage of a run is known after its end")
        exit = self._child.exit
        return ResourceUsage(
            cpu_seconds=exit.cpu_seconds if exit else 0.0,
            max_rss_bytes=exit.max_rss_bytes if exit else 0,
            wall_seconds=self._wall_seconds,
            killed_by="cancel" if self._cancelled else self._killed_by,
        )

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def waited_seconds(self) -> float:
        """How long the engine has waited for the policy's answers."""
        return self._waited

    @property
    def bytes_received(self) -> int:
        return self._channel.bytes_received

    @property
    def messages_received(self) -> int:
        return self._channel.messages_received

    def cancel(self) -> None:
        """Kill the child now. Its run raises RunCancelled. Any thread, any time, any number of times."""
        with self._lock:
            if self._closed:
                return
            self._cancelled = True
            self._end.shutdown(socket.SHUT_RDWR)  # wakes the run even if the kill is slow
        self._server.kill(self._child)

    def close(self) -> None:
        """Kill the child, wait for its end, note its usage. Harmless when repeated."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._end.close()
        self._server.kill(self._child)
        if not self._child.exited.wait(REAP_SECONDS):
            self._server.quarantine("does not report the end of a run")
            self._child.exited.wait(REAP_SECONDS)
        self._wall_seconds = monotonic() - self._started

    def __enter__(self) -> JailedRun:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class JailedPolicy:
    """`Policy` over a jailed run."""

    def __init__(self, run: JailedRun, info: JsonValue) -> None:
        self.info = info
        self._converse = run.converse

    def ask(self, message: JsonValue, on_query: Callable[[JsonValue], JsonValue] | None = None) -> JsonValue:
        return self._converse(message, on_query)


def _clean(text: str, longest: int) -> str:
    """Hostile text for people, logs and prompts: bounded, no control or direction characters but newline and tab."""
    return _UNPRINTABLE.sub("\ufffd", text[:longest])


def _is_line(line: Any) -> bool:
    return line is None or (type(line) is int and 0 <= line <= _MAX_LINE)


def _are_frames(frames: list[Any]) -> bool:
    return len(frames) <= MAX_FRAMES and all(
        type(frame) is list
        and len(frame) == 2
        and _is_line(frame[0])
        and frame[0] is not None
        and type(frame[1]) is str
        for frame in frames
    )
