"""What systems make has ids of their own: a recorded decision is about the thing that is alike in the model."""

from __future__ import annotations

from quintain.plugins.inprocess import InProcessPolicy
from quintain_system.fit.episode import episode_of, kinds_by_number
from quintain_system.fit.rollout import Rollouts, setup_of
from quintain_system.form.package import read_toml
from quintain_system.form.spec import SystemSpec
from quintain_system.guest.rollout import MadeIds, load
from quintain_system.recordings.form import Entry, Recording

SYSTEM = b"""
name = "desk"
[config]
desks = { default = 2, min = 1 }
[inputs.visitor]
fields.visitor = "id"
[decisions.open]
fields.desk = "index:desks"
[decisions.close]
fields.session = "ref:session"
[events.session]
fields.session = "id"
fields.desk = "index:desks"
[events.closed]
fields.session = "ref:session"
[policy]
every = 1.0
[metrics]
closed = { type = "count", of = ["closed"] }
[objectives.closed]
metric = "closed"
direction = "maximize"
"""
MODEL = """
from quintain_system import Event

class Model:
    def __init__(self, config, parameters, random):
        self.said, self.now, self.made = [], 0.0, 100  # its own numbers

    def on_input(self, time, given):
        pass

    def on_decision(self, time, decision):
        self.now = time
        if decision.kind == "open":
            self.made += 7
            self.said.append(Event("session", session=self.made, desk=decision.desk))
        else:
            self.said.append(Event("closed", session=decision.session))

    def next_event_time(self):
        return self.now if self.said else None

    def advance(self, time):
        said, self.said = self.said, []
        return said

    def observe(self):
        return {}
"""


def test_a_thing_is_named_by_what_it_is_and_how_many_like_it_came_later() -> None:
    recorded, own = MadeIds([[1, 2], None]), MadeIds([[1, 2], None])
    for event in ([0, 1, "a"], [0, 2, "b"], [1, 9, "a"], [0, 3, "a"]):
        recorded.note(event)
    for event in ([0, "x", "a"], [0, "y", "a"], [0, "z", "a"]):  # one more of this kind, none of the other
        own.note(event)
    named = [recorded.described(thing) for thing in (1, 2, 3, 4)]
    assert named == [[0, ["a"], 1], [0, ["b"], 0], [0, ["a"], 0], None]
    assert [own.resolved([5, name], [1]) for name in named] == [[5, "y"], None, [5, "z"], None]
    assert own.resolved([5, 1], []) == [5, 1]


def test_recorded_decisions_are_taken_by_a_model_that_numbers_otherwise() -> None:
    spec = read_toml("system.toml", SYSTEM, SystemSpec)
    kinds = kinds_by_number(spec)
    entries = [
        Entry(1.0, "decision", "open", {"desk": 0}),
        Entry(1.0, "event", "session", {"session": 1, "desk": 0}),
        Entry(2.0, "decision", "open", {"desk": 1}),
        Entry(2.0, "event", "session", {"session": 2, "desk": 1}),
        Entry(3.0, "decision", "close", {"session": 1}),
        Entry(3.0, "event", "closed", {"session": 1}),
        Entry(4.0, "decision", "close", {"session": 77}),
    ]
    episode = episode_of(Recording("day", "desk", "by_hand", {"desks": 2}, 10.0, tuple(entries)), kinds)
    setup = setup_of(spec)
    found = Rollouts(spec, kinds, InProcessPolicy(load, MODEL, setup)).run(episode, {}, 0)
    assert found.refused == {"unknown_id": 1}  # nothing is known of 77
    session, closed = kinds.number("session"), kinds.number("closed")
    made = [record for _, record in found.history if record[0] in (session, closed)]
    assert made == [[session, 107, 0], [session, 114, 1], [closed, 107]]
    assert [record[1] for _, record in found.history if record[0] == kinds.number("close")] == [107]
