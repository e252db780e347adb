"""The interface between quintain and a simulator.

A simulator is a deterministic model of a system. It owns its policy interface, scenarios, objectives, baselines and
bounds, and is found by the entry point group ``quintain.simulators`` (the entry point loads an object that satisfies
`Simulator`). Everything here is plain data and standard library: a simulator depends on nothing else of quintain.

Three kinds of code meet in a run:

* the simulator's *engine*: trusted, holds the truth and the score, runs in the verifier's process;
* the *policy*: hostile, runs in another process;
* the simulator's *guest* module: runs beside the policy, turns the engine's messages into the objects that a policy
  works with (a mirror of the observable state) and the policy's decisions into messages. The engine believes nothing
  that a guest says: every message from it is the policy's word.

Life cycle: one `Simulator` object a process, made at start-up, used from several threads at once, so its methods must
be pure functions of their arguments (caches are fine). No clock, no global random state, no environment.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, runtime_checkable

JsonValue: TypeAlias = "bool | int | float | str | Sequence[JsonValue] | Mapping[str, JsonValue] | None"


# --------------------------------------------------------------------------------------------------------- failures


class FailureKind(enum.Enum):
    """Why a policy failed. Every kind is the policy's own doing; a machine's fault is never one of these."""

    LOAD = "load"  # the source does not compile, raises at import, or lacks an entry point
    RAISED = "raised"  # an exception left the policy
    REJECTED = "rejected"  # the engine refused a decision: `rule` says which rule broke
    PROTOCOL = "protocol"  # the policy process spoke out of turn or not in the message format
    DECISION_SIZE = "decision_size"  # one decision was larger than the limit
    CPU_LIMIT = "cpu_limit"
    MEMORY_LIMIT = "memory_limit"
    WALL_LIMIT = "wall_limit"  # wall time went by without the CPU being used up: retryable, never cached
    DIED = "died"  # the policy process ended in the middle of a run
    FORBIDDEN = "forbidden"  # killed for a system call that no policy has an honest reason for
    NONDETERMINISTIC = "nondeterministic"  # two runs of the same request decided differently


@dataclass(frozen=True, slots=True)
class PolicyFailure:
    """What went wrong, said so that the policy's author can mend it.

    `rule` is a stable lower_snake_case name of the broken rule (REJECTED only). `time_seconds` is simulated time and
    `step` the simulator's own step number (tick, request number); both None before the first step. `line` is the
    policy's own line number; `traceback` holds only frames of the policy's source.
    """

    kind: FailureKind
    message: str
    rule: str = ""
    step: int | None = None
    time_seconds: float | None = None
    line: int | None = None
    traceback: str = ""


class PolicyError(Exception):
    """Raised by a `Policy` or an engine when the policy failed. Carries the `PolicyFailure`."""

    def __init__(self, failure: PolicyFailure) -> None:
        super().__init__(f"{failure.kind.value}: {failure.message}")
        self.failure = failure


class InvalidInput(ValueError):
    """The caller's input is wrong: an unknown name, a malformed scenario or trace.

    `field` is the place (``trace.csv:12:arrival_seconds``, ``suite``), the message says what was found and what
    would be right.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


class SimulatorFault(Exception):
    """The simulator itself failed (a bug, a remote simulator that died in a run). Never blamed on the policy, never
    cached."""


class SimulatorUnavailable(SimulatorFault):
    """A remote simulator that cannot be reached, or does not answer in time: trying again later may help."""


class ModelFault(SimulatorFault):
    """A program of the simulator's that is jailed like a policy (its model, say) failed.

    `program` is the file's name (``model.py``), `failure` says what went wrong, with the program's own line.
    """

    def __init__(self, program: str, failure: PolicyFailure) -> None:
        rule = f" {failure.rule}" if failure.rule else ""
        where = f"{program}:{failure.line}" if failure.line is not None else program
        super().__init__(f"{where}: {failure.kind.value}{rule}: {failure.message}")
        self.program = program
        self.failure = failure


# ------------------------------------------------------------------------------------------------- talking to a policy


