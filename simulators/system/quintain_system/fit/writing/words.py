"""Expressions and names in written models."""

from __future__ import annotations

from quintain_system.fit.lifecycle import Lifecycle
from quintain_system.form.names import id_field


def id_attribute(life: Lifecycle, kind: str) -> str:
    return id_field({**life.spec.inputs, **life.spec.events}[kind]) or "id"


def attribute_of(expression: str) -> str:
    """A name for a feature: ``it.work / min(it.cpus, 4.0)`` -> ``work_by_cpus``."""
    parts = (part.removeprefix("min(").partition(",")[0] for part in expression.split(" / "))
    return "_by_".join(part.rpartition(".")[2] for part in parts)


def division(expression: str) -> str:
    return f"({expression})" if " / " in expression else expression


def count_of(life: Lifecycle, name: str | None) -> str:
    default = life.spec.config[name or ""].default
    return f"len(self.config.{name})" if isinstance(default, (list, tuple)) else f"self.config.{name}"
