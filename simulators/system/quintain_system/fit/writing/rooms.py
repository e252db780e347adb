"""What is held: capacity invariants as queues in front of what they limit."""

from __future__ import annotations

from quintain_system.fit.lifecycle import Next, Room
from quintain_system.fit.writing.lines import Lines
from quintain_system.fit.writing.words import division


class Rooms(Lines):
    """Writes a capacity invariant."""

    def come_when_room(self, room: Room, event: str, following: Next) -> list[str]:
        self.gene(
            f"full_{room.name}",
            room.name,
            {"wait": "who finds no room waits for it", "refuse": "a decision that finds no room is refused"}
            if not following.immediate
            else {"refuse": "a decision that finds no room is refused", "wait": "who finds no room waits for it"},
        )
        self.gene(
            f"order_{room.name}",
            room.name,
            {
                "first_come": "who waits longest is next",
                "last_come": "who came last is next",
                "shortest": "who needs least is next",
            },
            {f"full_{room.name}": ("wait",)},
        )
        self.gene(f"lag_{event}", room.name, {"none": "with no lag", "constant": "after a lag that is always the same"})
        when = f'lag_{event} == "constant"'
        self.parameter(
            f"lag_{event}", 0.0, max(0.01, 2 * min(following.law.quantiles)), "s", min(following.law.quantiles), when
        )
        quantiles = ", ".join(f"{q:.4g}" for q in following.law.quantiles)
        return [
            '{% if genes.get("replay") %}',
            f"self.plan(self.now + drawn(self.random, ({quantiles})), self.on_{event}, it)",
            f"{{% elif {when} %}}",
            f"self.plan(self.now + self.parameters.lag_{event}, self.enter_{room.name}, it)",
            "{% else %}",
            f"self.enter_{room.name}(it)",
            "{% endif %}",
        ]

    def write_room(self, room: Room) -> None:
        """What several capacities limit (CPU and memory) waits once, for all of them."""
        together = [other for other in self.rooms if other.acquire == room.acquire]
        if room is not together[0]:
            return
        for other in together:
            self.init.append(f"self.held_{other.name} = {{}}  # place -> what is in use of {other.name}")
        self.init.append(f"self.waiting_{room.name} = {{}}  # place -> who waits for it")
        effort = self._effort(room)
        self.method(
            f"room_{room.name}(self, it)",
            f"Whether there is room of {' and '.join(other.name for other in together)}.",
            [
                line
                for other in together
                for line in (
                    f"place = {other.place}",
                    f"limit = {other.limit}",
                    f"if self.held_{other.name}.get(place, 0) + {other.amount} > limit * 1.000000001:",
                    "    return False",
                )
            ]
            + ["return True"],
        )
        self.method(
            f"enter_{room.name}(self, it)",
            "",
            [
                f"place = {room.place}",
                f"waiting = self.waiting_{room.name}.setdefault(place, deque())",
                f"if not waiting and self.room_{room.name}(it):",
                f"    self.take_{room.name}(it)",
                f'{{% if genes.get("full_{room.name}") == "refuse" %}}',
                "elif self.deciding:",
                f'    raise Rejected("no_room", "there is no room: {room.name}")',
                "{% endif %}",
                "else:",
                "    waiting.append(it)",
            ],
        )
        self.method(
            f"take_{room.name}(self, it)",
            "",
            [
                line
                for other in together
                for line in (
                    f"place = {other.place}",
                    f"it.amount_{other.name} = {other.amount}",
                    f"self.held_{other.name}[place] = self.held_{other.name}.get(place, 0) + it.amount_{other.name}",
                )
            ]
            + [f"self.on_{room.acquire}(it)"],
        )
        self.method(
            f"leave_{room.name}(self, it)",
            "",
            [
                *(
                    line
                    for other in together
                    for line in (
                        f'amount, it.amount_{other.name} = getattr(it, "amount_{other.name}", 0), 0',
                        "if not amount:",
                        "    return",
                        f"place = {other.place}",
                        f"self.held_{other.name}[place] -= amount",
                    )
                ),
                f"place = {room.place}",
                f"waiting = self.waiting_{room.name}.get(place)",
                "while waiting:",
                f'{{% if genes.get("order_{room.name}") == "last_come" %}}',
                "    chosen = waiting[-1]",
                f'{{% elif genes.get("order_{room.name}") == "shortest" %}}',
                f"    chosen = min(waiting, key=lambda it: {effort})",
                "{% else %}",
                "    chosen = waiting[0]",
                "{% endif %}",
                f"    if not self.room_{room.name}(chosen):",
                "        break",
                "    waiting.remove(chosen)",
                f"    self.take_{room.name}(chosen)",
            ],
        )

    def _effort(self, room: Room) -> str:
        for following in self.life.next.get(room.acquire, ()):
            if following.law.features:
                return " + ".join(f"{c:.4g} * {division(e)}" for e, c in following.law.features.items())
        return "0"
