"""What a session makes of arguments and messages, without services."""

from __future__ import annotations

import socket
import sys
from dataclasses import asdict
from pathlib import Path
from unittest import mock

import pytest

import quintain
from quintain.clients.agent import make_agent
from quintain.clients.candidates import CandidateRow
from quintain.controller.v1 import controller_pb2 as pb
from quintain.errors import FailedPrecondition, InvalidArgument, Unavailable
from quintain.generator.v1 import generator_pb2
from quintain.session import Search, session
from quintain.session.verdict import verdict_of
from quintain.type.v1 import type_pb2
from quintain.verifier.v1 import verifier_pb2

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(autouse=True)
def no_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("QUINTAIN_CONTROLLER", "QUINTAIN_VERIFIER", "QUINTAIN_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("address", "said"), [("", "QUINTAIN_CONTROLLER"), ("somewhere", "not host:port"), ("here:port", "not host:port")]
)
def test_an_address_that_is_none_is_named(address: str, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        quintain.connect(address)


def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "CONNECT_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(Unavailable, match=address):
            quintain.connect(address)


def test_a_policy_is_a_source_or_a_path(tmp_path: Path) -> None:
    client = mock.Mock()
    client.verify.return_value = verifier_pb2.VerifyResult()
    made = quintain.Session(None, client)
    (tmp_path / "policy.py").write_text("x = 1\n")
    made.verify(tmp_path / "policy.py", suite="smoke")
    assert client.verify.call_args.args[0].policy.source == "x = 1\n"
    with pytest.raises(InvalidArgument, match=r"give Path\('policy.py'\)"):
        made.verify("policy.py", suite="smoke")
    with pytest.raises(InvalidArgument, match="No such file"):
        made.verify(tmp_path / "nowhere.py", suite="smoke")
    with pytest.raises(InvalidArgument, match="there is no such folder"):
        made.verify("x = 1\n", suite=tmp_path / "nowhere")


def test_a_suite_by_path_is_sent_with_its_files_and_by_name_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = mock.Mock()
    client.verify.return_value = verifier_pb2.VerifyResult()
    made = quintain.Session(None, client)
    (tmp_path / "smoke").mkdir()
    (tmp_path / "smoke" / "suite.toml").write_text("train = []\n")
    monkeypatch.chdir(tmp_path)
    made.verify("x = 1\n", suite=Path("smoke"))
    sent = client.verify.call_args.args[0]
    assert (sent.suite, [file.name for file in sent.suite_files.files]) == ("smoke", ["suite.toml"])
    made.verify("x = 1\n", suite="smoke")
    assert not client.verify.call_args.args[0].HasField("suite_files")


def test_what_a_policy_or_a_model_wrote_is_escaped_in_a_notebook() -> None:
    failure = verifier_pb2.Failure(kind=verifier_pb2.FAILURE_KIND_RAISED, message=HOSTILE)
    scenario = verifier_pb2.ScenarioVerdict(scenario=HOSTILE, ran=True, failure=failure)
    verdict = verdict_of(verifier_pb2.Verdict(objective=HOSTILE, failure=failure, scenarios=[scenario]))
    search = Search(
        mock.Mock(), pb.Search(search_id="s", error=HOSTILE, spec=pb.SearchSpec(suite=HOSTILE, title=HOSTILE))
    )
    for page in (verdict._repr_html_(), search._repr_html_()):
        assert "<script" not in page
        assert page.count("&lt;script&gt;") >= 3


def test_a_score_is_better_whichever_way_the_metric_runs() -> None:
    part = verifier_pb2.PartScore(score=8.0, baseline_score=10.0, bound_score=4.0, scenarios=2)
    low = verdict_of(verifier_pb2.Verdict(train=part, direction=type_pb2.DIRECTION_MINIMIZE)).train
    high = verdict_of(verifier_pb2.Verdict(train=part, direction=type_pb2.DIRECTION_MAXIMIZE)).train
    assert low is not None
    assert high is not None
    assert (low.better, low.of_bound) == (pytest.approx(0.2), 0.5)
    assert (high.better, high.of_bound) == (pytest.approx(-0.2), 2.0)


def controller_with(*candidates: pb.CandidateSummary) -> mock.Mock:
    client = mock.Mock()
    client.list_candidates.return_value = pb.ListCandidatesResponse(candidates=candidates)
    return client


def test_rows_have_parents_by_number_and_none_where_there_is_nothing() -> None:
    client = controller_with(
        pb.CandidateSummary(candidate_id="a", number=0, score=1.5, state=pb.CANDIDATE_STATE_VERIFIED),
        pb.CandidateSummary(candidate_id="b", number=1, parent_ids=["a"], state=pb.CANDIDATE_STATE_REQUESTED),
    )
    first, second = Search(client, pb.Search(search_id="s")).candidates()
    assert (first.score, first.operator, first.parents) == (1.5, "seed", [])
    assert (second.score, second.verdict, second.parents, second.state) == (None, None, [0], "requested")


def test_the_best_is_the_winner_once_there_is_one_with_what_it_was_asked_and_answered() -> None:
    client = controller_with()
    generation = generator_pb2.Generation(
        prompt=[generator_pb2.PromptMessage(content="rules"), generator_pb2.PromptMessage(content="task")],
        response_text="answer",
    )
    client.get_candidate.side_effect = lambda request: pb.GetCandidateResponse(
        candidate=pb.Candidate(source=f"source of {request.candidate_id}", generation=generation)
    )
    record = pb.Search(search_id="s")
    client.get_search.side_effect = lambda _request: pb.GetSearchResponse(search=record)
    search = Search(client, record)
    assert (search.best, search.winner) == (None, None)
    record.best.candidate_id = "good"
    best = search.best
    assert best is not None
    assert (best.source, best.prompt, best.response) == ("source of good", "rules\n\ntask", "answer")
    assert best.verdict is None
    record.winner.candidate_id = "promoted"
    assert [one and one.source for one in (search.best, search.winner)] == ["source of promoted"] * 2


def test_without_pandas_a_data_frame_says_what_to_install() -> None:
    with mock.patch.dict(sys.modules, {"pandas": None}), pytest.raises(FailedPrecondition, match="pip install pandas"):
        Search(controller_with(), pb.Search(search_id="s")).to_dataframe()


@pytest.mark.parametrize("count", [0, 2])
def test_a_data_frame_has_a_row_for_each_candidate(count: int) -> None:
    pytest.importorskip("pandas", reason="data frames need the library pandas")
    search = Search(
        controller_with(*(pb.CandidateSummary(candidate_id=str(n), number=n, score=n / 2) for n in range(count))),
        pb.Search(search_id="s"),
    )
    frame = search.to_dataframe()
    assert list(frame.index) == list(range(count))
    assert {"number", *frame.columns} == set(CandidateRow.__dataclass_fields__)
    assert list(frame["score"]) == [row["score"] for row in map(asdict, search.candidates())]


def test_conversations_are_asked_for_with_their_bounds() -> None:
    assert make_agent(False) is None
    assert make_agent(True, runs=8) == pb.AgentOptions(max_runs=8)
    with pytest.raises(InvalidArgument, match="agent_turns: bounds conversations"):
        make_agent(False, turns=3)
