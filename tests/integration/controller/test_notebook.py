"""What answers claim is joined with what was measured, carried by later requests, and the same in a replay."""

from __future__ import annotations

import pytest
from tests.integration.controller.conftest import NewStack, candidates, create, replay, watch
from tests.integration.controller.fakes import Backend

from quintain.controller.v1 import controller_pb2 as pb
from quintain.errors import InvalidArgument, NotFound


async def test_claims_become_lessons_with_what_was_measured(new_stack: NewStack) -> None:
    stack = new_stack(Backend(claims=True))
    client = await stack.start()
    search_id = await create(client, strategy="chain", parallel_generations=1, parallel_verifications=1)
    await watch(client, search_id)
    found = await client.get_notebook(pb.GetNotebookRequest(search_id=search_id))
    listed = await candidates(client, search_id)
    assert [e.number for e in found.entries] == list(range(1, 21))
    values = {0: 1 - 0.7}  # on t1
    for entry, summary in zip(found.entries, listed[1:], strict=True):
        record = stack.generator.records[f"{search_id}/{entry.number}"]
        values[entry.number] = 1 - abs(float(record.source.partition("=")[2]) - 0.7)
        on_t1, mean = entry.predictions
        assert on_t1.measured == pytest.approx(values[entry.number] - values[entry.parent_number])
        assert on_t1.outcome == ("true" if on_t1.measured >= 0.01 else "partly" if on_t1.measured >= 0.001 else "false")
        assert mean.measured == pytest.approx(entry.change)
        assert summary.hypothesis == entry.hypothesis == record.hypothesis
        assert f"#{entry.number} from #{entry.parent_number}: {entry.hypothesis}. Predicted t1 +0.020" in entry.text
    last = stack.generator.requests[f"{search_id}/20"]
    assert 0 < len(found.lessons) <= 16
    assert set(last.task.lessons) <= {e.text for e in found.entries if e.number < 20}
    assert len(last.task.lessons) == 16


async def test_a_replay_makes_the_same_notebook(new_stack: NewStack) -> None:
    stack = new_stack(Backend(claims=True, sources={3: "raise x = 1\n", 4: "x = 0.1\n"}))
    client = await stack.start()
    search_id = await create(client)
    await watch(client, search_id)
    report, differences = await replay(client, search_id)
    assert differences == []
    assert report.equal
    assert report.requests_equal == 20


async def test_requests_say_from_the_first_on_what_is_known_of_the_scenarios(new_stack: NewStack) -> None:
    stack = new_stack()
    client = await stack.start()
    search_id = await create(client)
    await watch(client, search_id)
    requests = [stack.generator.requests[f"{search_id}/{n}"].task for n in range(1, 21)]
    assert [(s.name, s.notes, s.baseline, s.bound) for s in requests[0].scenarios] == [
        ("t1", "- lies at 0.7", pytest.approx(0.3), 1.0),
        ("t2", "- lies at 0.75", pytest.approx(0.25), 1.0),
        ("t3", "- lies at 0.8", pytest.approx(0.2), 1.0),
    ]
    assert all(task.scenarios == requests[0].scenarios for task in requests)
    assert [task.number for task in requests] == list(range(1, 21))
    assert all("h1" not in str(task) for task in requests)
    assert [m.name for m in requests[-1].history[0].scenario_values] == ["t1", "t2", "t3"]


async def test_hints_are_shown_to_backends_only_if_the_search_asks_for_it(new_stack: NewStack) -> None:
    stack = new_stack()
    client = await stack.start()
    without, with_them = await create(client), await create(client, hints=True)
    for search_id in (without, with_them):
        await watch(client, search_id)
    assert stack.generator.requests[f"{without}/1"].task.simulator.hints == ""
    assert stack.generator.requests[f"{with_them}/1"].task.simulator.hints == "The targets lie above 0.6."


async def test_lessons_of_an_earlier_search_are_in_every_request(new_stack: NewStack) -> None:
    stack = new_stack()
    client = await stack.start()
    search_id = await create(client, carried_lessons=["s0 #7:\n 0.7 is  good"])
    await watch(client, search_id)
    carried = [list(stack.generator.requests[f"{search_id}/{n}"].task.carried_lessons) for n in range(1, 21)]
    assert carried == [["s0 #7: 0.7 is good"]] * 20
    for lessons in (["x" * 501], [" "], ["nul \0"], ["x"] * 101):
        with pytest.raises(InvalidArgument, match=r"spec\.carried_lessons"):
            await create(client, carried_lessons=lessons)


async def test_a_notebook_of_no_search_is_not_found(new_stack: NewStack) -> None:
    client = await new_stack().start()
    with pytest.raises(NotFound):
        await client.get_notebook(pb.GetNotebookRequest(search_id="s0"))
