"""What the wire says of a search."""

from dataclasses import replace

import pytest
from tests.unit.controller.toy import CONTEXT, make_spec

from quintain.type.v1 import type_pb2
from quintain_controller.domain.model import Aggregation, Budget, Direction, SearchState, Spend
from quintain_controller.domain.records import SearchRecord
from quintain_controller.rpc.to_proto import encode_search

RECORD = SearchRecord(
    search_id="s1",
    spec=make_spec("evolve"),
    context=CONTEXT,
    budget=Budget(candidates=1),
    spend=Spend(),
    state=SearchState.RUNNING,
    reason="",
    paused_by_user=False,
    best_number=None,
    winner_number=None,
    gates=(),
    created_at=0.0,
    ended_at=None,
    last_sequence=0,
    forked_from="",
    needs_owner=False,
    told=0,
)


@pytest.mark.parametrize(
    ("aggregation", "metric", "score"),
    [
        (Aggregation.MEAN_NORMALIZED, Direction.MINIMIZE, type_pb2.DIRECTION_MAXIMIZE),
        (Aggregation.MEAN_NORMALIZED, Direction.MAXIMIZE, type_pb2.DIRECTION_MAXIMIZE),
        (Aggregation.MEDIAN_VALUE, Direction.MINIMIZE, type_pb2.DIRECTION_MINIMIZE),
        (Aggregation.MEDIAN_VALUE, Direction.MAXIMIZE, type_pb2.DIRECTION_MAXIMIZE),
    ],
)
def test_a_normalized_score_runs_up_even_where_its_metric_is_a_latency(
    aggregation: Aggregation, metric: Direction, score: int
) -> None:
    context = replace(CONTEXT, aggregation=aggregation, direction=metric)
    assert encode_search(replace(RECORD, context=context), None, None).direction == score


@pytest.mark.parametrize(
    ("state", "needs_owner", "settling"),
    [
        (SearchState.RUNNING, True, False),
        (SearchState.PAUSED, False, False),
        (SearchState.CANCELLED, True, True),
        (SearchState.CANCELLED, False, False),
        (SearchState.FINISHED, False, False),
    ],
)
def test_a_search_is_settling_while_somebody_works_on_it_after_its_end(
    state: SearchState, needs_owner: bool, settling: bool
) -> None:
    assert encode_search(replace(RECORD, state=state, needs_owner=needs_owner), None, None).settling is settling
