"""What all parts of a writer share: the lines of a template, the genes and parameters that they refer to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from quintain.plugins.grammar import Gene
from quintain_system.fit.lifecycle import Lifecycle, Next
from quintain_system.fit.writing.pool import Pool, is_pool
from quintain_system.form.names import id_field


class Lines:
    """Collects what a template consists of."""

    def __init__(self, life: Lifecycle) -> None:
        self.life = life
        self.genes: list[Gene] = []
        self.parameters: list[str] = []
        self.methods: list[str] = []
        self.init: list[str] = []
        self.lucks: dict[str, list[str]] = {}  # kind that comes from outside -> what is drawn for each of them
        self.timed: list[tuple[str, Next]] = []
        self.pools = {kind: Pool(life, kind) for kind in life.made_by if is_pool(life, kind)}
        self.rooms = [room for room in life.rooms if room.acquire not in life.made_by]
        self.room_of = {room.acquire: room for room in reversed(self.rooms)}  # the first of several

    def gene(
        self, name: str, component: str, says: Mapping[str, str], when: Mapping[str, tuple[str, ...]] | None = None
    ) -> str:
        """A choice; the first is the default."""
        options = tuple(says)
        if all(g.name != name for g in self.genes):
            self.genes.append(Gene(name, component, "choice", options[0], choices=options, says=says, when=when))
        return name

    def parameter(self, name: str, low: float, high: float, unit: str, default: float, when: str = "") -> None:
        low_shown, high_shown = float(f"{low:.4g}"), float(f"{high:.4g}")
        shown = min(high_shown, max(low_shown, float(f"{default:.4g}")))
        line = f'    "{name}": Parameter({low_shown!r}, {high_shown!r}, "{unit}", {shown!r}),'
        self.parameters.append(f"{{% if {when} %}}\n{line}\n{{% endif %}}" if when else line)

    def method(self, head: str, doc: str, body: Sequence[str]) -> None:
        lines = [f"    def {head}:"]
        if doc:
            lines.append(f'        """{doc}"""')
        for line in body:
            lines.append(line if line.startswith("{%") else f"        {line}")
        self.methods.append("\n".join(lines))

    def luck(self, name: str, kind: str | None) -> str:
        """A standard normal draw for a thing of this kind: of what comes from outside always the same one, so that
        policies are compared on the same work."""
        if kind is None or kind not in self.life.spec.inputs:
            return "self.random.gauss(0.0, 1.0)"
        names = self.lucks.setdefault(kind, [])
        if f"luck_{name}" not in names:
            names.append(f"luck_{name}")
        return f"it.luck_{name}"

    def worked_on(self) -> list[str]:
        """Things from outside that decisions are about."""
        about = {self.life.thing(kind) for kind in self.life.spec.decisions}
        return [
            k
            for k in self.life.spec.inputs
            if k in about
            and id_field(self.life.spec.inputs[k])
            and any(self.life.thing(e) == k for e in self.life.spec.events)
        ]

    def step_name(self, following: Next, trigger: str) -> str:
        others = [k for k, found in self.life.next.items() if any(n.event == following.event for n in found)]
        return following.event if len(others) <= 1 else f"{following.event}_after_{trigger}"

    def place_of(self, following: Next) -> str:
        """Where a thing is when a step begins, as an expression; ``None`` if nothing says it."""
        names = dict.fromkeys(
            f for kind in self.life.kinds.specs for f, of in kind.fields.items() if of.type == "index"
        )
        known = following.samples[0].known if following.samples else {}
        return next((f"it.{name}" for name in names if f"it.{name}" in known), "None")
