"""What the wire says of a search."""

from dataclasses import replace

import pytest
from tests.unit.controller.toy import CONTEXT, make_spec

from quintain.type.v1 import type_pb2
from quintain_controller.domain.model import Aggregation, Budget, Direction, SearchState, Spend
from quintain_controller.domain.records import SearchRecord
from quintain_controller.rpc.to_proto import encode_search


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
    record = SearchRecord(
        search_id="s1",
        spec=make_spec("evolve"),
        context=replace(CONTEXT, aggregation=aggregation, direction=metric),
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
    assert encode_search(record, None, None).direction == score
