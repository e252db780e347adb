"""A simulator that somebody else serves, as a `quintain.plugins.simulator.Simulator`."""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar, cast

import grpc

from quintain.clients.channel import channel_arguments, token_metadata
from quintain.clients.simulator_run import SimulatorRun
from quintain.errors import DeadlineExceeded, FailedPrecondition, InvalidArgument, NotFound, QuintainError, Unavailable
from quintain.plugins.naming import unknown
from quintain.plugins.simulator import (
    Description,
    InvalidInput,
    OpenPolicy,
    OpenProgram,
    Outcome,
    RunOptions,
    Scenario,
    ScenarioScore,
    Simulator,
    SimulatorFault,
    SimulatorUnavailable,
    Suite,
    files_digest,
)
from quintain.simulator.v1 import simulator_pb2 as pb
from quintain.simulator.v1 import simulator_pb2_grpc as stubs
from quintain.verifier.v1 import verifier_pb2
from quintain.wire.endpoints import Endpoint
from quintain.wire.simulator_messages import (
    description_from,
    outcome_message,
    score_from,
    suite_from,
)
from quintain.wire.status import from_rpc_error

UNARY_SECONDS = 30.0
_SUITES_KEPT = 8  # of callers' own

T = TypeVar("T")


class RemoteSimulator:
    """Thread safe. Connects when it is first used. Whatever the other side does wrong (the contract, its death in a
    run) is a SimulatorFault, and a SimulatorUnavailable where it was not reached; the policy's own failures never are.

    `message_seconds`: how long the simulator may compute between two messages of a run. It is a `SuiteReader`;
    one whose other side takes no suites says so when it is given one.
    """

    guest_module = ""
    program_guests = ()  # programs come with their guests' source

    def __init__(self, address: str | Endpoint, *, message_seconds: float = 120.0) -> None:
        settings = address if isinstance(address, Endpoint) else Endpoint(address=address)
        self.address = settings.address
        self._settings = settings
        self._message_seconds = message_seconds
        self._lock = threading.Lock()
        self._channel: grpc.Channel | None = None
        self._asked = pb.DescribeRequest()
        self._described: pb.DescribeResponse | None = None
        self._scenarios: dict[tuple[str, str], Scenario] = {}  # built-in ones, by build and name
        self._notes: dict[str, str] = {}  # by a scenario's digest
        self._suites: OrderedDict[tuple[str, str], _RemoteSuite] = OrderedDict()  # callers' own, by name and digest

    @property
    def guest_source(self) -> str:
        return self._description().guest_source

    def describe(self) -> Description:
        """Asks anew: the other side may have become another build since."""
        described = self._unary(self._stub().Describe, self._asked)
        self._check(described)
        with self._lock:
            self._described = described
        try:
            return description_from(described.simulator)
        except KeyError as error:
            raise SimulatorFault(f"{self.address}: its description has an unknown enum value {error}") from error

    def narrowed(self, suite: str = "", scenarios: Sequence[str] = ()) -> Simulator:
        if not self._description().many_systems:
            return self
        part = copy.copy(self)  # over the same channel
        part._asked = pb.DescribeRequest(suite=suite, scenarios=scenarios)
        part.describe()  # that there is such a suite is said now
        return part

    def suite(self, name: str) -> Suite:
        suites = {s.name: s for s in self._description().suites}
        for missing in self._description().simulator.unavailable_suites:
            if missing.name == name:
                raise InvalidInput("suite", f"{name!r} is not available here: {missing.reason}")
        if name not in suites:
            raise InvalidInput("suite", unknown(name, suites))
        try:
            return suite_from(suites[name])
        except KeyError as error:
            raise SimulatorFault(f"{self.address}: suite {name} has an unknown enum value {error}") from error

    def scenario(self, name: str) -> Scenario:
        key = (self._description().simulator.build, name)
        if key not in self._scenarios:
            self._scenarios[key] = self._resolve(name, {})
        return self._scenarios[key]

    def inline_scenario(self, name: str, files: Mapping[str, bytes]) -> Scenario:
        return self._resolve(name, files)

    def scenario_notes(self, scenario: Scenario) -> str:
        return self._notes.get(scenario.digest, "")

    def from_files(self, name: str, files: Mapping[str, bytes]) -> Simulator:
        self._check_takes_suites()
        key = (name, files_digest(files))
        with self._lock:
            suite = self._suites.pop(key, None) or _RemoteSuite(self, name, files)
            self._suites[key] = suite
            while len(self._suites) > _SUITES_KEPT:
                self._suites.popitem(last=False)
        suite.describe()  # what is wrong with the files is said now
        return suite

    def suite_template(self, name: str) -> Mapping[str, bytes]:
        self._check_takes_suites()
        response = self._unary(self._stub().GetSuiteTemplate, pb.GetSuiteTemplateRequest(name=name))
        return {file.name: file.content for file in response.files}

    def suite_notes(self, name: str, files: Mapping[str, bytes]) -> Sequence[str]:
        self._check_takes_suites()
        return _RemoteSuite(self, name, files).notes()

    def _check_takes_suites(self) -> None:
        if not self._description().takes_suites:
            raise InvalidInput("suite_files", f"the simulator at {self.address} takes no suites of one's own")

    def run(self, scenario: Scenario, open_policy: OpenPolicy, options: RunOptions) -> Outcome:
        return self._run(scenario, open_policy, None, options)

    def run_with_programs(
        self, scenario: Scenario, open_policy: OpenPolicy, open_program: OpenProgram, options: RunOptions
    ) -> Outcome:
        return self._run(scenario, open_policy, open_program, options)

    def _run(
        self,
        scenario: Scenario,
        open_policy: OpenPolicy,
        open_program: OpenProgram | None,
        options: RunOptions,
        suite: pb.OwnSuite | None = None,
    ) -> Outcome:
        start = pb.Start(
            scenario=scenario.name,
            files=_files(cast("Mapping[str, bytes]", scenario.spec)),
            calling_mode=options.calling_mode,
            timeline=options.timeline,
            told_log=options.told_log,
            suite=suite,
        )
        run = SimulatorRun(self._stub(), self._metadata(), self._message_seconds)
        try:
            return run.to_the_end(start, open_policy, open_program)
        except grpc.RpcError as error:
            self._translate(error, began=run.began)
        finally:
            run.close()

    def score(self, objective: str, scenario: Scenario, outcome: Outcome, baseline: Outcome) -> ScenarioScore:
        return self._score(objective, scenario, outcome, baseline)

    def _score(
        self,
        objective: str,
        scenario: Scenario,
        outcome: Outcome,
        baseline: Outcome,
        suite: pb.OwnSuite | None = None,
    ) -> ScenarioScore:
        request = pb.ScoreRequest(
            objective=objective,
            scenario=scenario.name,
            files=_files(cast("Mapping[str, bytes]", scenario.spec)),
            outcome=outcome_message(outcome),
            baseline=outcome_message(baseline),
            suite=suite,
        )
        return score_from(self._unary(self._stub().Score, request))

    def close(self) -> None:
        with self._lock:
            if self._channel is not None:
                self._channel.close()
                self._channel = None

    def _description(self) -> pb.DescribeResponse:
        if self._described is None:
            self.describe()
        assert self._described is not None
        return self._described

    def _check(self, described: pb.DescribeResponse) -> None:
        """Raises SimulatorFault if something is missing without which no policy can be verified."""
        simulator = described.simulator
        needed = {
            "name": simulator.name,
            "build": simulator.build,
            "objectives": simulator.objectives,
            "baselines": simulator.baselines,
            "suites": described.suites,
            "guest_source": described.guest_source,
        }
        if missing := [name for name, value in needed.items() if not value]:
            raise SimulatorFault(
                f"the simulator at {self.address}: its description lacks {', '.join(missing)}: it serves an older"
                " contract, or not all of it"
            )

    def _resolve(self, name: str, files: Mapping[str, bytes], suite: pb.OwnSuite | None = None) -> Scenario:
        request = pb.GetScenarioRequest(name=name, files=_files(files), suite=suite)
        found = self._unary(self._stub().GetScenario, request).scenario
        if found.notes:
            self._notes[found.digest] = found.notes
        return Scenario(found.name, found.digest, found.description, dict(files), found.cost or 1.0)

    def _stub(self) -> stubs.SimulatorStub:
        with self._lock:
            if self._channel is None:
                target, options, credentials = channel_arguments(self._settings)
                self._channel = (
                    grpc.secure_channel(target, credentials, options)
                    if credentials
                    else grpc.insecure_channel(target, options)
                )
            return stubs.SimulatorStub(self._channel)

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return token_metadata(self._settings)

    def _unary(self, method: Callable[..., T], request: Any) -> T:
        try:
            return method(request, timeout=UNARY_SECONDS, metadata=self._metadata())
        except grpc.RpcError as error:
            self._translate(error)

    def _translate(self, error: grpc.RpcError, *, began: bool = False) -> NoReturn:
        """`began`: it had answered, so that what it was asked may have killed it."""
        typed: QuintainError = from_rpc_error(error)
        if isinstance(typed, FailedPrecondition) and typed.reason == "SUITE_NOT_HERE":
            raise _SuiteNotHere from error
        if isinstance(typed, InvalidArgument) and typed.violations:
            violation = typed.violations[0]
            raise InvalidInput(violation.field, violation.message) from error
        if isinstance(typed, NotFound):
            raise InvalidInput("scenario", typed.message) from error
        not_reached = isinstance(typed, Unavailable | DeadlineExceeded) and not began
        fault = SimulatorUnavailable if not_reached else SimulatorFault
        raise fault(f"the simulator at {self.address}: {typed.code}: {typed.message}") from error


