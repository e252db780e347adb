"""A provider's own words reach the caller, whatever form they come in, and no words of a library do."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from tests.fault_server.oddities import ERRORS_AS_ANSWERS
from tests.support.generator import WIRES, Stack, request, stack

from quintain.errors import QuintainError
from quintain.generator.v1 import generator_pb2 as pb

PYTHON_WORDS = re.compile(r"\w(?:Error|Exception)\b|NoneType|Errno|Traceback|object has no|Expecting|<class|None\b")


async def _told(s: Stack, request_id: str) -> str:
    """What the caller is told: by an error, or by a result without an answer."""
    try:
        generation = await s.generate_once(request(request_id, "llm"))
    except QuintainError as error:
        return error.message
    assert generation.outcome == pb.OUTCOME_UNKNOWN
    return generation.detail


@pytest.mark.parametrize("wire", WIRES)
async def test_what_a_provider_says_reaches_the_caller_in_its_own_words(tmp_path: Path, wire: str) -> None:
    async with stack(tmp_path, wire, backend={"max_calls": 1}) as s:
        for fault, (status, content_type, _body) in ERRORS_AS_ANSWERS.items():
            s.server.default = fault
            message = await _told(s, fault)
            assert "told: " in message, fault
            assert not PYTHON_WORDS.search(message), message
            if content_type != "application/json" and status == 200 and "error" not in fault and "message" not in fault:
                assert s.server.url in message, fault


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(
    "fault", ["reset", "cut_mid_stream", "empty_body", "malformed", "gzip_rubbish", "invalid_utf8"]
)
async def test_what_breaks_below_the_protocol_is_told_in_plain_words(tmp_path: Path, wire: str, fault: str) -> None:
    async with stack(tmp_path, wire, backend={"max_calls": 1}) as s:
        s.server.default = fault
        message = await _told(s, "r1")
    assert not PYTHON_WORDS.search(message), message
    assert len(message) > 60


@pytest.mark.parametrize("wire", WIRES)
async def test_an_address_may_have_a_query_which_stays_behind_the_path(tmp_path: Path, wire: str) -> None:
    """Azure's, for one: the path of the call belongs between the two."""
    async with stack(tmp_path, wire) as plain:
        base = f"{plain.server.url}{'' if wire == 'anthropic' else '/v1'}?api-version=2024-10-21&x=a%20b"
        plugin, options = WIRES[wire]
        settings = {"kind": plugin, "options": {"base_url": base, "api_key_file": str(tmp_path / "key"), **options}}
        (tmp_path / "second").mkdir()
        async with stack(tmp_path / "second", wire, backend=settings) as s:
            await s.generate_once(request("r1", "llm"))
        assert [parse_qsl(seen.query) for seen in plain.server.seen] == [[("api-version", "2024-10-21"), ("x", "a b")]]


async def test_a_proxy_that_nobody_answers_at_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://user:secret-password@127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    async with stack(tmp_path, backend={"max_calls": 1}) as s:
        with pytest.raises(QuintainError) as caught:
            await s.generate_once(request("r1", "llm"))
    assert "http_proxy" in caught.value.message
    assert "secret-password" not in caught.value.message
