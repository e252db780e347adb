"""The whole of a template: what follows what, and all parts put together."""

from __future__ import annotations

from quintain_system.fit.lifecycle import Next
from quintain_system.fit.writing.deciding import Deciding
from quintain_system.fit.writing.laws import Laws
from quintain_system.fit.writing.outcomes import Outcomes
from quintain_system.fit.writing.rooms import Rooms
from quintain_system.fit.writing.template import TEMPLATE
from quintain_system.fit.writing.words import id_attribute
from quintain_system.form.names import id_field


class Writer(Laws, Rooms, Deciding, Outcomes):
    """`template()`, and then `genes`. Not reusable."""

    def template(self) -> str:
        for kind in (*self.life.spec.inputs, *self.life.spec.decisions):
            self._after(kind)
        for kind in self.life.spec.events:
            self._event(kind)
        for pool in self.pools.values():
            pool.write(self)
        for room in self.rooms:
            self.write_room(room)
        for name, following in self.timed:
            self.write_law(name, following)
        self.write_companions()
        self.write_decisions()
        self.write_observe()
        return (
            TEMPLATE.replace("@PARAMETERS@", "\n".join(self.parameters))
            .replace("@INIT@", "\n".join(f"        {line}" for line in self.init))
            .replace("@KINDS@", repr(list(self._things())))
            .replace("@METHODS@", "\n\n".join(self.methods))
            .replace("@IDS@", repr({k: f for k, kind in self.life.spec.inputs.items() if (f := id_field(kind))}))
            .replace("@LUCKS@", repr(self.lucks))
            .replace("@FINAL@", repr(tuple(e for e in self.life.spec.events if not self.life.next.get(e))))
            .replace("@EVENTS@", repr(tuple(self.life.spec.events)))
            .replace("@WORKED_ON@", repr(self.worked_on()))
        )

    def _things(self) -> list[str]:
        kinds = {**self.life.spec.inputs, **self.life.spec.events}
        return [name for name, kind in kinds.items() if id_field(kind)]

    def _after(self, kind: str) -> None:
        """What comes by itself after an input or a decision."""
        self.method(f"after_{kind}(self, it)", "", [*self.add_parts(kind), *self.what_follows(kind)] or ["pass"])

    def what_follows(self, kind: str) -> list[str]:
        life = self.life
        following = life.next.get(kind, ())
        pool = next((p for p in self.pools.values() if p.takes(kind)), None)
        if pool is not None:
            return [f"self.take_{pool.kind}(it)"]
        if not following:
            return []
        if kind in life.needs:
            following = sorted(following, key=lambda one: one.event != life.needs[kind][0])
        lines: list[str] = []
        for number, one in enumerate(following):
            last = number == len(following) - 1
            body = self._come(kind, one)
            if len(following) == 1:
                return body
            if number == 0:
                lines += self.write_failure(kind, one)
            elif last:
                lines.append("else:")
            else:
                rest = sum(n.share for n in following[number:])
                lines.append(f"elif self.random.random() < {one.share / rest:.3g}:")
            lines += [line if line.startswith("{%") else f"    {line}" for line in body]
        return lines

    def _come(self, trigger: str, following: Next) -> list[str]:
        """One event comes: at once, when there is room, or after its time."""
        event = following.event
        room = self.room_of.get(event)
        if room is not None:
            return self.come_when_room(room, event, following)
        if following.immediate:
            return [f"self.on_{event}(it)"]
        name = self.step_name(following, trigger)
        if all(n != name for n, _ in self.timed):
            self.timed.append((name, following))
        shared = self.write_sharing(name, event, following)
        plain = f"self.plan(self.now + self.seconds_to_{name}(it), self.on_{event}, it)"
        lined = self.write_line(name, event, following)
        return self.choose_way(name, plain, shared, lined)

    def _event(self, kind: str) -> None:
        life = self.life
        thing = life.thing(kind)
        if thing is None or kind in self.pools:
            return
        key = life.kinds.key[life.kinds.number(kind)]
        own = list(life.spec.events[kind].fields)[(key or 1) - 1]
        pool = next((p for p in self.pools.values() if p.about(kind)), None)
        identity = f"it.{id_attribute(life, thing)}"
        fields = ", ".join([f"{own}={identity}", *[f"{f}={e}" for f, e in life.fields[kind].items()]])
        body: list[str] = []
        if kind in life.made_by:
            body += ["self.made += 1", f"{identity} = self.made", f'self.things["{thing}"][self.made] = it']
        if pool is not None and pool.begins(kind):
            fields = pool.fields_of_use(kind, own, identity)
        body += [f'self.say("{kind}", it, Event("{kind}", {fields}))']
        for room in self.rooms:
            if kind in room.release and room is self.room_of[room.acquire]:
                body.append(f"self.leave_{room.name}(it)")
        if pool is not None and pool.ends(kind):
            body.append(f"self.give_back_{pool.kind}(it)")
        self.method(f"on_{kind}(self, it)", "", [*body, *self.what_follows(kind), *self.take_parts(kind)])
