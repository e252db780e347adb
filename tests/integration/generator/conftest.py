"""The store's tests run on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.postgres import postgres_server, postgres_url

__all__ = ["postgres_server", "postgres_url", "store_url"]


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    url: str = request.getfixturevalue("postgres_url")
    return url