class Policy(Protocol):
    """A loaded policy in some other place, seen from the engine. Turn-based: one message, one answer.

    Not thread safe: one run, one thread. `ask` raises `PolicyError` for everything the policy does wrong, limits
    included; after that the policy is dead and must not be asked again.
    """

    @property
    def info(self) -> JsonValue:
        """What the guest said about the policy after loading it (its calling mode, say). The policy's word."""

    def ask(self, message: JsonValue, on_query: Callable[[JsonValue], JsonValue] | None = None) -> JsonValue:
        """Send `message` to the guest's session and return its answer.

        Before it answers, the guest may ask back; each query is handed to `on_query` and its return value sent.
        A query without `on_query` is a protocol failure. Messages are JSON values; ints stay ints and floats floats,
        non-finite floats and integers of more than 64 bits do not exist.
        """


class OpenPolicy(Protocol):
    """Starts a fresh policy for one run, and ends the one that it started before. The caller of `Simulator.run` owns
    and closes what this opens."""

    def __call__(self, setup: JsonValue) -> Policy:
        """Load the policy with the guest's `setup` (what the guest may know before the first message)."""


@dataclass(frozen=True, slots=True)
class Program:
    """A part of a simulator that is not trusted: source that runs in a jailed process of its own, beside the policy's,
    with no way to reach it.

    `name` is the file's name, for people. `guest_module` is one of the simulator's `program_guests`, or empty if
    `guest_source` is given instead (a remote simulator's); `seed` is of the program's own ``random``.
    """

    name: str
    source: str
    guest_module: str
    seed: int = 0
    guest_source: str = ""


class OpenProgram(Protocol):
    """Starts a program of the simulator's for one run. The caller of `run_with_programs` owns and closes what this
    opens. Whatever the program does wrong is raised as ModelFault, never as PolicyError."""

    def __call__(self, program: Program, setup: JsonValue) -> Policy: ...


@runtime_checkable
class GuestSession(Protocol):
    """What a guest module's ``load`` returns. Lives in the untrusted process."""

    info: JsonValue

    def answer(self, message: JsonValue) -> JsonValue:
        """Handle one message of the engine. Whatever it raises is reported as the policy's failure."""


class LoadGuest(Protocol):
    """Signature of ``load`` in a guest module (a guest module imports the standard library and itself, no more).

    `query` sends a question to the engine in the middle of an answer and returns the reply. The policy's source is
    to be compiled with the filename ``POLICY_FILENAME`` so that its own lines can be told apart in a traceback.
    """

    def __call__(self, source: str, setup: JsonValue, query: Callable[[JsonValue], JsonValue]) -> GuestSession: ...


POLICY_FILENAME = "policy.py"

# The part of the standard library that a policy may import, with what is built into the interpreter: nothing can be
# loaded once a policy's process is locked down, so these are loaded before.
POLICY_MODULES = (
    "__future__", "_strptime", "abc", "argparse", "array", "ast", "base64", "binascii", "bisect", "builtins",
    "calendar", "cmath", "codecs", "collections", "collections.abc", "colorsys", "configparser", "contextlib",
    "contextvars", "copy", "copyreg", "csv", "dataclasses", "datetime", "decimal", "difflib", "enum", "errno",
    "fnmatch", "fractions", "functools", "gc", "graphlib", "hashlib", "heapq", "html", "inspect", "io", "itertools",
    "json", "keyword", "logging", "math", "numbers", "operator", "os", "os.path", "pathlib", "pickle",
    "pprint", "queue", "random", "re", "reprlib", "sched", "secrets", "shlex", "stat", "statistics", "string",
    "struct", "sys", "textwrap", "threading", "time", "timeit", "tokenize", "traceback", "types", "typing",
    "unicodedata", "uuid", "warnings", "weakref", "zlib",
)  # fmt: skip


# --------------------------------------------------------------------------------------------- what a simulator offers


class Direction(enum.Enum):
    MAXIMIZE = "maximize"
    MINIMIZE = "minimize"


