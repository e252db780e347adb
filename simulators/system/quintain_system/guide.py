"""The guide to a package's policies, for people and prompts: the author's words, and what the package declares."""

from __future__ import annotations

from collections.abc import Mapping

from quintain_system.form.package import Package
from quintain_system.form.spec import FieldSpec, KindSpec

INTERFACE = """\
## The policy interface

A policy is one Python source. It defines

```python
def decide(observation, happened):
    return [Decision("kind", field=value)]
```

or a class `Policy(config)` with that method, to keep state; `start(config)` is called once before the first call if a
module with `decide` defines it. `from quintain_system import Decision` is there, and the standard library (no files,
no network, no clock). `observation` is a dict: `observation["time"]` is now, in seconds, and the keys below. `happened`
is the list of what came about since the last call, in order: each has `kind`, `time` and its fields as attributes. The
answer is a list of decisions, empty if there is nothing to decide. A decision that the system refuses ends the run: it
counts as the worst score.
"""


def guide(package: Package) -> str:
    """Markdown."""
    spec = package.spec
    parts = [f"# {spec.title or spec.name}"]
    if spec.about:
        parts.append(spec.about)
    if package.guide:
        parts.append(package.guide.strip())
    parts.append(INTERFACE.strip())
    parts.append(_calls(package))
    visible = {n: c for n, c in spec.config.items() if not c.hidden}
    if visible:
        lines = [
            f"- `config.{n}`{_unit(c.unit)}: {c.about or 'see its name'} (default {c.default!r})"
            for n, c in visible.items()
        ]
        parts.append("## Configuration\n\n" + "\n".join(lines))
    parts.append("## What happens\n\n" + _kinds({**spec.inputs, **spec.events}))
    if spec.observation:
        lines = [f"- `observation[{n!r}]`: {_field(f)}" for n, f in spec.observation.items() if not f.hidden]
        parts.append("## What is seen\n\n" + "\n".join(lines))
    parts.append("## Decisions\n\n" + _kinds(spec.decisions))
    parts.append("## What is measured\n\n" + _measured(package))
    source = package.baselines[0].source.strip()
    parts.append(f"## Example: the baseline `{package.baselines[0].name}`\n\n```python\n{source}\n```")
    return "\n\n".join(parts) + "\n"


def _calls(package: Package) -> str:
    policy = package.spec.policy
    when = ["at time 0"]
    if policy.calls:
        when.append(f"after each instant with {' or '.join(f'`{name}`' for name in policy.calls)}")
    if policy.every is not None:
        when.append(f"every {policy.every:g} s")
    about = f" {policy.about}" if policy.about else ""
    return f"The policy is called {', '.join(when)}.{about}"


def _kinds(kinds: Mapping[str, KindSpec]) -> str:
    lines = []
    for name, kind in kinds.items():
        if kind.hidden:
            continue
        fields = [f"  - `{n}`: {_field(f)}" for n, f in kind.fields.items() if not f.hidden]
        lines.append("\n".join([f"- `{name}`: {kind.about or 'see its name'}", *fields]))
    return "\n".join(lines)


def _field(field: FieldSpec) -> str:
    what = {
        "id": "its id",
        "ref": f"the id of a {field.of}",
        "index": f"0 to below `config.{field.of}` (its length if it is a list)",
        "any": "a JSON value",
    }.get(field.type, field.type)
    if field.values:
        what += f", one of {', '.join(field.values)}"
    if field.min is not None or field.max is not None:
        what += f", {'' if field.min is None else f'{field.min:g}'} to {'' if field.max is None else f'{field.max:g}'}"
    if field.optional:
        what += ", or None"
    return what + _unit(field.unit) + (f"; {field.about}" if field.about else "")


def _unit(unit: str) -> str:
    return f" ({unit})" if unit else ""


def _measured(package: Package) -> str:
    return "\n".join(f"- `{n}`{_unit(m.unit)}: {m.about or m.type}" for n, m in package.spec.metrics.items())
