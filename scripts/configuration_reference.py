"""Writes docs/configuration.md from the services' settings: `python scripts/configuration_reference.py`.

A test holds the file against the models.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from quintain_controller.config import ControllerSettings
from quintain_generator.backends.llm import BatchOptions, LLMOptions
from quintain_generator.config import GeneratorSettings
from quintain_verifier.config import LimitSettings, VerifierSettings
from quintain_verifier.sandbox.limits import DEFAULT_LIMITS, MAX_LIMITS

PAGE = Path(__file__).resolve().parents[1] / "docs/configuration.md"

INTRODUCTION = """\
# Configuration

<!-- Written by scripts/configuration_reference.py from the settings' models. Do not edit. -->

Each service reads one TOML file (`quintain-verifier --config verifier.toml`) and the environment, which wins. A key
`server.listen` is the table `[server]` with `listen`, and the variable `QUINTAIN_VERIFIER__SERVER__LISTEN` (two
underscores between the parts). Keys that do not exist are refused by name. Nothing changes after the start.

The local stack (`make up`) and `quintain` commands that bring their own services read `generator.toml`,
`verifier.toml` and `controller.toml` in `~/.config/quintain` (`QUINTAIN_CONFIG` names another folder); `quintain init`
writes commented ones with every kind of backend. Their databases are in the nearest `.quintain` folder in or above the
working directory, so that every project and every clone has its own, else in `~/.local/share/quintain`
(`QUINTAIN_DATA`, `--data-dir`). A project's folder never holds configuration that is read by itself: a checkout of
somebody else's must not say where your keys are sent. On Kubernetes
the same files are ConfigMaps, see `deploy/kubernetes/base/config`.
"""

BATCHES = """\
## Batches at half the price

Where nobody waits for answers, kinds `openai` and `anthropic` can work through their provider's batch interface (the
Batch API over `/v1/responses`, Message Batches): half the price, answers mostly within an hour and at most a day.
Options of such a backend:

| option | type | default | meaning |
| --- | --- | --- | --- |
{rows}

```toml
[backends.gpt-batch]
kind = "openai"
model = "gpt-6-sol"

[backends.gpt-batch.options]
api_key_env = "OPENAI_API_KEY"
batch = true
```

Each request is a batch of its own, so that cancelling a search ends its batches and no others. `parallel_generations`
of a search says how many are under way at once. What is reserved, charged and estimated is by the share `batch` of the
model's price row (0.5 in the packaged rows; a row of your own without it is charged in full).
"""

LIMITS_INTRODUCTION = """\
## Limits of a run

Keys of the tables `[default_limits]` (for requests that say nothing) and `[maximum_limits]` (what a request may ask
for) of verifier.toml, with the built-in values.

| limit | default | maximum |
| --- | --- | --- |
"""


SERVICES: dict[str, type[BaseModel]] = {
    "generator": GeneratorSettings,
    "verifier": VerifierSettings,
    "controller": ControllerSettings,
}


@dataclass(frozen=True, slots=True)
class Key:
    """A key that may be set. `default`: as the whole model has it; PydanticUndefined for none."""

    name: str
    field: FieldInfo
    default: Any


def keys(model: type[BaseModel], prefix: str = "", made: BaseModel | None = None) -> Iterator[Key]:
    """Every key of a model, tables opened. `made`: the table that there is by default, if there is one."""
    for name, field in model.model_fields.items():
        default = field.get_default(call_default_factory=True) if made is None else getattr(made, name)
        inner, repeated = _model_in(field.annotation)
        if inner is None:
            yield Key(prefix + name, field, default)
        else:
            table = default if isinstance(default, BaseModel) else None
            yield from keys(inner, f"{prefix}{name}.{'NAME.' if repeated else ''}", table)


def _model_in(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """The model that a field holds, alone or optional, or by name in a dict (True)."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    for part in get_args(annotation):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part, get_origin(annotation) is dict
    return None, False


def _type_name(annotation: Any) -> str:
    if annotation is SecretStr:
        return "string (secret)"
    if get_origin(annotation) in (types.UnionType, typing.Union):
        return " or ".join(_type_name(part) for part in get_args(annotation) if part is not type(None))
    if get_origin(annotation) is tuple:
        return "list of strings"
    if get_origin(annotation) is typing.Literal:
        return " or ".join(f'"{value}"' for value in get_args(annotation))
    if get_origin(annotation) is dict:
        return "table"
    if isinstance(annotation, type) and issubclass(annotation, Path):
        return "path"
    names = {str: "string", int: "integer", float: "number", bool: "true or false", Path: "path"}
    return names.get(annotation) or str(annotation)


def _default(value: Any) -> str:
    if value is PydanticUndefined:
        return "required"
    if value is None:
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return "`[]`" if not value else f"`{list(value)}`"
    return f'`"{value}"`' if isinstance(value, str | Path) else f"`{value}`"


def _bounds(field: FieldInfo) -> str:
    """What the value must satisfy beyond its type."""
    words = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    found = [f"{sign} {getattr(m, word)}" for m in field.metadata for word, sign in words.items() if hasattr(m, word)]
    return f", {' and '.join(found)}" if found else ""


def _row(key: Key) -> str:
    kind = _type_name(key.field.annotation) + _bounds(key.field)
    return f"| `{key.name}` | {kind} | {_default(key.default)} | {key.field.description} |"


def _section(service: str, model: type[BaseModel]) -> str:
    lines = [f"## {service}.toml", "", f"Environment: `QUINTAIN_{service.upper()}__...`", ""]
    lines += ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    for key in keys(model):
        if key.name.startswith(("default_limits.", "maximum_limits.")):
            continue
        lines.append(_row(key))
    return "\n".join(lines) + "\n"


def _limits() -> str:
    rows = (f"| `{n}` | {getattr(DEFAULT_LIMITS, n)} | {getattr(MAX_LIMITS, n)} |" for n in LimitSettings.model_fields)
    return LIMITS_INTRODUCTION + "\n".join(rows) + "\n"


def _batches() -> str:
    own = [key for key in keys(BatchOptions) if key.name not in LLMOptions.model_fields]
    return BATCHES.format(rows="\n".join(_row(key) for key in own))


def page() -> str:
    sections = [_section(service, model) for service, model in SERVICES.items()]
    return "\n".join([INTRODUCTION, *sections, _batches(), _limits()])


if __name__ == "__main__":
    PAGE.write_text(page())
