"""Policies from files."""

from __future__ import annotations

from pathlib import Path

from quintain.errors import InvalidArgument


def read_policy(path: Path) -> str:
    """A policy's source. Raises InvalidArgument if it cannot be read as text."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidArgument.of("policy", f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InvalidArgument.of("policy", f"{path}: not UTF-8 text at byte {error.start}") from None
