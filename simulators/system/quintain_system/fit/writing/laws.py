"""How long steps take, who shares a place while they last, and lines before them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from quintain_system.fit.laws import Law
from quintain_system.fit.lifecycle import Next
from quintain_system.fit.writing.lines import Lines
from quintain_system.fit.writing.words import attribute_of, division

SPREAD = 5.0  # a parameter may be so many times an estimate, or such a part of it
MOST_SERVERS = 64


class Laws(Lines):
    """Writes a step's time."""

    def write_law(self, name: str, following: Next) -> None:
        law = following.law
        linear = bool(law.features or law.cases) and law.explained > 0.1
        says = {
            "linear": f"{name} takes a time that its features explain",
            "spread": f"{name} takes a time that its features explain, more or less",
            "lognormal": f"{name} takes a lognormal time",
            "constant": f"{name} always takes the same time",
            "recorded": f"{name} takes a time drawn from those that were recorded",
        }
        if not linear:
            says = {k: says[k] for k in ("lognormal", "constant", "recorded")}
        elif law.explained < 0.9:
            says = {"spread": says["spread"], **says}
        gene = self.gene(f"law_{name}", name, says)
        luck = self.luck(name, self.life.thing(following.event))
        body: list[str] = ["p = self.parameters"]
        plain = f"seconds = {law.plain_median:.4g} * math.exp(self.random.gauss(0.0, {law.plain_sigma:.3g}))"
        body += ['{% if genes.get("floor") %}', plain]
        if linear:
            body += [f'{{% elif {gene} in ("linear", "spread") %}}', *self._by_case(name, law, gene)]
            self.parameter(f"{name}_spread", 0.0, 2.0, "", min(1.5, max(0.02, law.spread)), f'{gene} == "spread"')
            body += [
                f'{{% if {gene} == "spread" %}}',
                f"seconds *= math.exp(p.{name}_spread * {luck} - p.{name}_spread**2 / 2)",  # the mean stays
                "{% endif %}",
            ]
            body.append(f'{{% elif {gene} == "lognormal" %}}')
        else:
            body.append(f'{{% elif {gene} == "lognormal" %}}')
        median = max(law.median, 1e-6)
        when = f'{gene} in ("lognormal", "constant")'
        self.parameter(f"{name}_seconds", median / SPREAD, median * SPREAD, "s", median, when)
        self.parameter(f"{name}_sigma", 0.0, max(1.0, 2 * law.sigma), "", law.sigma, f'{gene} == "lognormal"')
        body += [f"seconds = p.{name}_seconds * math.exp(p.{name}_sigma * {luck})"]
        body += [f'{{% elif {gene} == "constant" %}}', f"seconds = p.{name}_seconds", "{% else %}"]
        quantiles = ", ".join(f"{q:.4g}" for q in law.quantiles)
        body += [f"seconds = drawn(self.random, ({quantiles}))", "{% endif %}"]
        for expression, factors in law.groups.items():
            what = attribute_of(expression)
            gene = self.gene(
                f"by_{what}_{name}",
                name,
                {"differs": f"by {what} as recorded", "alike": f"whatever the {what}"},
            )
            table = ", ".join(f"{v!r}: {f:.3g}" for v, f in sorted(factors.items(), key=lambda e: str(e[0])))
            body += [f'{{% if {gene} == "differs" %}}', f"seconds *= {{{table}}}.get({expression}, 1.0)", "{% endif %}"]
        body.append("return seconds")
        self.method(f"seconds_to_{name}(self, it)", "", body)

    def _by_case(self, name: str, law: Law, gene: str) -> list[str]:
        usual = f"seconds = {self._linear(name, law.base, law.features, law, gene)}"
        lines = []
        for number, case in enumerate(law.cases):
            own = name + re.sub(r"\W", "_", f"_{case.value}")
            lines.append(f"{'elif' if number else 'if'} {case.attribute} == {case.value!r}:")
            lines.append(f"    seconds = {self._linear(own, case.base, case.features, law, gene)}")
        return [*lines, "else:", f"    {usual}"] if lines else [usual]

    def _linear(self, name: str, base: float, features: Mapping[str, float], law: Law, gene: str) -> str:
        when = f'{gene} in ("linear", "spread")'
        terms = []
        scale = max(base, 0.05 * float(law.quantiles[10]), 1e-6)
        self.parameter(f"{name}_base", 0.0, 3 * scale, "s", base, when)
        terms.append(f"p.{name}_base")
        for number, (expression, coefficient) in enumerate(features.items(), start=1):
            label = f"{name}_per_{attribute_of(expression)}"
            if any(f'"{label}"' in line for line in self.parameters):
                label = f"{label}_{number}"
            self.parameter(label, coefficient / SPREAD, coefficient * SPREAD, "s", coefficient, when)
            terms.append(f"p.{label} * {division(expression)}")
        return " + ".join(terms)

    def write_sharing(self, name: str, event: str, following: Next) -> str:
        place = self.place_of(following)
        self.gene(
            f"share_{name}",
            name,
            {
                "alone": "whatever else happens there",
                "cores": "all at one place share its cores evenly",
                "crowd": "the slower the more are at one place",
            },
        )
        when = f'share_{name} == "cores"'
        counts = [
            n
            for n, c in self.life.spec.config.items()
            if type(c.default) is int and re.search("core|cpu|slot|thread", n)
        ]
        if counts:
            cores = f"self.config.{counts[0]}"
        else:
            self.parameter(f"cores_{name}", 1.0, float(MOST_SERVERS), "", 4.0, when)
            cores = f"self.parameters.cores_{name}"
        self.parameter(f"slowdown_{name}", 0.0, 1.0, "", 0.1, f'share_{name} != "alone"')
        self.init.append(f'{{% if share_{name} != "alone" %}}')
        self.init.append(f"self.shared_{name} = {{}}  # place -> who is at work there")
        self.init.append("{% endif %}")
        slow = f"(1.0 + self.parameters.slowdown_{name} * max(0.0, n - 1.0))"
        speed = [
            f'{{% if share_{name} == "cores" %}}',
            f"speed = min(1.0, {cores} / n) / (1.0 + self.parameters.slowdown_{name} * max(0.0, n / {cores} - 0.5))",
            "{% else %}",
            f"speed = 1.0 / {slow}",
            "{% endif %}",
        ]
        self.methods.append(f'{{% if share_{name} != "alone" %}}')
        self.method(
            f"share_{name}(self, it)",
            "Work at one place goes on at the speed that its number leaves to each.",
            [
                f"place = {place}",
                f"if place not in self.shared_{name}:",
                "    new = SimpleNamespace(clock=0.0, since=self.now, speed=1.0, heap=[], turn=0)",
                f"    self.shared_{name}[place] = new",
                f"at = self.shared_{name}[place]",
                f"self.tick_{name}(at)",
                "self.order += 1",
                f"heapq.heappush(at.heap, (at.clock + self.seconds_to_{name}(it), self.order, it))",
                f"self.speed_{name}(at)",
            ],
        )
        self.method(
            f"tick_{name}(self, at)",
            "",
            ["at.clock += (self.now - at.since) * at.speed", "at.since = self.now"],
        )
        self.method(
            f"speed_{name}(self, at)",
            "",
            [
                "at.turn += 1",
                "n = len(at.heap)",
                "if n:",
                *[line if line.startswith("{%") else f"    {line}" for line in speed],
                "    at.speed = speed",
                f"    self.plan(self.now + max(0.0, at.heap[0][0] - at.clock) / speed, self.done_{name}, at, at.turn)",
            ],
        )
        self.method(
            f"done_{name}(self, at, turn)",
            "",
            [
                "if turn != at.turn:",
                "    return",
                f"self.tick_{name}(at)",
                "due, _, it = heapq.heappop(at.heap)",
                "at.clock = max(at.clock, due)",
                f"self.speed_{name}(at)",
                f"self.on_{event}(it)",
            ],
        )
        self.methods.append("{% endif %}")
        return f"self.share_{name}(it)"

    def write_line(self, name: str, event: str, following: Next) -> str:
        """A queue before a step that no capacity invariant speaks of."""
        if any(event in room.release for room in self.life.rooms):
            return ""
        place = self.place_of(following)
        says = {"none": "at once", "one": "when one of the servers is free"}
        if place != "None":
            says["by_place"] = "when one of the servers of its place is free"
        gene = self.gene(f"line_{name}", name, says, {f"share_{name}": ("alone",)})
        when = f'{gene} != "none"'
        self.parameter(f"servers_{name}", 1.0, float(MOST_SERVERS), "", 4.0, when)
        self.init += [
            f"{{% if {when} %}}",
            f"self.line_{name} = {{}}  # place -> servers at work, who waits",
            "{% endif %}",
        ]
        where = [f'{{% if {gene} == "by_place" %}}', f"place = {place}", "{% else %}", "place = None", "{% endif %}"]
        self.methods.append(f"{{% if {when} %}}")
        self.method(
            f"queue_{name}(self, it)",
            "",
            [
                *where,
                f"line = self.line_{name}.setdefault(place, SimpleNamespace(busy=0, waiting=deque()))",
                f"if line.busy < round(self.parameters.servers_{name}):",
                "    line.busy += 1",
                f"    self.plan(self.now + self.seconds_to_{name}(it), self.served_{name}, it, line)",
                "else:",
                "    line.waiting.append(it)",
            ],
        )
        self.method(
            f"served_{name}(self, it, line)",
            "",
            [
                "if line.waiting:",
                "    following = line.waiting.popleft()",
                f"    self.plan(self.now + self.seconds_to_{name}(following), self.served_{name}, following, line)",
                "else:",
                "    line.busy -= 1",
                f"self.on_{event}(it)",
            ],
        )
        self.methods.append("{% endif %}")
        return f"self.queue_{name}(it)"

    def choose_way(self, name: str, plain: str, shared: str, lined: str) -> list[str]:
        """The lines that begin a step: shared, in line, or by itself, as the genes say."""
        lines: list[str] = [f'{{% if share_{name} != "alone" %}}', shared, "{% else %}"]
        if lined:
            lines += [f'{{% if line_{name} != "none" %}}', lined, "{% else %}", plain, "{% endif %}"]
        else:
            lines.append(plain)
        return [*lines, "{% endif %}"]
