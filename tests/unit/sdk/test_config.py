"""Configuration: file and environment, refused unknown keys, errors that name the key and never the value."""

from pathlib import Path

import pytest
from pydantic import Field, SecretStr

from quintain.service.settings import ConfigError, ServerSettings, load_settings
from quintain.wire.endpoints import Settings, split_address


class Inner(Settings):
    size: int = Field(1, ge=0)
    token: SecretStr | None = None


class Model(Settings):
    name: str = "x"
    inner: Inner = Inner()


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "service.toml"
    path.write_text(text)
    return str(path)


def test_the_environment_overrides_the_file_key_by_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QT__INNER__SIZE", "7")
    loaded = load_settings(Model, write(tmp_path, 'name = "y"\n[inner]\nsize = 3\ntoken = "abcdef"'), "QT__")
    assert (loaded.name, loaded.inner.size) == ("y", 7)
    assert loaded.inner.token is not None
    assert loaded.inner.token.get_secret_value() == "abcdef"


def test_without_file_and_environment_the_defaults_hold() -> None:
    assert load_settings(Model, None, "QT__") == Model()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[inner]\nsiez = 3", "inner.siez"),
        ("[inner]\nsize = -1", "inner.size"),
        ("name = [", "not valid TOML"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_settings(Model, write(tmp_path, text), "QT__")


def test_a_missing_file_is_an_error_and_not_the_defaults(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load_settings(Model, str(tmp_path / "none.toml"), "QT__")


def test_an_error_never_repeats_the_value_since_it_may_be_a_secret(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(Model, write(tmp_path, '[inner]\nsize = "sk-very-secret-value"'), "QT__")
    assert "very-secret" not in str(caught.value)


@pytest.mark.parametrize("variable", ["QT__NMAE", "QT__NMAE__SIZE", "qt__nmae"])
def test_a_misspelt_variable_is_refused_and_not_the_default_taken(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "a-secret")
    with pytest.raises(ConfigError, match=f"{variable}: there is no such key; there are inner, name") as caught:
        load_settings(Model, None, "QT__")
    assert "a-secret" not in str(caught.value)


@pytest.mark.parametrize("address", ["7071", "localhost", ":7071", "host:", "host:port", "host:65536", "host:-1"])
def test_an_address_without_host_or_port_is_refused_with_what_would_be_right(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("listen", "metrics_listen"):
        with pytest.raises(ConfigError, match=f"{key}: .*must be host:port"):
            load_settings(ServerSettings, write(tmp_path, f'{key} = "{address}"'), "QT__")


def test_an_address_may_be_ipv6() -> None:
    assert split_address("[::]:7071") == ("::", 7071)


def test_a_log_level_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"log_level: .*'WARNING'"):
        load_settings(ServerSettings, write(tmp_path, 'log_level = "LOUD"'), "QT__")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"name = 'x'\n[inner\nsize = 1\n", r"line 2, column 7"),
        (b"name = 'x'\nname = 'y'\n", r"line 2, column \d+"),
        (b"name = 'x'\n\n# \xff\n", r"line 3: not valid TOML: it is not UTF-8"),
        (b"\x00", r"line 1, column 1"),
    ],
)
def test_malformed_toml_is_one_line_with_file_line_and_column(tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / "service.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=says) as wrong:
        load_settings(Model, str(file), "QT__")
    assert str(wrong.value).startswith(f"{file}: ")
    assert "\n" not in str(wrong.value)


def test_a_folder_is_no_configuration_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="directory"):
        load_settings(Model, str(tmp_path), "QT__")
