"""The configuration makes backends, and what is wrong in it is said with its key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from quintain.service.settings import ConfigError, load_settings
from quintain_generator.adapters.price_file import load_prices
from quintain_generator.adapters.registry import default_name, make_endpoints
from quintain_generator.config import ENV_PREFIX, GeneratorSettings

COMPATIBLE: dict[str, Any] = {"kind": "openai-compatible", "model": "m", "options": {"base_url": "http://localhost/v1"}}


def made(**document: Any) -> tuple[list[str], str]:
    settings = GeneratorSettings.model_validate(document)
    endpoints = make_endpoints(settings, load_prices())
    return sorted(endpoints), default_name(settings, endpoints)


def test_without_configuration_the_offline_backend_serves() -> None:
    assert made() == (["offline"], "offline")


def test_a_backend_without_its_key_is_configured_but_not_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert made(backends={"gpt": {"kind": "openai", "model": "gpt-6-sol"}}) == (["gpt", "offline"], "offline")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-something-long")
    assert made(backends={"gpt": {"kind": "openai", "model": "gpt-6-sol"}}) == (["gpt", "offline"], "gpt")


def test_several_backends_live_side_by_side_and_one_may_be_named_the_default() -> None:
    names, default = made(backends={"a": COMPATIBLE, "b": COMPATIBLE}, default_backend="b")
    assert (names, default) == (["a", "b", "offline"], "b")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (
            {"backends": {"x": {"kind": "gemini"}}},
            r"backends\.x\.kind: no backend 'gemini' is installed; installed are: agent-command, anthropic",
        ),
        ({"backends": {"x": {**COMPATIBLE, "options": {}}}}, r"backends\.x\.options: base_url: Field required"),
        (
            {"backends": {"x": {**COMPATIBLE, "options": {"base_url": "u", "temperature": 1}}}},
            r"temperature: Extra inputs are not permitted \(known options: api_key_env",
        ),
        *(
            (
                {"backends": {"x": {**COMPATIBLE, "options": {"base_url": url}}}},
                r"base_url: .*must be http://HOST\[:PORT\]",
            )
            for url in ("ftp://x/v1", "localhost:8000/v1", "http://", "http://x:99999/v1", "http://[::1")
        ),
        ({"backends": {"x": {**COMPATIBLE, "model": ""}}}, r"backends\.x: model: must name the provider's model"),
        ({"backends": {"x": COMPATIBLE}, "default_backend": "y"}, r"default_backend: no backend 'y'; configured are"),
        ({"backends": {"x": {"kind": "replay", "options": {"folder": "/nowhere/at/all"}}}}, "not a folder"),
    ],
)
def test_a_wrong_backend_is_refused_with_its_key(document: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        made(**document)


def test_the_file_and_the_environment_are_read_and_unknown_keys_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "generator.toml"
    file.write_text('[backends.local]\nkind = "openai-compatible"\nmodel = "m"\noptions = {base_url = "http://x/v1"}\n')
    monkeypatch.setenv(f"{ENV_PREFIX}PROMPT_TOKENS", "9000")
    settings = load_settings(GeneratorSettings, str(file), ENV_PREFIX)
    assert settings.prompt_tokens == 9000
    assert settings.backends["local"].max_concurrency == 4
    file.write_text("[backends.local]\nkind = 'offline'\nmax_concurency = 2\n")
    with pytest.raises(ConfigError, match=r"backends\.local\.max_concurency"):
        load_settings(GeneratorSettings, str(file), ENV_PREFIX)


@pytest.mark.parametrize("kind", ["openai", "openai-compatible", "anthropic"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALL_PROXY", "socks5://me:secret-word@127.0.0.1:1"),
        ("https_proxy", "ftp://127.0.0.1:1"),
        ("HTTP_PROXY", "http://127.0.0.1:port"),
        ("SSL_CERT_FILE", "/no/such/file.pem"),
        ("SSL_CERT_FILE", __file__),
        ("SSL_CERT_DIR", "/no/such/folder"),
    ],
)
def test_what_the_environment_sets_wrong_is_named(
    monkeypatch: pytest.MonkeyPatch, kind: str, name: str, value: str
) -> None:
    for other in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=f"backends.a: the environment's {name}") as caught:
        made(backends={"a": COMPATIBLE | {"kind": kind}})
    assert "secret-word" not in str(caught.value)
    assert "Errno" not in str(caught.value)


@pytest.mark.parametrize("kind", ["openai", "openai-compatible", "anthropic"])
@pytest.mark.parametrize("url", ["http://h/v1#x", "http://h/v1#", "http://h/v1?a=1&a=2"])
def test_an_address_that_no_call_can_be_made_of_is_refused(kind: str, url: str) -> None:
    with pytest.raises(ConfigError, match="base_url"):
        made(backends={"a": COMPATIBLE | {"kind": kind, "options": {"base_url": url}}})
