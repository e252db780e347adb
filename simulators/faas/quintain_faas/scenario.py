"""Scenarios as files: a TOML table for cluster and run, and a CSV trace or a `[generator]` table for the workload.

    description = "..."

    [run]                      # seconds, ticks, seed (the estimator's and the generator's)
    duration = 600
    ticks_per_second = 100

    [cluster]
    num_pools = 1
    cpus_per_pool = 64
    ram_gb_per_pool = 500

    [workload]
    trace = "trace.csv"        # or "trace.csv.gz"; instead of it a [generator] table

Keys have the names that the simulator's parameters have, so that nothing is renamed between a file, a policy's
``scheduler.params`` and the literature. A key left out has the simulator's default.
"""

from __future__ import annotations

import functools
import hashlib
import json
import tomllib
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from quintain.plugins.simulator import InvalidInput, Scenario
from quintain_faas.params import Params
from quintain_faas.workload import Workload
from quintain_faas.workload.model import MAX_OPERATORS

ReadFile: TypeAlias = Callable[[str], bytes]
"""Gives a file that a scenario names; raises KeyError or OSError if there is none."""

SCENARIO_FILE = "scenario.toml"
TRACE_FILE = "trace.csv"
DIGEST_FORMAT = 1
MAX_TRACE_BYTES = 256 * 2**20

GENERATOR_KEYS = (
    "waiting_seconds_mean",
    "num_pipelines",
    "num_operators",
    "interactive_prob",
    "query_prob",
    "batch_prob",
    "dag_linear_prob",
    "dag_branch_in_prob",
    "dag_branch_out_prob",
)
SECTIONS: Mapping[str, tuple[str, ...]] = {
    "run": ("duration", "ticks_per_second", "random_seed", "max_job_seconds"),
    "cluster": (
        "num_pools",
        "cpus_per_pool",
        "ram_gb_per_pool",
        "multi_operator_containers",
        "allow_memory_overcommit",
    ),
    "estimator": ("estimator_algo", "noisy_estimator_sigma"),
    "generator": GENERATOR_KEYS,
}


@dataclass(frozen=True, slots=True, eq=False)
class FaasScenario:
    """What `Scenario.spec` holds: the simulator's parameters and the trace's CSV text (None: a generated workload).

    `digest` is the sha256 (hex) of everything the outcome depends on; two specs with the same digest are equal.
    """

    params: Params
    trace: bytes | None = field(repr=False)
    trace_name: str = TRACE_FILE
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        params = asdict(self.params)
        del params["policy_params"]  # a scenario has none
        identity: dict[str, object] = {"format": DIGEST_FORMAT, "params": params, "trace": None}
        if self.trace is not None:
            identity["params"] = {key: value for key, value in params.items() if key not in GENERATOR_KEYS}
            identity["trace"] = hashlib.sha256(self.trace).hexdigest()
        text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
        object.__setattr__(self, "digest", hashlib.sha256(text.encode()).hexdigest())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FaasScenario) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    @property
    def cost(self) -> float:
        """Relative work to simulate: the number of operators, known (a trace's lines) or expected (generated)."""
        if self.trace is not None:
            return float(max(1, self.trace.count(b"\n") - 1))
        p = self.params
        rounds = 1 + p.duration / max(p.waiting_seconds_mean, p.tick_length_seconds)
        return max(1.0, rounds * p.num_pipelines * (p.query_prob + (1 - p.query_prob) * p.num_operators))


def spec_of(scenario: Scenario) -> FaasScenario:
    if not isinstance(scenario.spec, FaasScenario):
        raise InvalidInput("scenario", f"{scenario.name!r} was not made by this simulator")
    return scenario.spec


def workload_of(spec: FaasScenario) -> Workload:
    """Parsed once while in use; shared between threads. Raises InvalidInput with the trace's file, row and column."""
    return _workload_of_small(spec) if spec.cost <= SMALL_WORKLOAD else _workload_of_large(spec)


def _read_workload(spec: FaasScenario) -> Workload:
    if spec.trace is None:
        return Workload.generated(spec.params)
    try:
        text = spec.trace.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(spec.trace_name, f"is not UTF-8 (byte {error.start})") from error
    return Workload.from_trace_text(text, spec.trace_name)


# A service sees many callers' traces: few large ones are kept, so that memory stays bounded.
SMALL_WORKLOAD = 20_000  # operators; every built-in scenario is smaller
_workload_of_small = functools.lru_cache(maxsize=64)(_read_workload)
_workload_of_large = functools.lru_cache(maxsize=2)(_read_workload)


