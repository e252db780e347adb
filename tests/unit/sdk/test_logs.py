"""Secrets never reach a log line."""

import pytest

from quintain.service.logs import configure_logging, get_logger, redact, register_secret


@pytest.mark.parametrize("text", ["key sk-abcdefghijkl tail", "Authorization: Bearer abcdefgh12345 tail"])
def test_the_shapes_of_keys_are_redacted(text: str) -> None:
    assert "abcdefgh" not in redact(text)
    assert redact(text).endswith(" tail")


def test_a_registered_secret_is_redacted_in_messages_fields_and_tracebacks(capsys: pytest.CaptureFixture[str]) -> None:
    register_secret("hunter2-hunter2")
    configure_logging("test")
    log = get_logger("x")
    try:
        raise ValueError("the key is hunter2-hunter2")
    except ValueError:
        log.exception("failed with hunter2-hunter2", field="hunter2-hunter2")
    err = capsys.readouterr().err
    assert "failed with [redacted]" in err
    assert "hunter2" not in err
