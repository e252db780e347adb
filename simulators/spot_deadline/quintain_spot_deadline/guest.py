"""What runs beside a policy: the job as its owner sees it. Standard library and the rules only.

Each message is one tick: ``[tick, whether spot exists in it]``. The answer is a list: what the policy decides for this
tick, and, where it may be called ahead (`remembers_nothing_itself`), what it would decide for the ticks after it if
availability stayed as it is. Nothing about those is known here; the engine takes as many of the answers as turn out to
be about what happened, and the next message says by its tick how many those were.
"""

from __future__ import annotations

import ast
import copy
import functools
import sys
from collections.abc import Callable
from types import CodeType, ModuleType
from typing import Any

from quintain_spot_deadline.rules import MACHINES, NONE, ON_DEMAND, SPOT, Job, Progress

POLICY_FILENAME = "policy.py"
EACH_TICK, AHEAD = "each_tick", "ahead"
MIN_AHEAD, MAX_AHEAD = 2, 16  # ticks after the one that is asked about
_LETTERS = {NONE: "-", SPOT: "s", ON_DEMAND: "d"}
_PLAIN = (bool, int, float, str, type(None))
_MAX_TEXT = 100


class Now:
    """What a policy knows when it decides about a tick. Set anew for every call, but for `memory`."""

    __slots__ = (
        "elapsed", "held", "history", "last", "machines", "memory", "overhead_left", "spot", "tick", "time_left",
        "work_done", "work_left",
    )  # fmt: skip
    tick: int
    elapsed: int  # seconds since the start
    time_left: int  # seconds to the deadline; negative after it
    work_left: int  # seconds
    work_done: int  # seconds
    spot: bool  # does spot exist in this tick?
    last: str  # the machine of the tick before; still "spot" if it has just been lost
    held: str  # the machine that is alive: "none" if spot has just been lost
    overhead_left: int  # seconds of the last launch's overhead that are still to pass
    history: str  # one "1" or "0" a tick, this one included: did spot exist?
    machines: str  # one letter for every tick before this one: "-" none, "s" spot, "d" on-demand
    memory: Any  # a dict of the policy's own, empty at the start of the run


class Session:
    """One loaded policy and the job that it drives."""

    def __init__(self, source: str, job: Job, calling_mode: str) -> None:
        code, may = _compiled(source)
        if calling_mode == AHEAD and not may:
            raise ValueError("cannot be called ahead: it is not evident that it keeps its memory in now.memory only")
        policy = ModuleType("policy")
        sys.modules["policy"] = policy  # where dataclasses and typing look for a class's module
        exec(code, policy.__dict__)
        decide = getattr(policy, "decide", None)
        if not callable(decide):
            raise TypeError("the policy must define a function decide(job, now)")
        self._decide: Callable[[Job, Now], Any] = decide
        self._ahead = MAX_AHEAD if calling_mode != EACH_TICK and may else 0
        self.info: Any = {"calling_mode": AHEAD if self._ahead else EACH_TICK}
        self._job = job
        self._progress = Progress(job)
        self._now = Now()
        self._now.memory = {}
        self._history = self._machines = ""
        self._asked = 0  # the tick of the last message
        self._marks: list[tuple[Any, ...]] = []  # what to go back to: the state after each decision of the last answer

    def answer(self, message: Any) -> Any:
        tick, available = message
        self._go_back_to(tick)
        answers = [self._step(available)]
        far = self._far_enough()
        try:
            while len(self._marks) < far and answers[-1] in MACHINES:
                self._mark()
                answers.append(self._step(available))
        except Exception:  # noqa: BLE001 - it may never come to that; if it does, it is asked about that tick and raises
            pass
        if self._ahead and not self._marks:
            self._ahead = 0  # its memory cannot be copied: it is asked tick by tick from here on
        return answers if answers[-1] in MACHINES or len(answers) == 1 else answers[:-1]

    def _far_enough(self) -> int:
        """How many ticks to think ahead: what has lasted tends to last on."""
        lasted = len(self._history) - len(self._history.rstrip(self._history[-1]))
        return min(self._ahead, max(MIN_AHEAD, lasted))

    def _step(self, available: bool) -> Any:
        """Call the policy for the next tick and let the tick pass."""
        job, progress, now = self._job, self._progress, self._now
        progress.begin(available)
        self._history += "1" if available else "0"
        now.tick = progress.tick
        now.elapsed = progress.tick * job.gap
        now.time_left = job.deadline - now.elapsed
        now.work_left = progress.work_left
        now.work_done = job.duration - progress.work_left
        now.spot = available
        now.last = progress.last
        now.held = progress.held
        now.overhead_left = progress.overhead_left
        now.history = self._history
        now.machines = self._machines
        answer = self._decide(job, now)
        if type(answer) is not str or answer not in MACHINES:
            return repr(answer)[:_MAX_TEXT]
        progress.run(answer, available)
        self._machines += _LETTERS[progress.last]
        return answer

    def _mark(self) -> None:
        progress = self._progress
        memory = _copied(self._now.memory)
        self._marks.append((progress.tick, progress.work_left, progress.overhead_left, progress.last, memory))

    def _go_back_to(self, tick: int) -> None:
        """Forget what was thought about ticks from `tick` on: it was about an availability that has not come."""
        taken = tick - self._asked
        if 0 < taken <= len(self._marks):
            progress, now = self._progress, self._now
            state = self._marks[taken - 1]
            progress.tick, progress.work_left, progress.overhead_left, progress.last, now.memory = state
            self._history = self._history[:tick]
            self._machines = self._machines[:tick]
        self._marks.clear()
        self._asked = tick


