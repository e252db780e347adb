"""Writes ../grammar.json, what the offline backend varies:

python simulators/faas/quintain_faas/pools_package/grammar/genes.py
"""

from __future__ import annotations

from pathlib import Path

from quintain.plugins.grammar import Gene, Grammar, Seed

HERE = Path(__file__).parent


def choice(name: str, component: str, /, **says: str) -> Gene:
    """The first of `says` is the default."""
    options = tuple(says)
    return Gene(name, component, "choice", options[0], choices=options, says=says)


def number(
    name: str, component: str, default: float, low: float, high: float, says: str,
    when: dict[str, tuple[str, ...]] | None = None,
) -> Gene:  # fmt: skip
    return Gene(name, component, "float", default, low=low, high=high, log=True, digits=2, says=says, when=when)


GENES = (
    choice(
        "order", "line",
        arrival="first come, first served",
        urgent="the more urgent class first",
        few_left="the pipeline with the fewest operators left first",
        least="who takes least memory first",
    ),
    choice("full", "line", blocks="who finds no room keeps others waiting", passed="who finds none lets others pass"),
    choice("pool", "pool", most_free="in the pool with most free memory", best_fit="in the fullest pool that has room"),
    choice(
        "memory", "memory",
        share="memory is a share of a pool",
        enough="memory is the least that was enough for the class, once that is known",
        narrow="memory is tried closer and closer to what is just enough for the class",
    ),
    number("ram_share", "memory", 0.1, 0.01, 0.6, "a share of {value} at the first try"),
    number("retry", "memory", 2.0, 1.1, 5.0, "{value} times as much after running out of it"),
    number("close", "memory", 1.1, 1.01, 1.5, "to {value} times", {"memory": ("narrow",)}),
    choice("cpu", "cpu", alike="all get as many CPUs", by_class="queries get CPUs of their own"),
    number("cpu_share", "cpu", 0.1, 0.01, 0.6, "a share of {value} of a pool"),
    number("query_cpu_share", "cpu", 0.1, 0.01, 0.6, "queries a share of {value}", {"cpu": ("by_class",)}),
)  # fmt: skip

SEEDS = (
    Seed("tenths", {}),
    Seed("urgent", {"order": "urgent", "full": "passed"}),
    Seed("learning", {"memory": "narrow", "order": "few_left", "full": "passed"}),
    Seed("enough", {"memory": "enough", "cpu": "by_class", "order": "least"}),
)


def grammar() -> Grammar:
    return Grammar(GENES, (HERE / "policy.py.j2").read_text(encoding="utf-8"), SEEDS)


if __name__ == "__main__":
    (HERE.parent / "grammar.json").write_text(grammar().to_json() + "\n", encoding="utf-8")
