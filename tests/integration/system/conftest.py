from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.verifier import RunningVerifier, running_verifier

from quintain.clients.verifier import Verifier


@pytest.fixture(scope="session")
def verifier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningVerifier]:
    """With short limits, so that a model that never ends does so soon."""
    config = 'workers = 2\nengine_seconds = 8.0\nsimulators = ["system", "faas"]\n'
    with running_verifier(tmp_path_factory.mktemp("verifier"), config) as running:
        yield running


@pytest.fixture(scope="session")
def client(verifier: RunningVerifier) -> Iterator[Verifier]:
    with verifier.client() as made:
        yield made
