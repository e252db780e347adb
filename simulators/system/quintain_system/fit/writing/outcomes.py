"""Which of several events comes, and what comes when all parts of a thing are done."""

from __future__ import annotations

from quintain_system.fit.lifecycle import Next
from quintain_system.fit.needs import Need
from quintain_system.fit.writing.lines import Lines
from quintain_system.fit.writing.words import attribute_of, id_attribute


class Outcomes(Lines):
    """Writes failures and joins."""

    def write_failure(self, kind: str, one: Next) -> list[str]:
        """The condition under which the first of several events comes: too little was given, or chance."""
        event = one.event
        chance = f"if self.random.random() < self.parameters.chance_{event}:"
        if kind not in self.life.needs:
            self.parameter(f"chance_{event}", 0.0, 1.0, "", one.share)
            return [chance]
        need = self.life.needs[kind][1]
        what = attribute_of(need.given)
        gene = self.gene(
            f"fails_{event}",
            event,
            {"need": f"{event} comes with less {what} than it needs", "chance": f"{event} comes by chance"},
        )
        # Both floors know nothing of how the system works.
        needs = f'{gene} == "need" and not (genes.get("floor") or genes.get("replay"))'
        self.parameter(f"chance_{event}", 0.0, 1.0, "", one.share, f"not ({needs})")
        self._write_need(event, need, needs)
        return [
            f"{{% if {needs} %}}",
            f"if {need.given} < self.need_of_{event}(it):",
            "{% else %}",
            chance,
            "{% endif %}",
        ]

    def _write_need(self, event: str, need: Need, when: str) -> None:
        """Its numbers are no parameters: recordings bound them directly, and between the bounds no distance tells."""
        name = f"need_{event}"
        median = f"{need.median:.12g}"
        for expression, medians in need.groups.items():
            table = ", ".join(f"{v!r}: {m:.12g}" for v, m in sorted(medians.items(), key=lambda e: str(e[0])))
            median = f"{{{table}}}.get({expression}, {median})"
        if not need.sigma:
            body = [f"return {median}"]
        else:
            luck = self.luck(name, self.life.thing(event))
            body = [f"return {median} * math.exp({need.sigma:.3g} * {luck})"]
        self.methods.append(f"{{% if {when} %}}")
        self.method(f"need_of_{event}(self, it)", "The same at each try.", body)
        self.methods.append("{% endif %}")

    def add_parts(self, kind: str) -> list[str]:
        """When a part of something comes."""
        lines = []
        for event, join in self.life.joins.items():
            if join.part == kind:
                self.init.append(f"self.parts_{event} = {{}}  # id of what is {event} -> its parts that are not")
                own = id_attribute(self.life, kind)
                lines.append(f"self.parts_{event}.setdefault(it.{join.field}, set()).add(it.{own})")
        return lines

    def take_parts(self, kind: str) -> list[str]:
        """When a part may be the last one."""
        lines = []
        for event, join in self.life.joins.items():
            if join.event == kind:
                whole, own = self.life.thing(event), id_attribute(self.life, join.part)
                lines += [
                    f"parts = self.parts_{event}.get(it.{join.field})",
                    "if parts is not None:",
                    f"    parts.discard(it.{own})",
                    "    if not parts:",
                    f"        del self.parts_{event}[it.{join.field}]",
                    f'        self.on_{event}(self.things["{whole}"][it.{join.field}])',
                ]
        return lines
