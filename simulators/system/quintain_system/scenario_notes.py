"""What an author of policies may know of a package's scenario before the first run: its configuration and inputs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from quintain_system.form.spec import FieldSpec, KindSpec, ScenarioSpec, SystemSpec

_MOST_KEYS = 20
_MOST_VALUES = 6  # of a field with few different ones
_TEXT = 60  # characters of a value
_UNSEEN = " (policies do not see it)"


def scenario_notes(
    spec: SystemSpec, scenario: ScenarioSpec, config: Mapping[str, Any], inputs: Sequence[Sequence[Any]] | None
) -> str:
    """One fact a line. `inputs` are [time, kind's number, field, ...]; None: they come from the package's workload."""
    lines = [f"- {scenario.duration:g} s; {_config(spec, scenario, config)}"]
    if inputs is None:
        lines.append("- inputs are made by the package's workload from this configuration and a seed")
        return "\n".join(lines)
    by_kind: dict[int, list[Sequence[Any]]] = defaultdict(list)
    for record in inputs:
        by_kind[record[1]].append(record)
    for number, (kind, what) in enumerate(spec.inputs.items()):
        if by_kind[number]:
            lines += _kind(kind, what, by_kind[number], scenario.duration)
    return "\n".join(lines)


def _config(spec: SystemSpec, scenario: ScenarioSpec, config: Mapping[str, Any]) -> str:
    """What policies see, and what this scenario sets."""
    shown = [name for name, of in spec.config.items() if not of.hidden or name in scenario.config][:_MOST_KEYS]
    said = [
        f"{name} {_short(config[name])}{_unit(spec.config[name].unit)}{_UNSEEN if spec.config[name].hidden else ''}"
        for name in shown
    ]
    return f"configuration: {', '.join(said) or 'none'}"


def _kind(kind: str, what: KindSpec, records: Sequence[Sequence[Any]], duration: float) -> list[str]:
    lines = [f"- {kind}: {len(records)}, {len(records) / duration:.3g} a second{_UNSEEN if what.hidden else ''}"]
    for place, (name, field) in enumerate(what.fields.items(), start=2):
        values = [r[place] for r in records if r[place] is not None]
        if values and (said := _field(field, values)):
            lines.append(f"  - {kind}.{name}{_unit(field.unit)}: {said}{_UNSEEN if field.hidden else ''}")
    return lines


def _field(field: FieldSpec, values: Sequence[Any]) -> str:
    if field.type in ("id", "ref"):
        return f"looks like {_short(values[0])}"
    if field.type == "any":
        return ""
    counts = Counter(values)
    if len(counts) <= _MOST_VALUES:
        common = sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))
        return ", ".join(f"{_short(value)} {count / len(values):.0%}" for value, count in common)
    if field.type not in ("int", "float"):
        return f"{len(counts)} different ones"
    ordered = sorted(values)
    low, middle, high = (ordered[int(q * (len(ordered) - 1))] for q in (0.1, 0.5, 0.9))
    mean = sum(ordered) / len(ordered)
    return f"{low:.4g} / {middle:.4g} / {high:.4g} (10 %, median, 90 %), mean {mean:.4g}, most {ordered[-1]:.4g}"


def _short(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else repr(value)
    return text if len(text) <= _TEXT else f"{text[: _TEXT - 4]} ..."


def _unit(unit: str) -> str:
    return f" ({unit})" if unit else ""
