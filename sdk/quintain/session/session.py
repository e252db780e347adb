"""A session: the controller and the verifier behind one object."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from google.protobuf import struct_pb2
from pydantic import SecretStr, ValidationError

from quintain.clients import Controller, Verifier
from quintain.clients.agent import make_agent
from quintain.clients.budget import make_budget
from quintain.clients.channel import ClientSettings
from quintain.clients.notebooks import carried_lessons
from quintain.clients.pages import entries
from quintain.clients.policy_files import read_policy
from quintain.clients.search_words import make_roles, make_winner_rule
from quintain.clients.stop_rules import make_stop_rules
from quintain.clients.suite_files import read_suite, suite_message
from quintain.controller.v1 import controller_pb2 as pb
from quintain.errors import DeadlineExceeded, FailedPrecondition, InvalidArgument, Unavailable
from quintain.generator.v1 import generator_pb2
from quintain.session.search import Search
from quintain.session.verdict import Verdict, verdict_of
from quintain.type.v1 import type_pb2
from quintain.verifier.v1 import verifier_pb2
from quintain.wire.endpoints import ClientTls

CONNECT_SECONDS = 5.0  # then connect gives up
VERIFY_SECONDS = 3600.0  # deadline of a verification, queueing included


def connect(
    controller: str = "",
    *,
    verifier: str = "",
    token: str | None = None,
    tls: ClientTls | None = None,
    timeout_seconds: float = 600.0,
) -> Session:
    """A session with the services at these addresses (host:port); a default for each is QUINTAIN_CONTROLLER and
    QUINTAIN_VERIFIER, and QUINTAIN_TOKEN for the bearer token. One of the two services is enough: searches need the
    controller, `Session.verify` the verifier.

    Asks each service once. Raises InvalidArgument for a wrong address, Unavailable if a service cannot be reached
    within 5 seconds, Unauthenticated for a wrong token.
    """
    found = {
        "controller": controller or os.environ.get("QUINTAIN_CONTROLLER", ""),
        "verifier": verifier or os.environ.get("QUINTAIN_VERIFIER", ""),
    }
    if not any(found.values()):
        raise InvalidArgument.of("controller", "name an address, or set QUINTAIN_CONTROLLER or QUINTAIN_VERIFIER")
    secret = token or os.environ.get("QUINTAIN_TOKEN")
    endpoints = {
        service: _settings(service, address, SecretStr(secret) if secret else None, tls, timeout_seconds)
        for service, address in found.items()
        if address
    }
    session = Session(
        Controller(endpoints["controller"]) if "controller" in endpoints else None,
        Verifier(endpoints["verifier"]) if "verifier" in endpoints else None,
    )
    try:
        for service, settings in endpoints.items():
            _ask(session, service, settings.address)
    except BaseException:
        session.close()
        raise
    return session


def _ask(session: Session, service: str, address: str) -> None:
    try:
        if service == "controller":
            session.controller.list_strategies(pb.ListStrategiesRequest(page_size=1), CONNECT_SECONDS)
        else:
            session.verifier.list_simulators(verifier_pb2.ListSimulatorsRequest(page_size=1), CONNECT_SECONDS)
    except DeadlineExceeded:
        raise Unavailable(f"the {service} at {address} did not answer within {CONNECT_SECONDS:g} s") from None


def _settings(
    service: str, address: str, token: SecretStr | None, tls: ClientTls | None, timeout_seconds: float
) -> ClientSettings:
    host, _, port = address.rpartition(":")
    if not (host and port.isdigit()):
        raise InvalidArgument.of(service, f"{address!r} is not host:port (say, 127.0.0.1:7070)")
    try:
        return ClientSettings(address=address, token=token, tls=tls, timeout_seconds=timeout_seconds, caller="python")
    except ValidationError as error:
        first = error.errors()[0]
        raise InvalidArgument.of(str(first["loc"][0]), first["msg"]) from None


class Session:
    """What a script or a notebook talks to; `connect` makes one. Thread safe. A context manager, or `close` it."""

    def __init__(self, controller: Controller | None, verifier: Verifier | None) -> None:
        self._controller_client = controller
        self._verifier_client = verifier

    @property
    def controller(self) -> Controller:
        """The client with every rpc. Raises FailedPrecondition if the session has none."""
        if self._controller_client is None:
            raise FailedPrecondition("no controller in this session: name it to connect, or set QUINTAIN_CONTROLLER")
        return self._controller_client

    @property
    def verifier(self) -> Verifier:
        """The client with every rpc. Raises FailedPrecondition if the session has none."""
        if self._verifier_client is None:
            raise FailedPrecondition("no verifier in this session: name it to connect, or set QUINTAIN_VERIFIER")
        return self._verifier_client

    def create_search(
        self,
        *,
        suite: str | Path,
        simulator: str = "faas",
        objective: str = "",
        further_objectives: Sequence[str] = (),
        strategy: str = "",
        strategy_options: Mapping[str, Any] | None = None,
        backends: Sequence[str] = (),
        backend_roles: Mapping[str, str] | None = None,
        candidates: int | None = None,
        verifications: int | None = None,
        usd: float | None = None,
        tokens: int | None = None,
        minutes: float | None = None,
        stop_at: str | float = "",
        plateau: int | None = None,
        seed: int = 0,
        winner_rule: str = "best-train",
        start: Sequence[str | Path] = (),
        title: str = "",
        hints: bool = False,
        notebooks: Sequence[str | Path] = (),
        agent: bool = False,
        agent_turns: int = 0,
        agent_runs: int = 0,
        agent_seconds: float = 0.0,
        usd_per_candidate: float | None = None,
    ) -> Search:
        """Start a search. `suite` is the name of one of the simulator's, or the Path of one's own. At least one bound
        of the budget (`candidates`, `verifications`, `usd`, `tokens`, `minutes`) is needed. `start` holds
        policies to begin with, sources or Paths; none: the simulator's baseline. Of `further_objectives`
        (names, "METRIC:min", "METRIC:max") `Search.front` keeps the candidates that no other is at least as
        good as in all. `backend_roles` says by name what a backend is for ("main", "strong", "sweep"), where
        that shall not follow from its price. `stop_at` ends the search early: at a share of the provable bound
        ("99%") or a score; `plateau` after so many candidates that were no better. `hints` tells backends what
        is known of the simulator's built-in suites; `notebooks` are ids of earlier searches and files of
        `quintain notebook --out`, whose lessons every request carries. With `agent`, models that can call
        tools try policies on train scenarios before they submit one: at most `agent_turns` answers, `agent_runs` runs
        and `agent_seconds` of the verifier each (0: the defaults). `usd_per_candidate` bounds what making one may cost.
        `Search.warnings` says what is doubtful about the budget."""
        name, files = _suite(suite, simulator)
        options = struct_pb2.Struct()
        options.update(strategy_options or {})
        spec = pb.SearchSpec(
            simulator=simulator,
            suite=name,
            suite_files=files,
            objective=objective,
            further_objectives=further_objectives,
            strategy=strategy,
            strategy_options=options,
            backends=backends,
            backend_roles=make_roles(backend_roles or {}),
            budget=make_budget(candidates, verifications, usd, tokens, minutes),
            stop=make_stop_rules(stop_at, plateau),
            seed=seed,
            winner_rule=make_winner_rule(winner_rule),
            seed_policies=[type_pb2.Policy(source=_source(policy)) for policy in start],
            title=title,
            hints=hints,
            carried_lessons=[n for one in notebooks for n in carried_lessons(self.controller, str(one))],
            agent=make_agent(agent, agent_turns, agent_runs, agent_seconds),
            allowance=generator_pb2.Allowance(max_cost_usd=usd_per_candidate) if usd_per_candidate else None,
        )
        request = pb.CreateSearchRequest(request_id=uuid.uuid4().hex, spec=spec)
        response = self.controller.create_search(request)
        return Search(self.controller, response.search, response.estimate.warnings)

    def search(self, search_id: str) -> Search:
        """A search by its id. Raises NotFound."""
        return Search(self.controller, self.controller.get_search(pb.GetSearchRequest(search_id=search_id)).search)

    def searches(self) -> Iterator[Search]:
        """All searches, newest first."""
        for message in entries(self.controller.list_searches, pb.ListSearchesRequest()):
            yield Search(self.controller, message)

    def restore(self, path: str | Path) -> Search:
        """The search of a file that `Search.archive` wrote; it has ended and never goes on. Raises AlreadyExists for a
        search that is here, InvalidArgument for what is no whole archive, FailedPrecondition for a newer version."""
        with Path(path).open("rb") as file:
            return Search(self.controller, self.controller.import_search(file).search)

    def verify(
        self,
        policy: str | Path,
        *,
        suite: str | Path,
        simulator: str = "faas",
        objective: str = "",
        seed: int = 0,
        check_determinism: bool = False,
        confirm: bool = False,
        timeout_seconds: float = VERIFY_SECONDS,
    ) -> Verdict:
        """The verdict on a policy (its source, or the Path of a file) on a suite (a name, or the Path of one's own). A
        policy that fails is a verdict, not an error."""
        name, files = _suite(suite, simulator)
        request = verifier_pb2.VerifyRequest(
            policy=type_pb2.Policy(source=_source(policy)),
            simulator=simulator,
            suite=name,
            suite_files=files,
            objective=objective,
            seed=seed,
            check_determinism=check_determinism,
            confirm=confirm,
        )
        result = self.verifier.verify(request, timeout_seconds)
        return verdict_of(result.verdict, result.feedback.text)

    def close(self) -> None:
        for client in (self._controller_client, self._verifier_client):
            if client is not None:
                client.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _suite(suite: str | Path, simulator: str) -> tuple[str, verifier_pb2.SuiteFiles | None]:
    """Name and files; a text is a name, a Path is the caller's own."""
    if isinstance(suite, str):
        return suite, None
    name, files = read_suite(str(suite.absolute()), simulator=simulator)
    return name, suite_message(files)


def _source(policy: str | Path) -> str:
    if isinstance(policy, str):
        if policy.endswith(".py") and "\n" not in policy:
            raise InvalidArgument.of("policy", f"a text is a policy's source; for the file give Path({policy!r})")
        return policy
    return read_policy(policy)
