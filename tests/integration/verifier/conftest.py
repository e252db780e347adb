import sys
from collections.abc import Iterator

import grpc
import pytest
from tests.support.verifier import PLUGINS, RunningVerifier, running_verifier

from quintain.clients.verifier import Verifier
from quintain.verifier.v1 import verifier_pb2_grpc

sys.path.insert(0, str(PLUGINS))


@pytest.fixture(scope="module")
def verifier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningVerifier]:
    """Shared by a module's tests: each uses policies of its own, or does not mind the cache."""
    config = "workers = 2\nengine_seconds = 3.0\n"
    with running_verifier(tmp_path_factory.mktemp("verifier"), config) as running:
        yield running


@pytest.fixture(scope="module")
def client(verifier: RunningVerifier) -> Iterator[Verifier]:
    with verifier.client() as made:
        yield made


@pytest.fixture(scope="module")
def stub(verifier: RunningVerifier) -> Iterator[verifier_pb2_grpc.VerifierStub]:
    """Without the client's retries."""
    with grpc.insecure_channel(verifier.address) as channel:
        yield verifier_pb2_grpc.VerifierStub(channel)
