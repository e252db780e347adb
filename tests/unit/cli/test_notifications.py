"""Notifications, against a real HTTP server and real commands."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.webhook import SECRET, Handler, Webhook
from tests.unit.cli.conftest import Run
from tests.unit.cli.fakes import FakeController, scored

from quintain.backoff import Backoff
from quintain.controller.v1 import controller_pb2 as pb
from quintain.type.v1 import type_pb2
from quintain.wire import notifications


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    monkeypatch.setattr(notifications, "_BACKOFF", Backoff(0.01, 0.01))
    with Webhook() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("QUINTAIN_NOTIFY_URL", server.url)
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def search(services: str, controller: FakeController) -> pb.Search:
    """Its first two events are old when it is watched; then it finds something and ends."""
    best = scored(4, 0.5).summary
    search = controller.search
    search.spec.title, search.last_sequence, search.state = "[b]nightly", 2, pb.SEARCH_STATE_FINISHED
    old = pb.Event(sequence=2, new_best=pb.NewBest(candidate=scored(1, 0.3).summary))
    found = pb.Event(sequence=3, new_best=pb.NewBest(candidate=best))
    seen = pb.Event(sequence=4, candidate_changed=pb.CandidateChanged(candidate=best))
    ended = pb.Event(sequence=5, state_changed=pb.StateChanged(state=pb.SEARCH_STATE_FINISHED, reason="[r]budget"))
    ended.spend.usd = 1.5
    controller.events = [old, found, seen, ended]
    return search


def test_a_webhook_hears_of_the_new_best_and_of_the_end_in_order(quintain: Run, webhook: Webhook) -> None:
    ran = quintain("watch", "s1")
    assert ran.code == 0
    first, last = webhook.documents
    assert (first["kind"], first["number"], first["score"], first["sequence"]) == ("new best", 4, 0.5, 3)
    assert (first["fidelity"], first["fidelity_reason"]) == (None, None)
    assert first["text"] == "search s1 ([b]nightly): #4 new best 0.5 (+100.0 %)"
    assert (last["kind"], last["usd"], last["number"]) == ("finished", 1.5, None)
    assert last["text"].endswith("search finished: [r]budget")
    assert SECRET not in ran.out + ran.err


def test_what_is_found_in_a_model_is_told_with_its_fidelity(quintain: Run, webhook: Webhook, search: pb.Search) -> None:
    search.fidelity, search.fidelity_reason = type_pb2.FIDELITY_FAILED, "busiest: no nearer than the floors"
    quintain("watch", "s1")
    first, last = webhook.documents
    said = "; in a model of the system, fidelity failed: busiest: no nearer than the floors"
    assert (first["fidelity"], first["fidelity_reason"]) == ("failed", "busiest: no nearer than the floors")
    assert first["text"] == f"search s1 ([b]nightly): #4 new best 0.5 (+100.0 %){said}"
    assert last["text"].endswith(said)


def test_a_pause_is_told(quintain: Run, webhook: Webhook, controller: FakeController, search: pb.Search) -> None:
    controller.needs_person("no key")
    search.last_sequence = 0
    quintain("watch", "s1")
    assert [document["kind"] for document in webhook.documents] == ["paused"]


def test_a_webhook_that_stumbles_is_tried_again(quintain: Run, webhook: Webhook) -> None:
    webhook.codes = [503, 429]
    assert quintain("watch", "s1").code == 0
    assert [document["kind"] for document in webhook.documents] == ["new best", "finished"]


@pytest.mark.parametrize(("codes", "posts"), [([404, 404], 2), ([500] * 6, 6)])
def test_a_webhook_that_refuses_is_said_without_its_secret(
    quintain: Run, webhook: Webhook, codes: list[int], posts: int
) -> None:
    webhook.codes = list(codes)
    ran = quintain("watch", "s1", "--verbose")
    assert ran.code == 0
    assert ran.err.count(f"not notified: the webhook answered {codes[0]}") == 2
    assert len(webhook.paths) == posts
    assert SECRET not in ran.out + ran.err


def test_a_webhook_that_is_not_there_hurts_nothing(quintain: Run, webhook: Webhook) -> None:
    webhook.shutdown()
    webhook.server_close()
    ran = quintain("watch", "s1")
    assert ran.code == 0
    assert "the webhook cannot be reached (ConnectionRefusedError)" in ran.err
    assert SECRET not in ran.out + ran.err


def test_an_answer_that_is_no_http_is_said(quintain: Run, webhook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Handler, "do_POST", lambda handler: handler.wfile.write(b"what?\r\n\r\n"))
    ran = quintain("watch", "s1")
    assert ran.code == 0
    assert "the webhook cannot be reached (BadStatusLine)" in ran.err


@pytest.mark.parametrize("url", ["file:///etc/passwd-" + SECRET, SECRET, "https://", f"http://host:{SECRET}/"])
def test_an_address_that_is_none_is_refused_without_being_said(
    quintain: Run, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("QUINTAIN_NOTIFY_URL", url)
    ran = quintain("watch", "s1")
    assert ran.code == 2
    assert "QUINTAIN_NOTIFY_URL" in ran.err
    assert SECRET not in ran.out + ran.err


def test_a_command_has_the_document_on_its_standard_input(
    quintain: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told = tmp_path / "told"
    script = tmp_path / "tell.py"
    script.write_text(f"import sys\nopen({str(told)!r}, 'a').write(sys.stdin.read() + chr(10))\n")
    monkeypatch.setenv("QUINTAIN_NOTIFY_COMMAND", f"{sys.executable} '{script}'")
    assert quintain("watch", "s1").code == 0
    assert [json.loads(line)["kind"] for line in told.read_text().splitlines()] == ["new best", "finished"]


@pytest.mark.parametrize(("command", "said"), [("false", "ended with 1"), ("/nowhere/tell", "cannot be run: No such")])
def test_a_command_that_fails_is_said_and_hurts_nothing(
    quintain: Run, monkeypatch: pytest.MonkeyPatch, command: str, said: str
) -> None:
    monkeypatch.setenv("QUINTAIN_NOTIFY_COMMAND", command)
    ran = quintain("watch", "s1")
    assert ran.code == 0
    assert said in ran.err
