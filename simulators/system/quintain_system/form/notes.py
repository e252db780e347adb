"""What the author of a package should know of it, beside what is wrong."""

from __future__ import annotations

from collections.abc import Iterator

from quintain_system.form.names import id_field
from quintain_system.form.spec import SystemSpec, Time


def notes(spec: SystemSpec) -> list[str]:
    return [*_hidden(spec), *_unwatched(spec), *_weak(spec)]


def _hidden(spec: SystemSpec) -> Iterator[str]:
    """What policies do not see."""
    hidden = [f"config.{name}" for name, config in spec.config.items() if config.hidden]
    for name, kind in {**spec.inputs, **spec.events}.items():
        hidden += [name] if kind.hidden else [f"{name}.{field}" for field, of in kind.fields.items() if of.hidden]
    yield f"hidden from policies: {', '.join(hidden)}" if hidden else "nothing is hidden from policies: is that so?"


def _unwatched(spec: SystemSpec) -> Iterator[str]:
    """Things and events that no invariant speaks of."""
    text = str(list(spec.invariants.values()))
    for name in spec.events:
        if f"'{name}'" not in text:
            yield f"no invariant speaks of the event {name}: a wrong model could say it at any time"
    for name, kind in spec.inputs.items():
        if id_field(kind) and f"by='{name}'" not in text and f"item='{name}'" not in text:
            yield f"no invariant follows a {name} from its coming to its end"


def _weak(spec: SystemSpec) -> Iterator[str]:
    for name, objective in spec.objectives.items():
        if objective.bound is None:
            yield f"objective {name} has no bound: its normalised score is relative to the baseline (0.5)"
        if spec.classes is not None and not any(floor.each_class for floor in objective.floors):
            yield f"objective {name} has no floor for each class: starving one may pay"
        metric = spec.metrics[objective.metric]
        if isinstance(metric, Time) and metric.unfinished != "duration":
            yield f"objective {name}: what is unfinished counts as {metric.unfinished!r}, not as the whole duration"
