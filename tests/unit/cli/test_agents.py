"""What holds an agent: its configuration, the ledger over restarts and servers, texts that are only data."""

from __future__ import annotations

import multiprocessing
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quintain.controller.v1 import controller_pb2 as pb
from quintain.errors import FailedPrecondition, InvalidArgument, NotFound, QuintainError, ResourceExhausted, Unavailable
from quintain.session import Session
from quintain.type.v1 import type_pb2
from quintain_cli.agents.config import AgentsConfig, BudgetTable, read_config
from quintain_cli.agents.foreign import PAGE_CHARACTERS, fenced
from quintain_cli.agents.ledger import Amounts, Ledger
from quintain_cli.agents.tools import Tools

BUDGET = BudgetTable(usd=1.0, verifications=10, hours=1.0)
CONFIG = AgentsConfig.model_validate(
    {
        "budget": BUDGET.model_dump(),
        "allowed": {"backends": ["offline"], "suites": [{"simulator": "faas", "suite": "smoke"}]},
    }
)


def test_a_configuration_is_read_with_paths_beside_it(tmp_path: Path) -> None:
    own = tmp_path / "mine"
    own.mkdir()
    (own / "suite.toml").write_text("")
    file = tmp_path / "agent.toml"
    file.write_text(
        textwrap.dedent("""
        [budget]
        usd = 2
        verifications = 30
        hours = 0.5
        [allowed]
        backends = ["offline"]
        [[allowed.suites]]
        simulator = "faas"
        suite = "smoke"
        [[allowed.suites]]
        simulator = "faas"
        suite = "mine"
        """)
    )
    config = read_config(file)
    assert config.ledger == tmp_path / "agent.ledger"
    assert [table.suite for table in config.allowed.suites] == ["smoke", str(own)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[budget]\nusd = 1\n", "budget.verifications"),
        ("[budget]\nusd = -1\nverifications = 1\nhours = 1\n", "budget.usd"),
        ("[budget]\ndollars = 1\nverifications = 1\nhours = 1\n", "budget.dollars"),
        ("[budget", "is not TOML"),
    ],
)
def test_a_wrong_configuration_says_which_key(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(text)
    with pytest.raises(InvalidArgument, match=says):
        read_config(file)


def test_what_was_spent_or_reserved_outlives_the_server(tmp_path: Path) -> None:
    first = Ledger(tmp_path / "ledger", BUDGET)
    settled = first.reserve(Amounts(0.5, 4, 600))
    first.settle(settled, Amounts(0.25, 3, 300))
    first.reserve(Amounts(0.5, 5, 60))
    first.close()  # as a server that was killed leaves it
    again = Ledger(tmp_path / "ledger", BUDGET)
    assert again.used() == Amounts(0.75, 8, 360)
    for beyond in (Amounts(usd=0.26), Amounts(verifications=3), Amounts(seconds=3241)):
        with pytest.raises(ResourceExhausted, match="left of the budget"):
            again.reserve(beyond)
    assert again.used() == Amounts(0.75, 8, 360)
    again.reserve(Amounts(0.25, 2, 3240))
    assert again.remaining() == Amounts(0, 0, 0)


def _reserve_until_refused(path: Path, taken: multiprocessing.Queue[int]) -> None:
    ledger, count = Ledger(path, BUDGET), 0
    while True:
        try:
            ledger.reserve(Amounts(verifications=1))
        except ResourceExhausted:
            taken.put(count)
            return
        count += 1


def test_servers_on_one_ledger_together_take_no_more_than_the_budget(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    taken = context.Queue()
    servers = [context.Process(target=_reserve_until_refused, args=(tmp_path / "ledger", taken)) for _ in range(2)]
    for server in servers:
        server.start()
    assert sum(taken.get(timeout=60) for _ in servers) == BUDGET.verifications
    for server in servers:
        server.join()


def test_a_file_that_is_no_ledger_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "ledger").write_text("not a database, and long enough for a header" * 30)
    with pytest.raises(FailedPrecondition, match="ledger"):
        Ledger(tmp_path / "ledger", BUDGET)


@given(st.text(max_size=400), st.integers(0, 50))
def test_no_text_can_end_its_own_marks(text: str, offset: int) -> None:
    page = text[offset:]
    shown = fenced("source", text, offset)
    if not text:
        assert shown == ""
        return
    first, _, rest = shown.partition("\n")
    mark = first.split(" ")[-1]
    assert rest == f"{page}\n{mark}>>>"
    assert f"{mark}>>>" not in page


def test_a_long_text_comes_in_pages() -> None:
    text = "x" * (PAGE_CHARACTERS + 5)
    assert f"ask again with offset={PAGE_CHARACTERS}]" in fenced("source", text)
    assert "ask again" not in fenced("source", text, PAGE_CHARACTERS)


class FakeController:
    """Creates searches once for each request id, and fails as it is told to."""

    def __init__(self) -> None:
        self.searches: dict[str, pb.Search] = {}
        self.fails_before: QuintainError | None = None
        self.fails_after: QuintainError | None = None

    def create_search(self, request: pb.CreateSearchRequest) -> pb.CreateSearchResponse:
        if self.fails_before:
            raise self.fails_before
        search = self.searches.setdefault(
            request.request_id,
            pb.Search(
                search_id=f"s{len(self.searches)}",
                spec=request.spec,
                state=pb.SEARCH_STATE_RUNNING,
                direction=type_pb2.DIRECTION_MAXIMIZE,
            ),
        )
        if self.fails_after:
            raise self.fails_after
        return pb.CreateSearchResponse(search=search)

    def get_search(self, request: pb.GetSearchRequest) -> pb.GetSearchResponse:
        found = [s for s in self.searches.values() if s.search_id == request.search_id]
        if not found:
            raise NotFound("no such search")
        return pb.GetSearchResponse(search=found[0])


@pytest.fixture
def controller() -> FakeController:
    return FakeController()


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger", BUDGET)


@pytest.fixture
def tools(controller: FakeController, ledger: Ledger) -> Tools:
    return Tools(Session(controller, None), ledger, CONFIG)  # type: ignore[arg-type]


def test_a_search_is_bounded_by_what_was_reserved_and_settled_by_what_it_spent(
    tools: Tools, controller: FakeController, ledger: Ledger
) -> None:
    tools.start_search("faas", "smoke", verifications=6, minutes=30, usd=0.5)
    (search,) = controller.searches.values()
    budget = search.spec.budget
    assert (budget.usd, budget.verifications, budget.wall_seconds) == (0.5, 6, 1800)
    assert ledger.used() == Amounts(0.5, 6, 1800)
    search.state = pb.SEARCH_STATE_FINISHED
    search.spend.MergeFrom(pb.Spend(usd=0.125, at_risk_usd=0.0625, verifications=4, wall_seconds=60))
    assert tools.budget()["left"] == {"usd": 0.8125, "verifications": 6, "hours": round(3540 / 3600, 4)}


def test_what_is_still_at_work_after_the_end_keeps_the_books_open(
    tools: Tools, controller: FakeController, ledger: Ledger
) -> None:
    tools.start_search("faas", "smoke", verifications=6, minutes=30)
    (search,) = controller.searches.values()
    search.state, search.settling = pb.SEARCH_STATE_CANCELLED, True
    search.spend.verifications = 2
    assert tools.stop_search("s0")["settling"]
    assert ledger.used().verifications == 6  # a verification may still come in
    search.settling, search.spend.verifications = False, 3
    assert not tools.stop_search("s0")["settling"]
    assert ledger.used().verifications == 3


def test_without_dollars_a_search_is_bounded_all_the_same(tools: Tools, controller: FakeController) -> None:
    tools.start_search("faas", "smoke", verifications=1, minutes=1)
    (search,) = controller.searches.values()
    assert 0 < search.spec.budget.usd <= 1e-9


def test_beyond_the_budget_nothing_is_asked_of_the_controller(tools: Tools, controller: FakeController) -> None:
    for more in ({"usd": 1.5}, {"verifications": 11}, {"minutes": 61}):
        with pytest.raises(ResourceExhausted):
            tools.start_search(**{"simulator": "faas", "suite": "smoke", "verifications": 1, "minutes": 1, **more})  # type: ignore[arg-type]
    assert not controller.searches


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_a_budget_that_is_none_is_refused(tools: Tools, controller: FakeController, value: float) -> None:
    with pytest.raises(InvalidArgument, match="minutes"):
        tools.start_search("faas", "smoke", verifications=1, minutes=value)
    assert not controller.searches


def test_only_what_the_configuration_names_can_be_used(tools: Tools, controller: FakeController) -> None:
    with pytest.raises(InvalidArgument, match="allowed are: offline"):
        tools.start_search("faas", "smoke", verifications=1, minutes=1, backends=["gpt"])
    for suite in ("standard", "./smoke", "/etc"):
        with pytest.raises(InvalidArgument, match="allowed are: faas/smoke"):
            tools.start_search("faas", suite, verifications=1, minutes=1)
    assert not controller.searches


def test_searches_of_other_people_are_out_of_reach(tools: Tools, controller: FakeController) -> None:
    controller.create_search(pb.CreateSearchRequest(request_id="theirs"))
    for touch in (tools.stop_search, tools.watch_search, tools.list_candidates):
        with pytest.raises(NotFound, match="was started with these tools"):
            touch("s0")


def test_a_refused_search_costs_nothing(tools: Tools, controller: FakeController, ledger: Ledger) -> None:
    controller.fails_before = FailedPrecondition("no price is known")
    with pytest.raises(FailedPrecondition):
        tools.start_search("faas", "smoke", verifications=5, minutes=1)
    assert ledger.used() == Amounts()


@pytest.mark.parametrize("lost", ["fails_before", "fails_after"])
def test_a_search_of_which_nobody_heard_is_found_or_begun_once(
    tools: Tools, controller: FakeController, ledger: Ledger, lost: str
) -> None:
    setattr(controller, lost, Unavailable("the connection broke"))
    with pytest.raises(Unavailable):
        tools.start_search("faas", "smoke", verifications=5, minutes=1)
    assert ledger.used().verifications == 5
    assert tools.list_searches()["searches"][0]["search_id"] is None
    setattr(controller, lost, None)
    assert [search["search_id"] for search in tools.list_searches()["searches"]] == ["s0"]
    assert len(controller.searches) == 1
    assert ledger.used().verifications == 5
