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
    with Jail(["act_guest"], isolation="required") as jail:
        yield jail