def scenario_from_table(where: str, name: str, table: Mapping[str, Any], read_file: ReadFile) -> Scenario:
    """Build a scenario from its parsed TOML table. `where` names the file (and entry) for error messages."""
    known = {"description", "workload", *SECTIONS}
    _refuse_unknown(where, table, known)
    description = table.get("description", "")
    if not isinstance(description, str):
        raise InvalidInput(f"{where}:description", f"{description!r} is not a text")
    values: dict[str, object] = {}
    places: dict[str, str] = {}
    for section, keys in SECTIONS.items():
        given = table.get(section, {})
        if not isinstance(given, Mapping):
            raise InvalidInput(f"{where}:{section}", "is not a table")
        _refuse_unknown(f"{where}:{section}", given, set(keys))
        values.update(given)
        places.update({f"params.{key}": f"{where}:{section}.{key}" for key in keys})
    try:
        params = Params.from_mapping(values)
    except InvalidInput as error:
        raise InvalidInput(places.get(error.field, where), error.message) from error
    trace_name, trace = _workload(where, table, read_file)
    spec = FaasScenario(params=params, trace=trace, trace_name=trace_name)
    if spec.cost > MAX_OPERATORS:
        raise InvalidInput(where, f"has about {spec.cost:.3g} operators; at most {MAX_OPERATORS} can be simulated")
    return Scenario(name=name, digest=spec.digest, description=description, spec=spec, cost=spec.cost)


def scenario_from_files(name: str, files: Mapping[str, bytes]) -> Scenario:
    """A scenario from the caller's bytes: ``scenario.toml`` and the trace it names (``trace.csv`` by custom)."""
    if SCENARIO_FILE not in files:
        raise InvalidInput(SCENARIO_FILE, f"is missing; the files given are: {', '.join(sorted(files)) or 'none'}")
    table = parse_toml(SCENARIO_FILE, files[SCENARIO_FILE])
    if "workload" not in table and "generator" not in table and TRACE_FILE in files:
        table["workload"] = {"trace": TRACE_FILE}
    return checked(scenario_from_table(SCENARIO_FILE, name, table, files.__getitem__))


def load_scenario(path: str | Path) -> Scenario:
    """A scenario from a TOML file; a trace that it names lies beside it."""
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInput(str(path), f"cannot be read: {error.strerror}") from error
    table = parse_toml(str(path), data)
    return checked(scenario_from_table(str(path), path.stem, table, lambda file: (path.parent / file).read_bytes()))


def checked(scenario: Scenario) -> Scenario:
    """The same scenario, once its whole trace has been read. Raises InvalidInput with file, row and column."""
    workload_of(spec_of(scenario))
    return scenario


def parse_toml(where: str, data: bytes) -> dict[str, Any]:
    try:
        return tomllib.loads(data.decode())
    except UnicodeDecodeError as error:
        raise InvalidInput(where, f"is not UTF-8 (byte {error.start})") from error
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(where, f"is not TOML: {error}") from error  # the error says line and column


def _refuse_unknown(where: str, table: Mapping[str, Any], known: set[str]) -> None:
    for key in table:
        if key not in known:
            raise InvalidInput(f"{where}:{key}", f"unknown key; known are: {', '.join(sorted(known))}")


def _workload(where: str, table: Mapping[str, Any], read_file: ReadFile) -> tuple[str, bytes | None]:
    if ("workload" in table) == ("generator" in table):
        raise InvalidInput(where, "needs exactly one of [workload] (with a trace) and [generator]")
    if "generator" in table:
        return "", None
    workload = table["workload"]
    if not isinstance(workload, Mapping) or not isinstance(workload.get("trace"), str):
        raise InvalidInput(f"{where}:workload", 'needs trace = "FILE.csv"')
    _refuse_unknown(f"{where}:workload", workload, {"trace"})
    file = workload["trace"]
    if "/" in file or "\\" in file or file.startswith("."):
        raise InvalidInput(f"{where}:workload.trace", f"{file!r} must be the name of a file beside the scenario")
    try:
        data = read_file(file)
    except (KeyError, OSError) as error:
        raise InvalidInput(f"{where}:workload.trace", f"there is no file {file!r} beside the scenario") from error
    return file.removesuffix(".gz"), _unpack(file, data)


def _unpack(file: str, data: bytes) -> bytes:
    if file.endswith(".gz"):
        # wbits 31: gzip framing. A bomb stops at the limit, unlike gzip.decompress.
        unpacker = zlib.decompressobj(wbits=31)
        try:
            data = unpacker.decompress(data, MAX_TRACE_BYTES + 1)
        except zlib.error as error:
            raise InvalidInput(file, f"is not a gzip file: {error}") from error
        if not unpacker.eof and len(data) <= MAX_TRACE_BYTES:
            raise InvalidInput(file, "the gzip file is cut short")
    if len(data) > MAX_TRACE_BYTES:
        raise InvalidInput(file, f"the trace is larger than {MAX_TRACE_BYTES} bytes")
    return data