@functools.lru_cache(maxsize=8)
def _compiled(source: str) -> tuple[CodeType, bool]:
    """-> (the policy's code, whether it may be called ahead)."""
    tree = ast.parse(source, POLICY_FILENAME)
    return compile(tree, POLICY_FILENAME, "exec", dont_inherit=True), remembers_nothing_itself(tree)


def load(source: str, setup: Any, query: Callable[[Any], Any]) -> Session:
    return Session(source, Job(*setup["job"]), setup["calling_mode"])


def _copied(memory: Any) -> Any:
    """A copy that later changes do not reach."""
    if type(memory) is dict and all(type(value) in _PLAIN for value in memory.values()):
        return memory.copy()
    return copy.deepcopy(memory)


# --------------------------------------------------------------------------------------- may it be called ahead?

_PURE_MODULES = frozenset({"__future__", "bisect", "math", "statistics"})
_FIXED = (ast.Constant, ast.Tuple, ast.Name, ast.UnaryOp, ast.BinOp, ast.operator, ast.unaryop, ast.expr_context)


def remembers_nothing_itself(tree: ast.Module) -> bool:
    """Whether it is evident that nothing but `now.memory` outlives a call: at the top only functions and constants,
    and in the functions nothing that could hold on to something. Says no when in doubt."""
    return all(map(_is_fixed, tree.body)) and not any(map(_may_remember, ast.walk(tree)))


def _is_fixed(statement: ast.stmt) -> bool:
    match statement:
        case ast.FunctionDef(decorator_list=[]):
            arguments = statement.args
            defaults = [*arguments.defaults, *(d for d in arguments.kw_defaults if d is not None)]
            return all(map(_is_constant, defaults))
        case ast.Import(names=names):
            return all(alias.name in _PURE_MODULES for alias in names)
        case ast.ImportFrom(module=module, level=0):
            return module in _PURE_MODULES
        case ast.Assign(targets=targets, value=value):
            return all(isinstance(target, ast.Name) for target in targets) and _is_constant(value)
        case ast.AnnAssign(target=ast.Name(), value=value):
            return value is None or _is_constant(value)
        case ast.Expr(value=ast.Constant()):
            return True
    return False


def _is_constant(value: ast.expr) -> bool:
    return all(isinstance(node, _FIXED) for node in ast.walk(value))


def _may_remember(node: ast.AST) -> bool:
    match node:
        case ast.Global() | ast.Nonlocal() | ast.ClassDef() | ast.Yield() | ast.YieldFrom() | ast.Await():
            return True
        case ast.Import() | ast.ImportFrom():
            return node.lineno is None or not _is_fixed(node)
        case ast.Attribute(attr=name):
            # what is stored on anything but now.memory, and ways to reach what lives longer than a call
            return name.startswith("_") or (isinstance(node.ctx, ast.Store | ast.Del) and name != "memory")
        case ast.Name(id=name):
            return name in _REACHES_OUT
    return False


_REACHES_OUT = frozenset(
    {"globals", "setattr", "delattr", "exec", "eval", "vars", "getattr", "id", "hash", "__import__"}
)
