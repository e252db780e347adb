"""Searches on a suite that the caller brought along."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.controller.conftest import NewStack, candidates, create, get, watch
from tests.integration.controller.fakes import FakeVerifier

from quintain.controller.v1 import controller_pb2 as pb
from quintain.errors import FailedPrecondition, InvalidArgument, NotFound
from quintain.plugins.simulator import files_digest
from quintain.verifier.v1 import verifier_pb2

FILES = {"suite.toml": b"objective = 'closeness'\n", "trace.csv": b"time\n1\n"}


def suite_files(digest: str = "", files: dict[str, bytes] = FILES) -> verifier_pb2.SuiteFiles:
    sent = [verifier_pb2.File(name=name, content=content) for name, content in files.items()]
    return verifier_pb2.SuiteFiles(digest=digest, files=sent)


class ForgetfulVerifier(FakeVerifier):
    """Knows of no suite that it was not sent; counts what it was sent."""

    def __init__(self) -> None:
        super().__init__()
        self.known: set[str] = set()
        self.sent = 0

    def look(self, given: verifier_pb2.SuiteFiles) -> None:
        if given.files:
            self.sent += 1
            self.known.add(files_digest({file.name: file.content for file in given.files}))
        elif given.digest not in self.known:
            raise FailedPrecondition("not here", reason="SUITE_NOT_HERE")

    async def GetSuite(self, request: verifier_pb2.GetSuiteRequest, context: Any) -> verifier_pb2.GetSuiteResponse:
        if request.HasField("suite_files"):
            self.look(request.suite_files)
        return await super().GetSuite(request, context)

    async def Verify(
        self, request: verifier_pb2.VerifyRequest, context: Any
    ) -> AsyncIterator[verifier_pb2.VerifyResponse]:
        if request.HasField("suite_files"):
            self.look(request.suite_files)
        async for response in super().Verify(request, context):
            yield response


async def test_files_are_sent_once_and_again_to_a_verifier_that_lost_them(new_stack: NewStack) -> None:
    verifier = ForgetfulVerifier()
    stack = new_stack(verifier=verifier)
    client = await stack.start()
    first = await create(client, suite_files=suite_files(), budget=pb.Budget(candidates=4))
    await watch(client, first)
    assert (await get(client, first)).state == pb.SEARCH_STATE_FINISHED
    assert verifier.sent == 1  # with the question about the suite
    verifier.known.clear()
    best = (await candidates(client, first))[0].candidate_id
    fork = pb.ForkSearchRequest(candidate_id=best, spec=pb.SearchSpec(seed=5, budget=pb.Budget(candidates=3)))
    forked = (await client.fork_search(fork)).search
    assert forked.spec.suite_files.digest == files_digest(FILES)
    assert not forked.spec.suite_files.files
    verifier.known.clear()
    await watch(client, forked.search_id)
    found = (await client.get_suite_files(pb.GetSuiteFilesRequest(search_id=forked.search_id))).suite_files
    assert {file.name: file.content for file in found.files} == FILES
    with pytest.raises(NotFound, match="suite of its simulator's"):
        await client.get_suite_files(pb.GetSuiteFilesRequest(search_id=await create(client)))


async def test_another_controller_goes_on_with_the_stored_files(new_stack: NewStack, tmp_path: Path) -> None:
    verifier = ForgetfulVerifier()
    stack = new_stack(verifier=verifier)
    verifier.gates.clear()  # no verdict comes yet
    client = await stack.start()
    search_id = await create(client, suite_files=suite_files(), budget=pb.Budget(candidates=4))
    await stack.server.stop()
    verifier.known.clear()
    verifier.gates.set()
    stack.expire_leases()
    client = await stack.start()
    await watch(client, search_id)
    assert (await get(client, search_id)).state == pb.SEARCH_STATE_FINISHED
    assert verifier.sent == 2


async def test_a_suite_whose_digest_is_wrong_or_unknown_is_refused(new_stack: NewStack) -> None:
    client = await new_stack(verifier=ForgetfulVerifier()).start()
    with pytest.raises(InvalidArgument, match="the files have"):
        await create(client, suite_files=suite_files("0" * 64))
    with pytest.raises(NotFound, match="no search here"):
        await create(client, suite_files=suite_files("0" * 64, {}))
