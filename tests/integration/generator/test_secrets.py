"""The key is nowhere in what a run leaves behind: store, recording, logs, metrics, errors, repr."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from tests.fault_server.server import FaultServer
from tests.support.generator import KEY, WIRES, backend_settings, request, stack

from quintain.errors import QuintainError
from quintain_generator.adapters.price_file import load_prices
from quintain_generator.adapters.registry import make_endpoints
from quintain_generator.config import GeneratorSettings
from quintain_generator.service import GeneratorService


def _files(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != "key"}


@pytest.mark.parametrize("wire", WIRES)
async def test_a_key_that_the_provider_echoes_reaches_nobody(
    tmp_path: Path, wire: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    said = []
    async with stack(tmp_path, wire, faults=FaultServer(["ok", "echo_key", "hang"])) as s:
        await s.client.generate(request("r1", "llm"))
        for request_id, seconds in (("r2", 8.0), ("r3", 0.7)):
            with pytest.raises(QuintainError) as error:
                await s.generate_once(request(request_id, "llm"), timeout=seconds)
            said += [str(error.value), repr(error.value), str(error.value.metadata)]
        with urllib.request.urlopen(f"http://{s.metrics_address}/metrics") as response:
            said.append(response.read().decode())
        said += [repr(s.service), repr(vars(s.service))]
    written = capfd.readouterr()
    said += [written.out, written.err, caplog.text]
    assert any("your key is [redacted]" in text or "your key is Bearer [redacted]" in text for text in said)
    assert [text for text in said if KEY in text] == []
    assert [name for name, content in _files(tmp_path).items() if KEY.encode() in content] == []


async def test_a_recording_holds_no_key(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text(KEY)
    async with FaultServer(["echo_key"]) as server:
        inner = {k: backend_settings("openai", server.url, key)[k] for k in ("kind", "model", "options")}
        recording = tmp_path / "recording"
        backend = {"kind": "replay", "options": {"mode": "record", "folder": str(recording), "inner": inner}}
        settings = {"store_url": f"sqlite:///{tmp_path}/db", "backends": {"tape": backend}}
        endpoint = make_endpoints(GeneratorSettings.model_validate(settings), load_prices())["tape"]
        async with stack(tmp_path, backend=backend) as s:
            with pytest.raises(QuintainError):
                await s.generate_once(request("r1", "llm"))
    assert len(list(recording.iterdir())) == 1
    assert [name for name, content in _files(tmp_path).items() if KEY.encode() in content] == []
    assert KEY not in repr(endpoint.backend)


def test_a_wrong_configuration_does_not_print_the_key(tmp_path: Path) -> None:
    """Somebody puts the key where it does not belong."""
    config = tmp_path / "generator.toml"
    config.write_text(f'[backends.x]\nkind = "openai"\nmodel = "m"\n[backends.x.options]\napi_key = "{KEY}"\n')
    ran = subprocess.run(
        [sys.executable, "-m", "quintain_generator.main", "--config", str(config)],
        capture_output=True, text=True, timeout=60, env=os.environ, check=False,
    )  # fmt: skip
    assert ran.returncode == 2
    assert "backends.x.options: api_key: Extra inputs are not permitted" in ran.stderr
    assert KEY not in ran.stderr + ran.stdout


def test_the_environment_gives_the_key_and_without_it_the_backend_says_which_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    monkeypatch.setenv("MY_KEY", KEY)
    mine = {"kind": "openai", "model": "m", "options": {"api_key_env": "MY_KEY"}}
    settings = GeneratorSettings.model_validate(
        {"store_url": f"sqlite:///{tmp_path}/db", "backends": {"a": {"kind": "anthropic", "model": "m"}, "o": mine}}
    )
    endpoints = make_endpoints(settings, load_prices())
    assert endpoints["a"].backend.unavailable_reason == "no key: ANTHROPIC_API_KEY is not set or empty"
    assert endpoints["o"].backend.unavailable_reason == ""
    assert GeneratorService(settings)._generations.default == "o"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (f"{KEY}\nsecond line", "has white space inside; the file or variable must hold the key alone"),
        (f"export KEY={KEY}", "has white space inside"),
        (f"{KEY}\u00e9", "has characters that are not printable ASCII"),
        (f"{KEY}\x00", "has characters that are not printable ASCII"),
        ("  \n", "is not set or empty"),
    ],
)
def test_a_key_that_cannot_be_sent_is_said_before_any_call_and_without_the_key(
    tmp_path: Path, content: str, reason: str
) -> None:
    """The HTTP library would refuse the header with a message that quotes it."""
    file = tmp_path / "key"
    file.write_text(content)
    backend = {"kind": "openai-compatible", "model": "m", "options": {"base_url": "http://x/v1", "api_key_file": file}}
    settings = {"store_url": f"sqlite:///{tmp_path}/db", "backends": {"llm": backend}}
    endpoint = make_endpoints(GeneratorSettings.model_validate(settings), load_prices())["llm"]
    assert reason in endpoint.backend.unavailable_reason
    assert str(file) in endpoint.backend.unavailable_reason
    assert KEY not in endpoint.backend.unavailable_reason


async def test_credentials_in_the_base_url_reach_nobody_either(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    password = "pass%2Fword-0123"
    async with FaultServer(["echo_key"]) as server:
        options = {"base_url": f"http://me:{password}@127.0.0.1:{server.port}/v1"}
        async with stack(tmp_path, backend={"options": options}) as s:
            endpoint = s.service._endpoints["llm"]
            assert endpoint.clean(f"at {options['base_url']}: pass/word-0123") == (
                f"at http://me:[redacted]@127.0.0.1:{server.port}/v1: [redacted]"
            )
            with pytest.raises(QuintainError) as error:
                await s.generate_once(request("r1", "llm"))
    assert "your key is Basic [redacted]" in error.value.message
    assert password not in f"{error.value!r} {caplog.text}"


async def test_a_name_alone_in_the_base_url_is_a_token(tmp_path: Path) -> None:
    async with FaultServer(["echo_key"]) as server:
        options = {"base_url": f"http://token-0123456789@127.0.0.1:{server.port}/v1"}
        async with stack(tmp_path, backend={"options": options}) as s:
            assert (
                s.service._endpoints["llm"].clean(options["base_url"])
                == f"http://[redacted]@127.0.0.1:{server.port}/v1"
            )
            with pytest.raises(QuintainError, match=r"your key is Basic \[redacted\]"):
                await s.generate_once(request("r1", "llm"))


async def test_a_placeholder_for_a_key_does_not_cut_words_out_of_answers(tmp_path: Path) -> None:
    """Local servers want some key: "none", "EMPTY", "sorted"."""
    (tmp_path / "placeholder").write_text("sorted")
    async with FaultServer() as server:
        backend = backend_settings("compatible", server.url, tmp_path / "placeholder")
        async with stack(tmp_path, backends={"llm": backend}) as s:
            g = await s.generate_once(request("r1", "llm"))
    assert "return sorted(state)" in g.source