class Part(enum.Enum):
    """Train scenarios steer a search; held-out ones are never shown to a backend."""

    TRAIN = "train"
    HELD_OUT = "held_out"


class Aggregation(enum.Enum):
    """How the scored values of a suite's scenarios become one score."""

    # Median of the metric itself, in its unit; with a broken floor in a scenario at most as good as that scenario.
    MEDIAN_VALUE = "median_value"
    MEAN_NORMALIZED = "mean_normalized"  # mean of ScenarioScore.normalized, in [0, 1], always maximised


class Fidelity(enum.Enum):
    """How far a model that was fitted to recordings of a system is to be trusted, by its fidelity card."""

    VERIFIED = "verified"
    UNVERIFIED = "unverified"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Objective:
    """A metric, which way is better, its unit (``containers/s``, ``s``), and how it is made from a run."""

    name: str
    metric: str
    unit: str
    direction: Direction
    description: str


@dataclass(frozen=True, slots=True)
class Scenario:
    """One workload + cluster + seed. `spec` is the simulator's own; nobody else looks inside.

    `digest` is the sha256 (hex) of everything the outcome depends on beside the policy and the simulator's build.
    `cost` is a relative estimate of the work to simulate it (cheap ones run first).
    """

    name: str
    digest: str
    description: str
    spec: object = field(repr=False, compare=False)
    cost: float = 1.0


@dataclass(frozen=True, slots=True)
class SuiteEntry:
    """Entries of one `group` are one situation in several models of a system, each called by its `model`: the worst of
    them counts. An empty group: by itself. Held-out entries of one `section` are also scored by themselves: a policy is
    promoted if it holds in each of them."""

    scenario: str
    part: Part
    group: str = ""
    model: str = ""
    section: str = ""


@dataclass(frozen=True, slots=True)
class Suite:
    name: str
    description: str
    objective: str
    aggregation: Aggregation
    entries: tuple[SuiteEntry, ...]


