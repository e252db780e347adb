"""A system package: a folder's files, read and checked."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from quintain.plugins.simulator import Baseline, Fidelity, InvalidInput, files_digest
from quintain_system.form.card import fidelity_of
from quintain_system.form.checks import check_scenario, check_suite, check_system
from quintain_system.form.locate import line_of
from quintain_system.form.spec import SuiteSpec, SystemSpec

SYSTEM_FILE, MODEL_FILE, GUIDE_FILE, WORKLOAD_FILE = "system.toml", "model.py", "guide.md", "workload.py"
SUITE_FILE, SUITES_FOLDER = "suite.toml", "suites/"
BASELINES_FOLDER, GRAMMAR_FILE = "baselines/", "grammar.json"
RECORDINGS_FOLDER = "recordings/"
MODELS_FOLDER, OWN_MODEL = "models/", "model"  # what model.py is called beside others

T = TypeVar("T", bound=BaseModel)


@dataclass(frozen=True)
class Package:
    """`suites` by name within the package; the one of ``suite.toml`` has the empty name. `models` by name, that of
    ``model.py`` first: scenarios run in each of them. It is empty in a package that has recordings and waits for a
    model to be fitted."""

    files: Mapping[str, bytes]
    spec: SystemSpec
    models: Mapping[str, str]
    guide: str
    workload: str
    grammar: str
    baselines: tuple[Baseline, ...]
    suites: Mapping[str, SuiteSpec]
    digest: str
    fidelity: Fidelity | None  # how far the model is to be trusted, and why no further; None: it is its own truth
    fidelity_reason: str

    @property
    def name(self) -> str:
        return self.spec.name


def read_package(files: Mapping[str, bytes]) -> Package:
    """Raises InvalidInput with the file, and for TOML the line and the key."""
    spec = read_toml(SYSTEM_FILE, _bytes(files, SYSTEM_FILE), SystemSpec)
    check_system(spec, _placed(files, SYSTEM_FILE))
    models = _models(files)
    baselines = tuple(_baseline(files, name) for name in sorted(files) if _is_baseline(name))
    if not baselines:
        raise InvalidInput(BASELINES_FOLDER, "has no .py file; a package needs one policy at least to compare with")
    if spec.baseline is not None:
        if spec.baseline not in [b.name for b in baselines]:
            known = ", ".join(b.name for b in baselines)
            message = f"{spec.baseline!r} is unknown; known are: {known}"
            raise _placed(files, SYSTEM_FILE).error(("baseline",), message)
        baselines = tuple(sorted(baselines, key=lambda b: b.name != spec.baseline))
    suites = {name: _suite(files, file, spec) for file, name in _suite_files(files)}
    if not suites:
        raise InvalidInput(SUITE_FILE, "is missing; a package needs suite.toml or suites/NAME.toml")
    fidelity, reason = fidelity_of(files, [model_file(name) for name in models] or [MODEL_FILE], SYSTEM_FILE)
    return Package(
        files=files,
        spec=spec,
        models=models,
        guide=_text(files, GUIDE_FILE) if GUIDE_FILE in files else "",
        workload=_text(files, WORKLOAD_FILE) if WORKLOAD_FILE in files else "",
        grammar=_text(files, GRAMMAR_FILE) if GRAMMAR_FILE in files else "",
        baselines=baselines,
        suites=suites,
        digest=files_digest(files),
        fidelity=fidelity,
        fidelity_reason=reason,
    )


def read_toml(file: str, data: bytes, model: type[T]) -> T:
    """`data` as `model`. Raises InvalidInput with the file, line and key of the first thing that is wrong."""
    text = decoded(file, data)
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(file, f"is not TOML: {error}") from None
    try:
        return model.model_validate(table)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise _invalid(file, text, first) from None


def decoded(file: str, data: bytes) -> str:
    """UTF-8, with or without a byte-order mark."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(file, f"is not UTF-8 text at byte {error.start}") from None


class Placed:
    """Errors at a place of one TOML file."""

    def __init__(self, file: str, text: str) -> None:
        self._file, self._text = file, text

    def error(self, path: Sequence[str | int], message: str) -> InvalidInput:
        return InvalidInput(f"{self._file}:{line_of(self._text, path)}:{_dotted(path)}", message)