class _SuiteNotHere(Exception):
    """The other side does not have a suite's files, or not any more."""


class _RemoteSuite:
    """A remote simulator with one suite of the caller's own. Its files are sent when the other side lacks them."""

    guest_module = ""
    program_guests = ()

    def __init__(self, simulator: RemoteSimulator, name: str, files: Mapping[str, bytes]) -> None:
        self._simulator, self._name = simulator, name
        digest = files_digest(files)
        self._named = pb.OwnSuite(name=name, files=verifier_pb2.SuiteFiles(digest=digest))
        self._whole = pb.OwnSuite(name=name, files=verifier_pb2.SuiteFiles(digest=digest, files=_files(files)))
        self._found: pb.GetSuiteResponse | None = None

    @property
    def guest_source(self) -> str:
        return self._simulator.guest_source

    def describe(self) -> Description:
        """Asks anew, as `RemoteSimulator.describe`."""
        remote = self._simulator
        self._found = self._sent(lambda suite: remote._unary(remote._stub().GetSuite, pb.GetSuiteRequest(suite=suite)))
        simulator = self._found.simulator
        if not (simulator.build and simulator.objectives and simulator.baselines and self._found.suite.entries):
            raise SimulatorFault(
                f"the simulator at {remote.address}: what it says of suite {self._name!r} is not whole"
            )
        try:
            return description_from(simulator)
        except KeyError as error:
            raise SimulatorFault(f"{remote.address}: its description has an unknown enum value {error}") from error

    def notes(self) -> Sequence[str]:
        return list(self._answer().notes)

    def suite(self, name: str) -> Suite:
        if name != self._name:
            raise InvalidInput("suite", f"{name!r} is unknown; the files hold {self._name!r}")
        try:
            return suite_from(self._answer().suite)
        except KeyError as error:
            raise SimulatorFault(
                f"{self._simulator.address}: suite {name} has an unknown enum value {error}"
            ) from error

    def scenario(self, name: str) -> Scenario:
        return self._sent(lambda suite: self._simulator._resolve(name, {}, suite))

    def inline_scenario(self, name: str, files: Mapping[str, bytes]) -> Scenario:
        return self._sent(lambda suite: self._simulator._resolve(name, files, suite))

    def scenario_notes(self, scenario: Scenario) -> str:
        return self._simulator.scenario_notes(scenario)

    def run(self, scenario: Scenario, open_policy: OpenPolicy, options: RunOptions) -> Outcome:
        return self._sent(lambda suite: self._simulator._run(scenario, open_policy, None, options, suite))

    def run_with_programs(
        self, scenario: Scenario, open_policy: OpenPolicy, open_program: OpenProgram, options: RunOptions
    ) -> Outcome:
        return self._sent(lambda suite: self._simulator._run(scenario, open_policy, open_program, options, suite))

    def score(self, objective: str, scenario: Scenario, outcome: Outcome, baseline: Outcome) -> ScenarioScore:
        return self._sent(lambda suite: self._simulator._score(objective, scenario, outcome, baseline, suite))

    def _answer(self) -> pb.GetSuiteResponse:
        if self._found is None:
            self.describe()
        assert self._found is not None
        return self._found

    def _sent(self, ask: Callable[[pb.OwnSuite], T]) -> T:
        """`ask` with the suite's digest, and again with its files if they are wanted: before a run has begun."""
        try:
            return ask(self._named)
        except _SuiteNotHere:
            pass
        try:
            return ask(self._whole)
        except _SuiteNotHere as error:
            raise SimulatorFault(
                f"the simulator at {self._simulator.address} wants the files that it was sent"
            ) from error


def _files(files: Mapping[str, bytes]) -> list[verifier_pb2.File]:
    return [verifier_pb2.File(name=name, content=content) for name, content in files.items()]
