"""The guide for authors of models, people and prompts: the interface, what is declared, what the recordings look like.

Nothing of a held-out recording is in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from quintain_system.fit.episode import Episode, Kinds
from quintain_system.fit.lifecycle import Lifecycle
from quintain_system.form.package import GUIDE_FILE, decoded
from quintain_system.form.spec import FieldSpec, KindSpec, SystemSpec

INTERFACE = """\
## The model interface

A model is one Python source, standard library only (no files, no network, no clock), that says how the system behaves:
inputs and decisions go in, events come out.

```python
from quintain_system import Event, Parameter, Rejected

PARAMETERS = {"seconds_per_mb": Parameter(0.001, 1.0, "s", 0.05)}  # low, high, unit, default


class Model:
    def __init__(self, config, parameters, random): ...  # attributes; random: seeded, the only source of chance
    def on_input(self, time, input): ...  # input.kind and its fields
    def on_decision(self, time, decision): ...  # raise Rejected("rule", "message") for what the system would refuse
    def next_event_time(self): ...  # seconds when something happens next by itself, or None
    def advance(self, time): ...  # let it happen: returns a list of Event("kind", field=value)
    def observe(self): ...  # a dict of what [observation] declares
```

`on_input` and `on_decision` are called as recorded, whatever the model says; between them `advance` as often as
`next_event_time` says. Events at one instant come before inputs and decisions. An event is never said from `on_input`
or `on_decision`: keep it, and let `next_event_time` be now.

**Leave numbers open.** What you do not know, declare in `PARAMETERS`, with a range that surely holds it: calibration
finds the values (CMA-ES on the train recordings). Your work is the structure: what waits for what, what is held, what
takes how long because of what. A parameter that changes nothing is reported.

**What is scored**: the distance between what the model says and what was recorded, in one-step times of each thing,
their distributions by class, counts, and what is held over time. Recorded decisions are taken as they were: a model
that refuses what the real system took loses. A model that breaks an invariant below has failed.
"""


def guide(
    spec: SystemSpec,
    kinds: Kinds,
    life: Lifecycle,
    train: Sequence[Episode],
    unverified: Sequence[str],
    files: Mapping[str, bytes],
) -> str:
    """Markdown."""
    parts = [f"# Find a model of: {spec.title or spec.name}"]
    if spec.about:
        parts.append(spec.about)
    if GUIDE_FILE in files:
        parts.append(decoded(GUIDE_FILE, files[GUIDE_FILE]).strip())
    parts.append(INTERFACE.strip())
    if spec.config:
        rows = [
            f"- `config.{n}`{_unit(c.unit)}: {c.about or 'see its name'} (default {c.default!r})"
            for n, c in spec.config.items()
        ]
        parts.append("## Configuration\n\n" + "\n".join(rows))
    for title, declared in (("Inputs", spec.inputs), ("Decisions", spec.decisions), ("Events", spec.events)):
        parts.append(f"## {title}\n\n" + "\n".join(_kind(n, k) for n, k in declared.items()))
    if spec.observation:
        parts.append("## Observation\n\n" + "\n".join(f"- `{n}`: {_field(f)}" for n, f in spec.observation.items()))
    if spec.invariants:
        parts.append(
            "## Invariants\n\n" + "\n".join(f"- `{n}`: {_shown(i.model_dump())}" for n, i in spec.invariants.items())
        )
    parts.append("## What the train recordings show\n\n" + _seen(kinds, life, train))
    if unverified:
        parts.append("## What they cannot show\n\n" + "\n".join(f"- {text}" for text in unverified))
    return "\n\n".join(parts) + "\n"


def _seen(kinds: Kinds, life: Lifecycle, train: Sequence[Episode]) -> str:
    counts: Counter[str] = Counter()
    for episode in train:
        counts.update(kinds.names[record[0]] for _, record in episode.history)
    rows = [f"- {counts[n]} `{n}`" for n in kinds.names]
    for before, following in life.next.items():
        for one in following:
            seconds = sorted(s.seconds for s in one.samples)
            middle, tail = seconds[len(seconds) // 2], seconds[int(0.99 * (len(seconds) - 1))]
            text = f"- after `{before}`, `{one.event}` comes in {one.share:.0%} of the cases: "
            text += f"median {middle:.4g} s, p99 {tail:.4g} s"
            if one.law.features:
                terms = " + ".join(f"{c:.3g} * {e}" for e, c in one.law.features.items())
                text += f"; {one.law.explained:.0%} of the variance is explained by {one.law.base:.3g} + {terms}"
            rows.append(text)
    for event, causes in life.companions.items():
        rows.append(f"- `{event}` comes together with {', '.join(f'`{c}`' for c in causes) or 'nothing else'}")
    return "\n".join(rows)


def _kind(name: str, kind: KindSpec) -> str:
    return "\n".join(
        [f"- `{name}`: {kind.about or 'see its name'}", *[f"  - `{n}`: {_field(f)}" for n, f in kind.fields.items()]]
    )


def _field(field: FieldSpec) -> str:
    text = f"{field.type}:{field.of}" if field.of else field.type
    if field.values:
        text += f", one of {', '.join(field.values)}"
    return (
        text + (", or None" if field.optional else "") + _unit(field.unit) + (f"; {field.about}" if field.about else "")
    )


def _unit(unit: str) -> str:
    return f" ({unit})" if unit else ""


def _shown(values: Mapping[str, object]) -> str:
    return ", ".join(
        f"{k} {', '.join(v) if isinstance(v, tuple) else v}" for k, v in values.items() if v not in (None, "")
    )
