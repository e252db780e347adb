"""The two floors that a model must beat: what is said without knowing how the system works.

* *queueing*: the declared capacity with queues in front of it, every step of the mean recorded time;
* *replay*: every step as often and as long as recorded, whatever the load: no queue, no capacity.
"""

from __future__ import annotations

from quintain.plugins.grammar import GeneValue, Grammar
from quintain_system.fit.grammar import render


def queueing_floor(grammar: Grammar) -> str:
    # `floor` and `replay` are no genes: no search finds them.
    chosen: dict[str, GeneValue] = {"floor": True}
    for gene in grammar.genes:
        if gene.name.startswith("full_"):
            chosen[gene.name] = "wait"
        elif "alike" in gene.choices:
            chosen[gene.name] = "alike"
    return render(grammar, chosen, "Floor: a plain queueing model of the declared capacity; times are lognormal.")


def replay_floor(grammar: Grammar) -> str:
    chosen: dict[str, GeneValue] = {"replay": True}
    for gene in grammar.genes:
        if gene.name.startswith("law_"):
            chosen[gene.name] = "recorded"
    return render(grammar, chosen, "Floor: every step takes a time drawn from those recorded, whatever the load.")
