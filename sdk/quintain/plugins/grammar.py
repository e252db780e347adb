"""The grammar of policies that a simulator may offer to the offline backend: data, not code.

A grammar travels in a simulator's description as JSON, so a simulator in any language can have one and a generator
needs no simulator installed. It has typed genes, a Jinja2 template that renders readable Python from their values, and
hand-written seeds (gene assignments). Genes belong to components; crossover swaps whole components.

The generator renders in Jinja2's sandbox. The template sees every gene by name, plus ``genes`` (all of them) and
``doc`` (a docstring's worth of text describing what this policy does, made from each active gene's `says`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

GeneValue: TypeAlias = "bool | int | float | str"


@dataclass(frozen=True, slots=True)
class Gene:
    """One decision. `choices` for kind ``choice``; `low`, `high` (inclusive) and `log` for ``int`` and ``float``.

    `when` (gene name -> values) makes the gene active only while every named gene has one of the values. `says` is a
    phrase for the docstring with ``{value}`` in it; for a choice it may instead be a mapping by value.
    `digits`: significant digits of a float, so that the source stays readable.
    """

    name: str
    component: str
    kind: Literal["choice", "int", "float"]
    default: GeneValue
    choices: tuple[GeneValue, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    digits: int = 3
    when: Mapping[str, tuple[GeneValue, ...]] | None = None
    says: str | Mapping[str, str] = ""

    def __post_init__(self) -> None:
        if self.kind == "choice" and self.default not in self.choices:
            raise ValueError(f"gene {self.name}: default {self.default!r} is not among its choices {self.choices!r}")
        if self.kind != "choice" and not self.low <= float(self.default) <= self.high:
            raise ValueError(f"gene {self.name}: default {self.default!r} is outside {self.low}..{self.high}")


@dataclass(frozen=True, slots=True)
class Seed:
    name: str
    genes: Mapping[str, GeneValue]  # genes not named have their default


@dataclass(frozen=True, slots=True)
class Grammar:
    genes: tuple[Gene, ...]
    template: str
    seeds: tuple[Seed, ...]
    version: int = 1

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Grammar:
        """Raises ValueError (with the gene's name where there is one) for anything that is not a grammar."""
        try:
            raw: dict[str, Any] = json.loads(text)
            if raw.get("version") != 1:
                raise ValueError(f"grammar version {raw.get('version')!r} is not supported (known: 1)")
            return cls(
                genes=tuple(_gene(g) for g in raw["genes"]),
                template=raw["template"],
                seeds=tuple(Seed(s["name"], dict(s["genes"])) for s in raw["seeds"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a grammar: {error!r}") from error


def _gene(raw: dict[str, Any]) -> Gene:
    when = raw.get("when")
    fields = {**raw, "choices": tuple(raw.get("choices", ()))}
    fields["when"] = {name: tuple(values) for name, values in when.items()} if when else None
    return Gene(**fields)
