from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from quintain_verifier.sandbox.jail import Jail

HERE = Path(__file__).parent
sys.path.append(str(HERE / "guests"))  # the jail looks its guest modules up like any other module


@pytest.fixture(scope="session")
def jail() -> Iterator[Jail]:
    """One jail for many tests, started beside a secret that it must not pass on."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OPENAI_API_KEY", "sk-CANARY-ENV-42")
        with Jail(["act_guest"], isolation="required") as jail:
            yield jail
