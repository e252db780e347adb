"""Things that the system makes and others use again: containers, instances, connections."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Protocol

from quintain_system.fit.lifecycle import IS_FIRST, Lifecycle, Next
from quintain_system.fit.writing.words import id_attribute

_ITS_OWN = ("users", "ready", "gone", "queue")  # what the model keeps of a thing, by these names


class Target(Protocol):
    """What a pool writes to: a Writer."""

    init: list[str]
    timed: list[tuple[str, Next]]

    def gene(self, name: str, component: str, says: Mapping[str, str]) -> str: ...

    def parameter(self, name: str, low: float, high: float, unit: str, default: float, when: str = "") -> None: ...

    def method(self, head: str, doc: str, body: Sequence[str]) -> None: ...


class Pool:
    """Things that the system makes and others use again: containers, instances, connections."""

    def __init__(self, life: Lifecycle, kind: str) -> None:
        self.kind, self.life = kind, life
        self._own = id_attribute(life, kind)
        users = [
            (e, f)
            for e, spec in life.spec.events.items()
            if life.thing(e) != kind
            for f, of in spec.fields.items()
            if of.type == "ref" and of.of == kind
        ]
        self._users = dict(users)
        following = {n.event for e in self._users for n in life.next.get(e, ())}
        self._begins = [e for e in self._users if e not in following] or list(self._users)[:1]
        self._key = [
            f
            for f, of in life.spec.events[kind].fields.items()
            if of.type in ("ref", "index") and life.fields[kind].get(f, "").startswith("it.")
        ]
        own_events = [e for e in life.spec.events if life.thing(e) == kind and e != kind]
        ready = [n for n in life.next.get(kind, ()) if n.event in own_events]
        self._ready = ready[0] if ready else None
        ends = [e for e in own_events if not life.next.get(e) and (self._ready is None or e != self._ready.event)]
        self._gone = ends[0] if ends else None
        self._deciders = life.made_by.get(kind, ())
        self.rooms = [room for room in life.rooms if room.acquire == kind]

    def about(self, event: str) -> bool:
        return event in self._users or self.life.thing(event) == self.kind

    def begins(self, event: str) -> bool:
        return event in self._begins

    def ends(self, event: str) -> bool:
        return event in self._users and event not in self._begins

    def takes(self, trigger: str) -> bool:
        """Whether what follows `trigger` is that a thing of work gets one of these."""
        return trigger in self.life.spec.decisions and any(
            n.event in self._begins for n in self.life.next.get(trigger, ())
        )

    def makes(self, decision: str) -> bool:
        return decision in self._deciders

    def fields_of_use(self, event: str, own: str, identity: str) -> str:
        found = [f"{own}={identity}"]
        for name, expression in self.life.fields[event].items():
            of = self.life.spec.events[event].fields[name]
            if of.type == "ref" and of.of == self.kind:
                expression = f"it.{self._own}_used"
            elif of.type == "bool":
                expression = "it.had_to_wait"
            found.append(f"{name}={expression}")
        return ", ".join(found)

    def on_decision_about(self, decision: str) -> list[str]:
        if self._gone and any(n.event == self._gone for n in self.life.next.get(decision, ())):
            return [
                "if it.users or not it.ready:",
                f'    raise Rejected("{self.kind}_busy", "it is at work or starting")',
                f"self.drop_{self.kind}(it)",
            ]
        return [f"self.after_{decision}(it)"]

    def on_keep(self, decision: str) -> list[str]:
        """A decision about what these are made for, with a number of seconds: how long idle ones stay."""
        spec = self.life.spec.decisions[decision]
        refs = [f for f, of in spec.fields.items() if of.type in ("ref", "index")]
        seconds = [f for f, of in spec.fields.items() if of.type in ("float", "int")]
        if (
            len(spec.fields) == 2
            and len(refs) == 1
            and len(seconds) == 1
            and refs[0] in self._key
            and not self.makes(decision)
        ):
            return [
                f"self.keep_{self.kind}[decision.{refs[0]}] = decision.{seconds[0]}",
                f'for made in list(self.things["{self.kind}"].values()):',
                f"    if made.{refs[0]} == decision.{refs[0]} and made.idle_since is not None and not made.gone:",
                f"        self.idle_{self.kind}(made, made.idle_since)",
            ]
        return []

    def write(self, w: Target) -> None:
        kind, own = self.kind, self._own
        w.init += [
            f"self.pool_{kind} = {{}}  # what they are for -> those that are there",
            f"self.keep_{kind} = {{}}  # seconds that idle ones stay, where it was decided",
        ]
        places = self._concurrency(w)
        key = ", ".join(f"it.{f}" for f in self._key)
        self._write_take(w, key, places)
        self._write_make(w, key, own)
        self._write_use(w, own)
        self._write_end(w)

    def _concurrency(self, w: Target) -> str:
        most = self.life.most_users.get(self.kind, 1)
        says: dict[str, str] = {"recorded": f"{most} use one {self.kind} at once, as was recorded"}
        expressions = {"recorded": str(max(1, most))}
        for f in self._key:
            of = self.life.spec.events[self.kind].fields[f].of
            spec = self.life.spec.inputs.get(of or "")
            for name, field in (spec.fields if spec else {}).items():
                if field.type == "int" and (field.min or 0) >= 1 and re.search("concurr|slots|parallel|places", name):
                    says = {name: f"as many use one {self.kind} at once as its {name} says", **says}
                    expressions[name] = f'self.things["{of}"][it.{f}].{name}'
        gene = w.gene(f"users_{self.kind}", self.kind, says)
        text = ""
        for number, (name, expression) in enumerate(expressions.items()):
            text += f'{{% {"if" if number == 0 else "elif"} {gene} == "{name}" %}}\n        places = {expression}\n'
        return text + "{% endif %}"

    def _write_take(self, w: Target, key: str, places: str) -> None:
        kind = self.kind
        w.gene(
            f"start_{kind}",
            kind,
            {"new": f"who finds no {kind} waits for a new one", "none": f"a {kind} is always ready"},
        )
        body = [
            places,
            f"there = self.pool_{kind}.get(({key},), ())",
            "for made in there:",
            "    if made.ready and made.users < places:",
            f"        return self.use_{kind}(it, made, False)",
            "for made in there:",
            "    if not made.ready and len(made.queue) < places:",
            "        return made.queue.append(it)",
            f"self.make_{kind}(it).queue.append(it)",
        ]
        w.method(f"take_{kind}(self, it)", "One that is ready, else one that is starting, else a new one.", body)

    def _write_make(self, w: Target, key: str, own: str) -> None:
        kind, life = self.kind, self.life
        fields = ", ".join([f"{own}=self.made", *[f"{f}={e}" for f, e in life.fields[kind].items()]])
        # A law of its own steps may use all that its event says, not only what makes it alike.
        key = ", ".join(f"it.{f}" for f in self._key)
        told = "".join(f"{f}={e}, " for f, e in life.fields[kind].items() if f not in (*self._key, *_ITS_OWN))
        body: list[str] = []
        for room in self.rooms:
            w.init.append(f"self.held_{room.name} = {{}}  # place -> what is in use")
            body += [
                f"place, amount = {room.place}, {room.amount}",
                f"limit = {room.limit}",
                f"if self.held_{room.name}.get(place, 0) + amount > limit * 1.000000001:",
                f'    raise Rejected("no_room", "there is no room: {room.name}")',
                f"self.held_{room.name}[place] = self.held_{room.name}.get(place, 0) + amount",
            ]
        names = ", ".join(f"{f}=it.{f}" for f in self._key)
        body += [
            "self.made += 1",
            f"made = SimpleNamespace({own}=self.made, {names}, {told}users=0, ready=False, gone=False, queue=deque())",
            f"made.{IS_FIRST} = ({key},) not in self.pool_{kind}",
            "made.idle_since, made.turn = None, 0",
        ]
        for room in self.rooms:
            body.append(f"made.amount_{room.name}, made.place_{room.name} = amount, place")
        body += [
            f'self.things["{kind}"][self.made] = made',
            f"self.pool_{kind}.setdefault(({key},), []).append(made)",
            f'self.say("{kind}", made, Event("{kind}", {fields}))',
        ]
        if self._ready is None:
            body.append(f"self.plan(self.now, self.ready_{kind}, made)")
        else:
            name = self._ready.event
            if all(n != name for n, _ in w.timed):
                w.timed.append((name, self._ready))
            body += [
                f'{{% if start_{kind} == "none" %}}',
                f"self.plan(self.now, self.ready_{kind}, made)",
                "{% else %}",
                f"self.plan(self.now + self.seconds_to_{name}(made), self.ready_{kind}, made)",
                "{% endif %}",
            ]
        body.append("return made")
        w.method(f"make_{kind}(self, it)", "", body)

    def _write_use(self, w: Target, own: str) -> None:
        kind, begin = self.kind, self._begins[0]
        say = []
        if self._ready is not None:
            field = next(iter(self.life.spec.events[self._ready.event].fields))
            say = [f'self.say("{self._ready.event}", made, Event("{self._ready.event}", {field}=made.{own}))']
        w.method(
            f"ready_{kind}(self, made)",
            "",
            [
                "if made.gone:",
                "    return",
                "made.ready = True",
                *say,
                "while made.queue:",
                f"    self.use_{kind}(made.queue.popleft(), made, True)",
                "if not made.users:",
                f"    self.idle_{kind}(made, self.now)",
            ],
        )
        w.method(
            f"use_{kind}(self, it, made, had_to_wait)",
            "",
            [
                "made.users += 1",
                "made.idle_since = None",
                f"it.{own}_used, it.had_to_wait = made.{own}, had_to_wait",
                f"it.{own} = made.{own}" if own not in ("id",) else "it.used = made.id",
                f"self.on_{begin}(it)",
            ],
        )
        w.method(
            f"give_back_{kind}(self, it)",
            "",
            [
                f'made = self.things["{kind}"][it.{own}_used]',
                "made.users -= 1",
                "if not made.users and not made.gone:",
                f"    self.idle_{kind}(made, self.now)",
            ],
        )

    def _write_end(self, w: Target) -> None:
        kind = self.kind
        if self._gone is None:
            w.method(f"idle_{kind}(self, made, since)", "", ["made.idle_since = since"])
            return
        idle = self.life.idle_seconds.get((kind, self._gone), 0.0)
        configured = [
            n
            for n, c in self.life.spec.config.items()
            if type(c.default) in (int, float) and re.search("keep|idle|ttl|alive|linger", n)
        ]
        says = {
            "parameter": f"an idle {kind} stays for a time",
            "forever": f"an idle {kind} stays until it is told to go",
        }
        if configured:
            says = {"configured": f"an idle {kind} stays as long as the configuration says", **says}
        gene = w.gene(f"keep_{kind}", kind, says)
        most = max(10 * idle, 60.0)
        w.parameter(f"keep_{kind}", 0.01, most, "s", idle or most / 2, f'{gene} == "parameter"')
        key = self._key[0] if self._key else None
        decided = f"self.keep_{kind}.get(made.{key})" if key else "None"
        body = [
            "made.idle_since = since",
            "made.turn += 1",
            f"seconds = {decided}",
            f'{{% if {gene} == "configured" %}}',
            f"seconds = self.config.{configured[0] if configured else 'none'} if seconds is None else seconds",
            f'{{% elif {gene} == "parameter" %}}',
            f"seconds = self.parameters.keep_{kind} if seconds is None else seconds",
            "{% endif %}",
            "if seconds is not None:",
            f"    self.plan(max(self.now, since + seconds), self.expire_{kind}, made, made.turn)",
        ]
        w.method(f"idle_{kind}(self, made, since)", "", body)
        w.method(
            f"expire_{kind}(self, made, turn)",
            "",
            ["if not made.gone and made.turn == turn and made.idle_since is not None:", f"    self.drop_{kind}(made)"],
        )
        field = next(iter(self.life.spec.events[self._gone].fields))
        own = self._own
        free = [f"self.held_{r.name}[made.place_{r.name}] -= made.amount_{r.name}" for r in self.rooms]
        key_of = ", ".join(f"made.{f}" for f in self._key)
        w.method(
            f"drop_{kind}(self, made)",
            "",
            [
                "made.gone = True",
                f"self.pool_{kind}[({key_of},)].remove(made)",
                *free,
                f'self.say("{self._gone}", made, Event("{self._gone}", {field}=made.{own}))',
            ],
        )


def is_pool(life: Lifecycle, kind: str) -> bool:
    """Whether a thing that the system makes is used by what comes from outside."""
    return any(
        of.type == "ref" and of.of == kind
        for e, spec in life.spec.events.items()
        if life.thing(e) != kind
        for of in spec.fields.values()
    )
