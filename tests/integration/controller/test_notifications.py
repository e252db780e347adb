"""Whom a controller tells of its searches, against a real HTTP server, with nobody following."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from tests.integration.controller.conftest import NewStack, create, get, until
from tests.support.webhook import SECRET, Handler, Webhook
from tests.unit.cli.fakes import scored

from quintain.backoff import Backoff
from quintain.controller.v1 import controller_pb2 as pb
from quintain.service.settings import explain
from quintain.type.v1 import type_pb2
from quintain.wire import notifications
from quintain_cli.notifications import Notifications as CliNotifications
from quintain_controller.config import NotificationSettings

ENDED = (pb.SEARCH_STATE_FINISHED, pb.SEARCH_STATE_CANCELLED)


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    monkeypatch.setattr(notifications, "_BACKOFF", Backoff(0.01, 0.01))
    with Webhook() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


async def ended(client: Any, search_id: str) -> None:
    async def over() -> bool:
        return (await get(client, search_id)).state in ENDED

    await until(over)


async def test_a_search_that_nobody_follows_is_told_of(
    new_stack: NewStack, webhook: Webhook, capfd: pytest.CaptureFixture[str]
) -> None:
    stack = new_stack(notifications={"url": webhook.url})
    client = await stack.start()
    search_id = await create(client, title="nightly")
    await ended(client, search_id)
    await until(lambda: bool(webhook.documents) and webhook.documents[-1]["kind"] == "finished")
    kinds = [document["kind"] for document in webhook.documents]
    assert kinds[0] == "new best"
    assert kinds.count("finished") == 1
    sequences = [document["sequence"] for document in webhook.documents]
    assert sequences == sorted(set(sequences))
    best = (await get(client, search_id)).best
    last_best = [d for d in webhook.documents if d["kind"] == "new best"][-1]
    assert (last_best["number"], last_best["score"]) == (best.number, pytest.approx(best.score))
    assert last_best["text"] == f"search {search_id} (nightly): #{best.number} new best {best.score:.6g}"
    assert SECRET not in "".join(capfd.readouterr())


async def test_the_document_is_the_command_lines(new_stack: NewStack, webhook: Webhook) -> None:
    with CliNotifications(pb.Search(search_id="s1"), webhook.url) as told:
        told.take(pb.Event(sequence=1, new_best=pb.NewBest(candidate=scored(1, 0.5).summary)), "better")
    (of_cli,) = webhook.documents
    client = await new_stack(notifications={"url": webhook.url}).start()
    await create(client, budget=pb.Budget(candidates=1))
    await until(lambda: len(webhook.documents) > 1)
    assert {k: type(v) for k, v in webhook.documents[1].items()} == {k: type(v) for k, v in of_cli.items()}


async def test_what_is_found_in_a_model_is_told_with_its_fidelity(new_stack: NewStack, webhook: Webhook) -> None:
    stack = new_stack(notifications={"url": webhook.url})
    stack.verifier.fidelity, stack.verifier.fidelity_reason = type_pb2.FIDELITY_UNVERIFIED, "it has no fidelity card"
    client = await stack.start()
    await create(client, budget=pb.Budget(candidates=1))
    await until(lambda: any(document["kind"] == "finished" for document in webhook.documents))
    for told in webhook.documents:
        assert (told["fidelity"], told["fidelity_reason"]) == ("unverified", "it has no fidelity card")
        assert told["text"].endswith("; in a model of the system, fidelity unverified: it has no fidelity card")


async def test_a_pause_and_its_reason_are_told(new_stack: NewStack, webhook: Webhook) -> None:
    stack = new_stack(notifications={"url": webhook.url})
    stack.generator.gate.clear()
    client = await stack.start()
    search_id = await create(client)
    await client.pause_search(pb.PauseSearchRequest(search_id=search_id))
    await until(lambda: any(d["kind"] == "paused" for d in webhook.documents))
    assert webhook.documents[-1]["text"] == f"search {search_id}: search paused: paused by the user"


async def test_two_controllers_on_one_store_tell_each_thing_once(new_stack: NewStack, webhook: Webhook) -> None:
    stack = new_stack(notifications={"url": webhook.url})
    client = await stack.start()
    await stack.start()
    found = [await create(client, budget=pb.Budget(candidates=6)) for _ in range(3)]
    for search_id in found:
        await ended(client, search_id)
    await until(lambda: sum(d["kind"] == "finished" for d in webhook.documents) >= 3)
    told = [(d["search_id"], d["sequence"]) for d in webhook.documents]
    assert len(told) == len(set(told))


@pytest.mark.parametrize("code", [500, 404])
async def test_a_webhook_that_refuses_disturbs_no_search(
    new_stack: NewStack, webhook: Webhook, capfd: pytest.CaptureFixture[str], code: int
) -> None:
    webhook.codes = [code] * 1000
    client = await new_stack(notifications={"url": webhook.url}).start()
    search_id = await create(client)
    await ended(client, search_id)
    said = ""

    def logged() -> bool:
        nonlocal said
        said += "".join(capfd.readouterr())
        return f"the webhook answered {code}" in said

    await until(logged)
    assert (await get(client, search_id)).state == pb.SEARCH_STATE_FINISHED
    assert SECRET not in said


async def test_a_webhook_that_never_answers_disturbs_no_search(
    new_stack: NewStack, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()
    monkeypatch.setattr(Handler, "do_POST", lambda _handler: released.wait(30))
    client = await new_stack(notifications={"url": webhook.url}).start()
    await ended(client, await create(client))
    assert not released.is_set()
    released.set()


async def test_what_happened_is_told_before_a_controller_stops(new_stack: NewStack, webhook: Webhook) -> None:
    stack = new_stack(notifications={"url": webhook.url, "poll_seconds": 600})
    client = await stack.start()
    await ended(client, await create(client))
    await stack.server.stop()
    assert webhook.documents[-1]["kind"] == "finished"


async def test_a_command_is_told_too(new_stack: NewStack, tmp_path: Path) -> None:
    told, script = tmp_path / "told", tmp_path / "tell.py"
    script.write_text(f"import sys\nopen({str(told)!r}, 'a').write(sys.stdin.read() + chr(10))\n")
    client = await new_stack(notifications={"command": f"{sys.executable} '{script}'"}).start()
    await create(client, budget=pb.Budget(candidates=2))
    await until(lambda: told.exists() and '"finished"' in told.read_text())
    assert [json.loads(line)["kind"] for line in told.read_text().splitlines()][-1] == "finished"


@pytest.mark.parametrize("url", [SECRET, f"ftp://{SECRET}", f"http://host:{SECRET}/"])
def test_an_address_that_is_none_is_refused_without_being_said(url: str) -> None:
    with pytest.raises(ValidationError) as refused:
        NotificationSettings(url=url)
    assert "url: must be http://HOST" in explain(refused.value)
    assert SECRET not in explain(refused.value)


def test_the_address_may_stand_in_a_file(tmp_path: Path, webhook: Webhook) -> None:
    file = tmp_path / "url"
    file.write_text(webhook.url + "\n")
    (way,) = NotificationSettings(url_file=file).ways()
    way(b"{}")
    assert webhook.documents == [{}]
    with pytest.raises(ValidationError, match="exclude each other"):
        NotificationSettings(url=webhook.url, url_file=file)
