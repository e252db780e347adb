"""What the run's digest says of changes that were tried before: this backend's own lines, read back.

A line of the digest has the score and the rationale of an attempt, and the rationales here say which genes were changed
from what to what. So the backend learns from the request alone, as a model that reads the digest does: which genes and
components matter, and which steps were tried from where a policy stands now.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from quintain.plugins.backend import Attempt, Example
from quintain.plugins.grammar import Gene, GeneValue, Grammar
from quintain_generator.backends.offline.genome import Genome, active
from quintain_generator.backends.offline.trials import made_no_difference

_MOST_NAMED = 5  # changes; a longer list says little about each of them
_LINE = re.compile(r"(?P<parent>\w+) with (?P<changes>\w+ \S+ -> .+?)\.?$")
_CHANGE = re.compile(r"(\w+) ([^\s;]+) -> ([^\s;]+)")
_SEED = re.compile(r"The hand-written policy '([^']+)'\.")
# how much less often something is tried again, for each time that it was
_TRIED, _REPEATED = 0.5, 4.0
# what is believed of a component of which nothing is known, as so many trials
_USUAL_RELEVANCE, _BELIEF = 0.5, 2.0


def changes_between(grammar: Grammar, before: Genome, after: Genome) -> dict[str, tuple[str, str]]:
    """Genes that are active in both and differ: from what to what."""
    old, new = active(grammar, before), active(grammar, after)
    return {name: (str(old[name]), str(new[name])) for name in new if name in old and old[name] != new[name]}


def say_changes(grammar: Grammar, parent: str, before: Genome, after: Genome) -> str:
    """The rationale of a policy that differs from `parent` in a few genes; empty if it does in many."""
    changes = changes_between(grammar, before, after)
    if not 0 < len(changes) <= _MOST_NAMED:
        return ""
    return f"{parent} with " + "; ".join(f"{name} {old} -> {new}" for name, (old, new) in changes.items()) + "."


@dataclass(frozen=True, slots=True)
class _Trial:
    changes: Mapping[str, tuple[str, str]]
    gain: float  # over the parent's score; greater is better


class Experience:
    """`best_score` tells which way scores are better: nothing in the digest is beyond it."""

    def __init__(
        self, history: Sequence[Attempt] = (), examples: Sequence[Example] = (), best_score: float | None = None
    ) -> None:
        scores = {e.candidate_id: e.score for e in examples if e.score is not None}
        scores |= {a.candidate_id: a.score for a in history if a.score is not None}
        sign = -1.0 if best_score is not None and any(s > best_score for s in scores.values()) else 1.0
        # While the digest goes back to the beginning it tells every hand-written policy that was tried.
        self.complete = all(a.number < len(history) for a in history)
        self.seeds = {name for a in history for name in _SEED.findall(a.summary)}
        self._trials: list[_Trial] = []
        for attempt in history:
            line = _LINE.search(attempt.summary)
            if line is None or line["parent"] not in scores:
                continue
            changes = {name: (old, new) for name, old, new in _CHANGE.findall(line["changes"])}
            worst = 0.0 if made_no_difference(attempt) else -math.inf
            gain = worst if attempt.score is None else sign * (attempt.score - scores[line["parent"]])
            self._trials.append(_Trial(changes, gain))
        differences = [abs(trial.gain) for trial in self._trials if trial.gain and math.isfinite(trial.gain)]
        self._usual_difference = statistics.median(differences) if differences else 1.0

    def repeats(self, grammar: Grammar, before: Genome, after: Genome) -> bool:
        """Whether just these changes were tried before, in vain."""
        changes = changes_between(grammar, before, after)
        return any(trial.changes == changes and trial.gain <= 0.0 for trial in self._trials)

    def interest(self, grammar: Grammar, gene: Gene, value: GeneValue) -> float:
        """How much there is to expect from changing `gene` away from `value`: what is left to try of it, times what a
        change of it matters. Where one decision of a component matters, the others may."""
        if gene.kind == "choice":
            untried = 0.5 * sum(self.novelty(gene, value, other) for other in gene.choices if other != value)
        else:
            untried = 1.0 / (1.0 + _TRIED * self._in_vain(gene, value))
        component = {other.name for other in grammar.genes if other.component == gene.component}
        return untried * self._relevance({gene.name}, self._relevance(component, _USUAL_RELEVANCE, _BELIEF), 1.0)

    def _relevance(self, names: Set[str], belief: float, weight: float) -> float:
        """How large a difference changes of these genes made, for better or worse: 0 for none, 1 for the usual or more.
        One of several changes at once has a part in it."""
        total, count = belief * weight, weight
        for trial in self._trials:
            part = len(names & trial.changes.keys()) / len(trial.changes)
            total += part * min(1.0, abs(trial.gain) / self._usual_difference)
            count += part
        return total / count

    def matters(self, grammar: Grammar, gene: Gene) -> bool:
        """Whether a change of `gene`, or of its component alone, was seen to make a difference.

        What no train scenario exercises makes none. Such a gene must not ride along with a change that pays: it would
        drift from its sensible default, and decide where a scenario is of another kind.
        """
        component = {other.name for other in grammar.genes if other.component == gene.component}
        return any(gene.name in t.changes and t.changes.keys() <= component and t.gain for t in self._trials)

    def novelty(self, gene: Gene, value: GeneValue, other: GeneValue) -> float:
        """How new it is to change `gene` from `value` to `other`: 1 if nobody tried, less the more often it was in
        vain."""
        return 1.0 / (1.0 + _REPEATED * self._in_vain(gene, value, other))

    def _in_vain(self, gene: Gene, value: GeneValue, other: GeneValue | None = None) -> float:
        """How often such a change did not help. One of several changes at once bears a part of the blame."""
        blame = 0.0
        for trial in self._trials:
            old, new = trial.changes.get(gene.name, ("", ""))
            if trial.gain <= 0.0 and old == str(value) and (other is None or new == str(other)):
                blame += 1.0 / len(trial.changes)
        return blame
