"""Lists by pages, on both ends."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quintain.clients.pages import entries, entries_async
from quintain.controller.v1 import controller_pb2 as pb
from quintain.errors import Internal, InvalidArgument
from quintain.service.paging import Page, encode_token, page_of


@settings(deadline=None, max_examples=30)
@given(st.lists(st.sampled_from([10, 1_000_000, 2_900_000, 5_000_000]), min_size=1, max_size=8), st.integers(1, 5))
def test_a_page_is_bounded_in_entries_and_bytes_and_holds_at_least_one(sizes: list[int], most: int) -> None:
    left = [pb.Search(search_id=str(number), error="x" * size) for number, size in enumerate(sizes)]
    pages: list[list[pb.Search]] = []
    while left:
        page = Page[pb.Search](most)
        while left and page.add(left[0]):
            left.pop(0)
        pages.append(page.entries)
    assert [search.search_id for page in pages for search in page] == [str(number) for number in range(len(sizes))]
    for page in pages:
        assert 1 <= len(page) <= most
        assert len(page) == 1 or sum(search.ByteSize() for search in page) < 4 << 20


def strategies(names: list[str]) -> Any:
    """A server's method for a list of `names`, two on a page."""

    def call(request: pb.ListStrategiesRequest) -> pb.ListStrategiesResponse:
        page, more = page_of(names, request.page_size or 2, request.page_token, "names")
        return pb.ListStrategiesResponse(strategies=[pb.Strategy(name=name) for name in page], next_page_token=more)

    return call


@settings(deadline=None)
@given(st.lists(st.text(max_size=5), unique=True, max_size=9), st.integers(0, 4))
def test_a_client_sees_every_entry_once_and_in_order(names: list[str], size: int) -> None:
    request = pb.ListStrategiesRequest(page_size=size)
    assert [found.name for found in entries(strategies(names), request)] == names
    assert request == pb.ListStrategiesRequest(page_size=size)


async def test_the_asyncio_twin_does_the_same() -> None:
    names = ["a", "b", "c", "d", "e"]

    async def call(request: pb.ListStrategiesRequest) -> pb.ListStrategiesResponse:
        return strategies(names)(request)

    assert [found.name async for found in entries_async(call, pb.ListStrategiesRequest())] == names


def test_a_server_that_gives_the_same_token_twice_is_no_endless_list() -> None:
    def call(request: pb.ListStrategiesRequest) -> pb.ListStrategiesResponse:
        return pb.ListStrategiesResponse(next_page_token="again")

    with pytest.raises(Internal, match="the same page token twice"):
        list(entries(call, pb.ListStrategiesRequest()))


@pytest.mark.parametrize(
    ("token", "says"),
    [
        ("rubbish!", "is not a token that this service gave"),
        (encode_token("others", "a"), "is not a token that this service gave"),
        (encode_token("names", "gone"), "there is no 'gone' any more"),
    ],
)
def test_a_token_that_this_list_did_not_give_is_refused(token: str, says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        page_of(["a", "b"], 1, token, "names")