def _placed(files: Mapping[str, bytes], file: str) -> Placed:
    return Placed(file, decoded(file, files[file]))


# Steps that pydantic puts into a location and nobody wrote.
_TAGS = frozenset(
    {"conservation", "order", "once", "capacity", "count", "rate", "sum", "time", "late", "level", "across", "formula"}
)


def _invalid(file: str, text: str, error: Any) -> InvalidInput:
    path = [step for number, step in enumerate(error["loc"]) if not _is_tag(number, error["loc"])]
    if path and path[-1] == "[key]":
        path.pop()
    message, found = error["msg"], error.get("input")
    if error["type"] == "extra_forbidden":
        message = "is an unknown key"
    elif error["type"] == "missing":
        message = "is missing"
    elif error["type"] in ("union_tag_not_found", "union_tag_invalid"):
        message = f"needs a type: one of {error['ctx'].get('expected_tags', ', '.join(sorted(_TAGS)))}"
    elif isinstance(found, str | int | float | bool):
        message = f"{found!r}: {message[:1].lower()}{message[1:]}"
    return Placed(file, text).error(path, message)


def _is_tag(number: int, path: Sequence[str | int]) -> bool:
    step = path[number]
    if number == 2 and path[0] in ("invariants", "metrics"):
        return step in _TAGS
    return isinstance(step, str) and ("[" in step or step in ("float", "int", "bool", "str")) and step != "[key]"


def _dotted(path: Sequence[str | int]) -> str:
    text = ""
    for step in path:
        text += f"[{step + 1}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def _suite(files: Mapping[str, bytes], file: str, spec: SystemSpec) -> SuiteSpec:
    text = decoded(file, files[file])
    suite = read_toml(file, files[file], SuiteSpec)
    placed = Placed(file, text)
    check_suite(suite, spec, placed)
    for number, scenario in enumerate(suite.scenarios):
        check_scenario(scenario, number, spec, files, file, placed)
    return suite


def _has_recordings(files: Mapping[str, bytes]) -> bool:
    return any(file.startswith(RECORDINGS_FOLDER) for file in files)


def _suite_files(files: Mapping[str, bytes]) -> list[tuple[str, str]]:
    found = [(SUITE_FILE, "")] if SUITE_FILE in files else []
    for file in sorted(files):
        if file.startswith(SUITES_FOLDER) and file.endswith(".toml") and file.count("/") == 1:
            found.append((file, file.removeprefix(SUITES_FOLDER).removesuffix(".toml")))
    return found


def model_file(name: str) -> str:
    return MODEL_FILE if name == OWN_MODEL else f"{MODELS_FOLDER}{name}.py"


def _models(files: Mapping[str, bytes]) -> dict[str, str]:
    further = [f for f in sorted(files) if f.startswith(MODELS_FOLDER) and f.endswith(".py") and f.count("/") == 1]
    if MODEL_FILE not in files and not further and _has_recordings(files):
        return {}
    found = {OWN_MODEL: _text(files, MODEL_FILE)}
    for file in further:
        name = file.removeprefix(MODELS_FOLDER).removesuffix(".py")
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", name) or name in found:
            raise InvalidInput(file, f"its name must be lower-case letters, digits and _, and not {OWN_MODEL}")
        found[name] = _text(files, file)
    return found


def _is_baseline(file: str) -> bool:
    return file.startswith(BASELINES_FOLDER) and file.endswith(".py") and file.count("/") == 1


def _baseline(files: Mapping[str, bytes], file: str) -> Baseline:
    source = _text(files, file)
    about = source.partition('"""')[2].partition('"""')[0].strip()
    return Baseline(file.removeprefix(BASELINES_FOLDER).removesuffix(".py"), about, source)


def _text(files: Mapping[str, bytes], file: str) -> str:
    return decoded(file, _bytes(files, file))


def _bytes(files: Mapping[str, bytes], file: str) -> bytes:
    if file not in files:
        raise InvalidInput(file, f"is missing; the files given are: {', '.join(sorted(files)[:20]) or 'none'}")
    return files[file]
