"""The frame of a model that is written: what is the same for every package. Jinja, and @NAMES@ that a Writer fills."""

TEMPLATE = '''"""{{ doc }}"""

import heapq
import math
from collections import deque
from types import SimpleNamespace

from quintain_system import Event, Parameter, Rejected

PARAMETERS = {
@PARAMETERS@
}

IDS = @IDS@  # of what comes from outside: the field with its id
WORKED_ON = @WORKED_ON@
EVENTS = @EVENTS@
OURS = ("kind", "_line", "users", "ready", "gone", "queue")  # what the model, not an event, says of a thing
LUCKS = @LUCKS@  # kind that comes from outside -> what is drawn for each of them
FINAL = @FINAL@  # events after which nothing comes by itself


def drawn(random, quantiles):
    """A value between recorded quantiles, evenly spaced."""
    place = random.random() * (len(quantiles) - 1)
    low = int(place)
    return quantiles[low] + (place - low) * (quantiles[low + 1] - quantiles[low])


class Model:
    def __init__(self, config, parameters, random):
        self.config, self.parameters, self.random = config, parameters, random
        self.things = {kind: {} for kind in @KINDS@}
        self.calendar, self.order, self.now = [], 0, 0.0  # (time, order, method, its arguments)
        self.outside = type(random)(random.random())  # draws that are the same whatever is decided
        self.said = []  # events of now
        self.made = 0  # things that the system has made
        self.deciding = False
        self.open = {}  # (kind, id) -> what was decided about and is not done
@INIT@

    def on_input(self, time, given):
        self.now = time
        given.stage = given.kind
        for name in LUCKS.get(given.kind, ()):
            setattr(given, name, self.outside.gauss(0.0, 1.0))
        own = IDS.get(given.kind)
        if own is not None:
            self.things[given.kind][getattr(given, own)] = given
            if given.kind in WORKED_ON:
                getattr(self, f"undecided_{given.kind}").add(getattr(given, own))
        getattr(self, f"after_{given.kind}")(given)

    def on_decision(self, time, decision):
        self.now, self.deciding = time, True
        try:
            getattr(self, f"decide_{decision.kind}")(decision)
        finally:
            self.deciding = False

    def say(self, kind, it, event):
        it.stage = kind
        for name, value in vars(event).items():
            if name not in OURS:
                setattr(it, name, value)  # what the event says of it is known of it from now on
        self.said.append(event)
        if kind in FINAL and getattr(it, "kind", None) in WORKED_ON:
            self.open.pop((it.kind, getattr(it, IDS[it.kind])), None)
        for name in self.tells.get(kind, ()):
            getattr(self, name)(it)

    def count(self, field, place, running):
        """What was decided about and is not done, at a place or anywhere; `running`: of which an event told."""
        return sum(
            (field is None or getattr(it, field, None) == place) and (not running or it.stage in EVENTS)
            for it in self.open.values()
        )

@METHODS@

    def plan(self, time, method, *arguments):
        self.order += 1
        heapq.heappush(self.calendar, (time, self.order, method, arguments))

    def next_event_time(self):
        if self.said:
            return self.now
        return self.calendar[0][0] if self.calendar else None

    def advance(self, time):
        self.now = time
        while self.calendar and self.calendar[0][0] <= time:
            _, _, method, arguments = heapq.heappop(self.calendar)
            method(*arguments)
        events, self.said = self.said, []
        return events
'''
