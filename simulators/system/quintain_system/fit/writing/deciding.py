"""What decisions do, what is told beside, and what policies see."""

from __future__ import annotations

import re

from quintain_system.fit.writing.lines import Lines
from quintain_system.fit.writing.pool import Pool
from quintain_system.fit.writing.words import count_of


class Deciding(Lines):
    """Writes the methods that decisions call, and observe()."""

    def write_companions(self) -> None:
        for kind in self.life.companions:
            spec = self.life.spec.events[kind]
            self.gene(
                f"tell_{kind}",
                "tells",
                {
                    "while_waiting": f"{kind} is told while something waits",
                    "always": f"{kind} is always told",
                    "never": f"{kind} is not told",
                },
            )
            fields = []
            for name in spec.fields:
                fallback = self.life.fields[kind].get(name, "None")
                fields.append(f'{name}=getattr(it, "{name}", {fallback if not fallback.startswith("it.") else None})')
            waiting = " or ".join(f"self.undecided_{k}" for k in self.worked_on()) or "True"
            self.method(
                f"tell_{kind}(self, it)",
                "",
                [
                    f'{{% if tell_{kind} == "while_waiting" %}}',
                    f"if {waiting}:",
                    f'    self.said.append(Event("{kind}", {", ".join(fields)}))',
                    f'{{% elif tell_{kind} == "always" %}}',
                    f'self.said.append(Event("{kind}", {", ".join(fields)}))',
                    "{% else %}",
                    "pass",
                    "{% endif %}",
                ],
            )
        told = {k: [c for c, kinds in self.life.companions.items() if k in kinds] for k in self.life.spec.events}
        self.init.append(f"self.tells = { {k: [f'tell_{c}' for c in v] for k, v in told.items() if v}!r}")

    def write_decisions(self) -> None:
        life = self.life
        for kind in self.worked_on():
            self.init.append(f"self.undecided_{kind} = set()  # that wait for a decision")
        for kind, spec in life.spec.decisions.items():
            thing = life.thing(kind)
            pool = next((p for p in self.pools.values() if p.makes(kind)), None)
            body: list[str] = []
            if thing is not None:
                key = list(spec.fields)[(life.kinds.key[life.kinds.number(kind)] or 1) - 1]
                before = [k for k in life.before.get(kind, ()) if life.thing(k) == thing]
                body += [
                    f'it = self.things["{thing}"].get(decision.{key})',
                    f"if it is None or it.stage not in {tuple(before)!r}:"
                    if thing in (*self.worked_on(), *self.pools)
                    else "if it is None:",
                    f'    raise Rejected("out_of_turn", f"{kind}: not now for {thing} {{decision.{key}}}")',
                ]
                others = [f for f in spec.fields if f != key]
                if thing in self.worked_on():
                    body += [f"it.{f} = decision.{f}" for f in others]
                    body += [f'it.stage = "{kind}"', f"self.undecided_{thing}.discard(decision.{key})"]
                    body.append(f'self.open["{thing}", decision.{key}] = it')
            else:
                body.append("it = decision")
            body += self._consequence(kind, thing, pool)
            self.method(f"decide_{kind}(self, decision)", "", body)

    def _consequence(self, kind: str, thing: str | None, pool: Pool | None) -> list[str]:
        makes = [event for event, by in self.life.made_by.items() if kind in by and event not in self.pools]
        if pool is not None and not pool.takes(kind):
            if thing is None:
                return [f"self.make_{pool.kind}(decision)"]
            return [f"self.make_{pool.kind}(SimpleNamespace(**{{**vars(it), **vars(decision)}}))"]
        for found in self.pools.values():
            if thing == found.kind:
                return found.on_decision_about(kind)
            if lines := found.on_keep(kind):
                return lines
        if makes and thing in self.worked_on():
            return [
                "made = SimpleNamespace(**{k: v for k, v in vars(it).items()})",
                f'made.stage = "{kind}"',
                f"self.plan(self.now, self.on_{makes[0]}, made)",
                f"self.after_{kind}(it)",
            ]
        if makes:
            return [
                "made = SimpleNamespace(**vars(decision))",
                f'made.stage = "{kind}"',
                f"self.plan(self.now, self.on_{makes[0]}, made)",
            ]
        return [f"self.after_{kind}(it)"]

    def write_observe(self) -> None:
        """A guess from names: recordings do not hold what policies saw."""
        rows = []
        for name, field in self.life.spec.observation.items():
            seen = self._seen(name, field.type, field.about)
            rows.append(f'    "{name}": {f"round({seen})" if field.type == "int" else seen},')
        self.method("observe(self)", "What policies may see, as far as names tell.", ["return {", *rows, "}"])

    def _seen(self, name: str, kind: str, about: str) -> str:
        index = next(
            ((f, of.of) for spec in self.life.kinds.specs for f, of in spec.fields.items() if of.type == "index"), None
        )
        many = kind == "any" and index is not None and "list" in about.lower()
        text = f"{name} {about}".lower()
        named = [room for room in self.life.rooms if room.name in name]
        room = next(iter([*named, *self.life.rooms]), None)
        if kind in ("string", "bool"):
            return "False" if kind == "bool" else '""'
        wanted = (
            "free"
            if re.search(r"free|avail|idle|left", text)
            else "running"
            if re.search(r"run|busy|work|active|in use", name)
            else "there"
        )
        if wanted == "free" and room is not None:
            held = f"self.held_{room.name}"
            if many and index is not None:
                limit = room.limit.replace("[place]", "[place]")
                return f"[{limit} - {held}.get(place, 0) for place in range({count_of(self.life, index[1])})]"
            return f"{room.limit.replace('[place]', '[0]')} - sum({held}.values())"
        running = wanted == "running"
        if many and index is not None:
            return f'[self.count("{index[0]}", place, {running}) for place in range({count_of(self.life, index[1])})]'
        return f"self.count(None, None, {running})"