@dataclass(frozen=True, slots=True)
class Baseline:
    """A policy to compare with, in the simulator's own policy language. The first one is the default and a search's
    seed."""

    name: str
    description: str
    source: str


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A behavioural axis for quality-diversity: a metric and its bin edges (ascending; n edges make n + 1 bins)."""

    metric: str
    edges: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class RequiredDefinition:
    """What a policy's source must define: a top-level function or class by name, or a function decorated by a name.
    Of names with ``|`` between them, one is enough."""

    kind: str  # "function" | "decorator"
    name: str
    description: str


@dataclass(frozen=True, slots=True)
class Description:
    """What a generator, a prompt and a person need to know. Texts are Markdown and name the domain; nothing else
    does."""

    name: str
    title: str
    build: str  # digest of the simulator's code and data: part of every verdict's identity
    policy_guide: str  # the system, the policy interface, pitfalls, a minimal example; nothing of single scenarios
    required_definitions: tuple[RequiredDefinition, ...]
    objectives: tuple[Objective, ...]
    suites: tuple[str, ...]
    baselines: tuple[Baseline, ...]
    descriptors: tuple[Descriptor, ...] = ()
    grammar: str = ""  # JSON, see quintain.plugins.grammar; empty: the offline backend can only mutate
    # Names for RunOptions.calling_mode; the first is the most literal one (every step asks the policy), in which a
    # verdict is confirmed. Empty: there is one way only.
    calling_modes: tuple[str, ...] = ()
    # What is known of the built-in scenarios: sizes and scores measured on them. A search may leave it out, so that
    # what it finds is its backend's own.
    hints: str = ""
    # Suites that are known and cannot be offered here (recorded data that are not shipped), with the reason. They are
    # not among `suites`; `Simulator.suite` raises InvalidInput with the reason.
    unavailable_suites: Mapping[str, str] = field(default_factory=dict)
    # Of a model that was fitted to recordings, and in a line why it is no better; None: it is no such model. `build`
    # must cover both.
    fidelity: Fidelity | None = None
    fidelity_reason: str = ""


# ----------------------------------------------------------------------------------------------------- what a run gives


@dataclass(frozen=True, slots=True)
class RunOptions:
    """`calling_mode` is one of the simulator's own names; empty lets it choose. `timeline` asks for the whole timeline
    (a picture's worth); without it only the slice around the worst moment is kept. `told_log` asks for
    `Outcome.told_log`. `policy_digest` is the sha256 (hex) of the policy's source, by which a simulator may keep what
    the runs of one policy share; empty if the caller does not say."""

    calling_mode: str = ""
    timeline: bool = False
    told_log: bool = False
    policy_digest: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """Metrics of one class of work (query, interactive, batch); `metrics` in a fixed order."""

    name: str
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class TimelineEvent:
    time_seconds: float
    text: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run of one policy on one scenario gave: a pure function of (policy, scenario, build).

    `metrics` holds finite floats in a fixed order; what does not exist is absent (never NaN). With a `failure`,
    metrics say how far it came. `decisions_digest` is the sha256 (hex) over every decision in order, `decision_log`
    (at most a few thousand short entries) lets two runs be compared; `detail` is the simulator's own JSON document
    (a full timeline for pictures), empty unless asked for. `told_log` has for each call of the policy two words:
    a digest of all that it was told so far, and one of all that it decided before. A simulator that keeps it can be
    told apart from a policy when two runs of one request part.
    """

    scenario: str
    metrics: Mapping[str, float]
    groups: tuple[Group, ...]
    decisions_digest: str
    calling_mode: str
    failure: PolicyFailure | None = None
    failures_by_reason: Mapping[str, int] = field(default_factory=dict)
    timeline: tuple[TimelineEvent, ...] = ()
    decision_log: tuple[str, ...] = ()
    detail: str = ""
    told_log: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Floor:
    """A floor that the objective demands and what was reached; `reached < required` breaks it."""

    name: str
    required: float
    reached: float


@dataclass(frozen=True, slots=True)
class ScenarioScore:
    """One scenario under one objective.

    `value` is the metric after floors and failures were counted (a failed scenario has the worst value); `raw` the
    metric as measured (None if it does not exist). `normalized` is in [0, 1]: 0 the worst, 1 the provable bound.
    `bound` is None where no bound is known, and then `normalized` is relative to whatever the simulator documents.
    """

    value: float
    raw: float | None
    normalized: float
    baseline: float
    bound: float | None
    floors: tuple[Floor, ...] = ()

    @property
    def broken_floors(self) -> tuple[Floor, ...]:
        return tuple(f for f in self.floors if f.reached < f.required)


@runtime_checkable
class Simulator(Protocol):
    """A simulator as the verifier sees it. All methods are thread safe and deterministic."""

    @property
    def guest_module(self) -> str:
        """Dotted name of the guest module (``quintain_faas.guest``): imported in the untrusted process. Importing
        it must not import the engine. Empty if `guest_source` is given instead."""

    @property
    def guest_source(self) -> str:
        """Source of a guest module that is not installed (a remote simulator's); it is executed in the untrusted
        process and is as hostile as the policy. Empty when `guest_module` is set."""

    def describe(self) -> Description: ...

    def suite(self, name: str) -> Suite:
        """Raises InvalidInput for an unknown name, naming the known ones."""

    def scenario(self, name: str) -> Scenario:
        """Raises InvalidInput for an unknown name, naming the known ones."""

    def inline_scenario(self, name: str, files: Mapping[str, bytes]) -> Scenario:
        """A scenario from the caller's files (``scenario.toml``, ``trace.csv``). Raises InvalidInput with the file, row
        and column."""

    def run(self, scenario: Scenario, open_policy: OpenPolicy, options: RunOptions) -> Outcome:
        """Simulate. Calls `open_policy` once, or once for each of several independent runs: every call gives a policy
        that knows nothing of the ones before, and ends them; the limits hold for all together. A `PolicyError` never
        leaves: it becomes `Outcome.failure` with the step and time at which it happened. Raises SimulatorFault for the
        simulator's own trouble."""

    def score(self, objective: str, scenario: Scenario, outcome: Outcome, baseline: Outcome) -> ScenarioScore:
        """Score `outcome` against the default baseline's outcome on the same scenario. Raises InvalidInput for an
        unknown objective."""


# These say what a simulator may offer beside `Simulator`. They repeat nothing of it, so that asking whether one
# does (isinstance) reads no attribute of a remote simulator that would have to be fetched.


@runtime_checkable
class ProgramSimulator(Protocol):
    """A simulator that does not trust all of itself: a part of it (a model that somebody wrote) runs jailed, like a
    policy. Its `run` raises SimulatorFault; its baselines are not trusted either."""

    @property
    def program_guests(self) -> tuple[str, ...]:
        """Guest modules that its programs are loaded by; same rules as for `guest_module`."""

    def run_with_programs(
        self, scenario: Scenario, open_policy: OpenPolicy, open_program: OpenProgram, options: RunOptions
    ) -> Outcome:
        """As `run`, with at most MAX_PROGRAMS calls of `open_program`. ModelFault passes through."""


MAX_PROGRAMS = 4  # in one run


@runtime_checkable
class ManySystems(Protocol):
    """A simulator that is another one in each of its suites: own guide, objectives, baselines, build."""

    def narrowed(self, suite: str = "", scenarios: Sequence[str] = ()) -> Simulator:
        """The simulator of one suite, or of scenarios by name, which must belong together. Raises InvalidInput."""


@runtime_checkable
class ScenarioNotes(Protocol):
    """A simulator that says of a scenario what an author of policies may know of it before the first run."""

    def scenario_notes(self, scenario: Scenario) -> str:
        """Markdown, at most some 1,500 characters, one fact a line: sizes, parameters, what comes and what it needs by
        class, what binds, what the bound assumes, how ids look. A line that is equal in all scenarios of a suite is
        shown once, so keep what differs apart from what does not. A function of the scenario; asked for of train
        scenarios only, when a search begins."""


def scenario_notes(simulator: Simulator, scenario: Scenario) -> str:
    """What `simulator` says of `scenario`; empty if it says nothing of scenarios."""
    return simulator.scenario_notes(scenario) if isinstance(simulator, ScenarioNotes) else ""


@runtime_checkable
class SuiteReader(Protocol):
    """A simulator that takes suites of the caller's own."""

    def from_files(self, name: str, files: Mapping[str, bytes]) -> Simulator:
        """The simulator of a suite called `name` that comes as a folder's files (relative name -> content).

        Of a folder with several suites, ``name`` is ``folder/suite``. Pure: equal arguments give a simulator of equal
        build and digests. Raises InvalidInput with file, line and key.
        """

    def suite_template(self, name: str) -> Mapping[str, bytes]:
        """The files of a small commented suite that runs, to begin one's own with. Raises InvalidInput for a name that
        cannot be."""

    def suite_notes(self, name: str, files: Mapping[str, bytes]) -> Sequence[str]:
        """What the author of a suite should know of it, one line each: what policies do not see, what is weak."""


def narrowed(
    simulator: Simulator, suite: str = "", scenarios: Sequence[str] = (), files: Mapping[str, bytes] | None = None
) -> Simulator:
    """The simulator that a suite (or scenarios by name) are about: `simulator` itself for most.

    With `files` the suite is one of the caller's own, called `suite`. Raises InvalidInput, also if the simulator takes
    none.
    """
    if files is None:
        return simulator.narrowed(suite, scenarios) if isinstance(simulator, ManySystems) else simulator
    if not isinstance(simulator, SuiteReader):
        raise InvalidInput("suite_files", f"simulator {simulator.describe().name} takes no suites of one's own")
    if not suite:
        raise InvalidInput("suite", "is empty; a suite that comes as files needs a name")
    return simulator.from_files(suite, files)


def files_digest(files: Mapping[str, bytes]) -> str:
    """sha256 (hex) over the names and contents of a suite's files: the suite's identity."""
    sha = hashlib.sha256()
    for name in sorted(files):
        sha.update(f"{name}\0{len(files[name])}\0".encode())
        sha.update(files[name])
    return sha.hexdigest()
