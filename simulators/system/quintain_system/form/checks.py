"""Whether what a package says fits together. Each finding is one InvalidInput with the file, the line and the key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from quintain.plugins.simulator import InvalidInput
from quintain_system.form.formula import Formula
from quintain_system.form.holds import impossible_order, limit_problem
from quintain_system.form.names import id_field, key_field, kinds_of
from quintain_system.form.spec import (
    Across,
    ArrivalSpec,
    Capacity,
    ConfigSpec,
    Conservation,
    Count,
    FieldSpec,
    Invariant,
    KindSpec,
    Late,
    Level,
    Metric,
    ObjectiveSpec,
    Once,
    Order,
    ScenarioSpec,
    SuiteSpec,
    Sum,
    SystemSpec,
    Time,
)
from quintain_system.form.spec import Formula as FormulaMetric

RESERVED = ("kind", "time")


class Place(Protocol):
    def error(self, path: Sequence[str | int], message: str) -> InvalidInput: ...


def config_names(spec: SystemSpec) -> set[str]:
    """What a formula may use of the configuration: numbers, the length of lists."""
    return {name for name, config in spec.config.items() if not isinstance(config.default, str)}


def check_system(spec: SystemSpec, place: Place) -> None:
    """Raises InvalidInput for the first thing that cannot be."""
    _kinds(spec, place)
    _config(spec, place)
    _policy(spec, place)
    for name, invariant in spec.invariants.items():
        _invariant(spec, name, invariant, place)
    if circle := impossible_order(spec):
        raise place.error(("invariants", circle[0]), circle[1])
    known: set[str] = set()
    for name, metric in spec.metrics.items():
        _metric(spec, name, metric, known, place)
        known.add(name)
    for name, objective in spec.objectives.items():
        _objective(spec, name, objective, place)
    for number, descriptor in enumerate(spec.descriptors):
        if descriptor.metric not in spec.metrics:
            raise place.error(("descriptors", number, "metric"), _unknown(descriptor.metric, spec.metrics))


# -------------------------------------------------------------------------------------------------- kinds and config


def _kinds(spec: SystemSpec, place: Place) -> None:
    seen: dict[str, str] = {}
    for section, kinds in (("inputs", spec.inputs), ("decisions", spec.decisions), ("events", spec.events)):
        if not kinds:
            raise place.error((section,), "needs at least one kind")
        for name, kind in kinds.items():
            if name in seen:
                raise place.error((section, name), f"{seen[name]} has a kind of this name already")
            seen[name] = section
            if sum(field.type == "id" for field in kind.fields.values()) > 1:
                raise place.error((section, name, "fields"), "has two fields of type 'id'; a kind introduces one thing")
    for section, kinds in (("inputs", spec.inputs), ("decisions", spec.decisions), ("events", spec.events)):
        for name, kind in kinds.items():
            for field, what in kind.fields.items():
                if field in RESERVED:
                    raise place.error((section, name, "fields", field), f"{field!r} is there in every record already")
                if section == "decisions" and what.type == "id":
                    raise place.error(
                        (section, name, "fields", field), "a decision names things, it makes none: use ref"
                    )
                if section == "decisions" and (what.hidden or kind.hidden):
                    raise place.error((section, name), "cannot be hidden: it is the policy that decides")
                _field(spec, what, (section, name, "fields", field), place)
    for field, what in spec.observation.items():
        if field == "time":
            raise place.error(("observation", field), "'time' is there in every observation already")
        if what.hidden:
            raise place.error(("observation", field, "hidden"), "an observation is what a policy sees: leave it out")
        if what.type in ("id", "ref"):
            raise place.error(
                ("observation", field, "type"), "an observation has values; use 'any' for tables and lists"
            )
        _field(spec, what, ("observation", field), place)


def _field(spec: SystemSpec, field: FieldSpec, path: tuple[str, ...], place: Place) -> None:
    if field.type == "ref":
        introduced = {name for name, kind in {**spec.inputs, **spec.events}.items() if id_field(kind)}
        if field.of not in introduced:
            raise place.error((*path, "of"), f"{_unknown(field.of, introduced)} (kinds with an id)")
    elif field.type == "index":
        countable = {n for n, c in spec.config.items() if type(c.default) is int or isinstance(c.default, tuple)}
        if field.of not in countable:
            raise place.error((*path, "of"), f"{_unknown(field.of, countable)} (whole numbers and lists of [config])")
    elif field.of is not None:
        raise place.error((*path, "of"), "is for 'ref' and 'index' only")
    if field.values is not None and field.type != "string":
        raise place.error((*path, "values"), "is for 'string' only")
    if field.min is not None and field.max is not None and field.min > field.max:
        raise place.error((*path, "min"), f"{field.min:g} is above max {field.max:g}: no value fits")


def _config(spec: SystemSpec, place: Place) -> None:
    for name, config in spec.config.items():
        if problem := config_problem(config, config.default):
            raise place.error(("config", name, "default"), problem)


def config_problem(config: ConfigSpec, value: object) -> str:
    """What is wrong with `value` for this key; empty if nothing is."""
    kind = type(config.default)
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        return f"{value!r} must be of the default's type, {_TYPE_NAMES[kind]}"
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, str):
            continue
        if config.min is not None and number < config.min:
            return f"{number!r} is below {config.min:g}"
        if config.max is not None and number > config.max:
            return f"{number!r} is above {config.max:g}"
    return ""


_TYPE_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", tuple: "a list"}


def _policy(spec: SystemSpec, place: Place) -> None:
    seen = {**spec.inputs, **spec.events}
    for number, name in enumerate(spec.policy.calls):
        if name not in seen:
            raise place.error(("policy", "calls", number), _unknown(name, seen))
    if not spec.policy.calls and spec.policy.every is None:
        raise place.error(("policy",), "says never when a policy is asked: give calls, every, or both")
    if spec.classes is not None:
        if spec.classes.of not in spec.inputs:
            raise place.error(("classes", "of"), _unknown(spec.classes.of, spec.inputs))
        fields = spec.inputs[spec.classes.of].fields
        if spec.classes.field not in fields:
            raise place.error(("classes", "field"), _unknown(spec.classes.field, fields))
        if id_field(spec.inputs[spec.classes.of]) is None:
            raise place.error(("classes", "of"), f"{spec.classes.of} has no field of type 'id' to tell its things by")


# --------------------------------------------------------------------------------------------------------- invariants


def _invariant(spec: SystemSpec, name: str, invariant: Invariant, place: Place) -> None:
    path = ("invariants", name)
    happens = {**spec.inputs, **spec.events}
    match invariant:
        case Conservation(enter=enter, leave=leave, by=by):
            _need_kinds(enter, happens, (*path, "enter"), place)
            _need_kinds(leave, happens, (*path, "leave"), place)
            _need_keys(spec, (*enter, *leave), by, (*path, "by"), place)
            if both := sorted(set(enter) & set(leave)):
                raise place.error(path, f"can never hold: {both[0]} enters and leaves at once")
        case Order(first=first, then=then, by=by):
            _need_kinds((first,), happens, (*path, "first"), place)
            _need_kinds((then,), happens, (*path, "then"), place)
            _need_keys(spec, (first, then), by, (*path, "by"), place)
            if first == then:
                raise place.error(path, f"can never hold: {first} would have to come before itself")
        case Once(of=of, by=by):
            _need_kinds(of, happens, (*path, "of"), place)
            _need_keys(spec, of, by, (*path, "by"), place)
        case Capacity():
            _capacity(spec, invariant, path, happens, place)


def _capacity(
    spec: SystemSpec, invariant: Capacity, path: tuple[str, ...], happens: Mapping[str, KindSpec], place: Place
) -> None:
    _need_kinds((invariant.acquire,), happens, (*path, "acquire"), place)
    _need_kinds(invariant.release, happens, (*path, "release"), place)
    _need_keys(spec, (invariant.acquire, *invariant.release), invariant.item, (*path, "item"), place)
    fields = happens[invariant.acquire].fields
    if isinstance(invariant.amount, str) and (
        invariant.amount not in fields or fields[invariant.amount].type not in ("int", "float")
    ):
        raise place.error((*path, "amount"), f"{_unknown(invariant.amount, fields)} (numbers)")
    if invariant.per is not None and invariant.per not in fields:
        raise place.error((*path, "per"), _unknown(invariant.per, fields))
    limit = invariant.limit
    if isinstance(limit, str) and limit in spec.config and isinstance(spec.config[limit].default, tuple):
        if invariant.per is None or fields[invariant.per].type != "index":
            raise place.error((*path, "limit"), f"{limit} is a list: it needs 'per', an index field")
        return
    _formula(limit, config_names(spec) | {"duration"}, (*path, "limit"), place)
    if problem := limit_problem(spec, invariant, {name: config.default for name, config in spec.config.items()}):
        raise place.error((*path, "limit"), problem)


def _formula(text: str | float, known: Iterable[str], path: tuple[str, ...], place: Place) -> Formula:
    try:
        formula = Formula(text)
    except ValueError as error:
        raise place.error(path, str(error)) from None
    known = set(known)
    for name in sorted(formula.names - known):
        raise place.error(path, _unknown(name, known))
    return formula


# ------------------------------------------------------------------------------------------------------------ metrics


def _metric(spec: SystemSpec, name: str, metric: Metric, known: set[str], place: Place) -> None:
    path = ("metrics", name)
    kinds = kinds_of(spec)
    match metric:
        case Count(of=of):
            _need_kinds(of, kinds, (*path, "of"), place)
            for kind in of:
                _where(kinds[kind], metric.where, path, place)
        case Sum(of=kind, field=field):
            _need_kinds((kind,), kinds, (*path, "of"), place)
            _need_number(kinds[kind], field, (*path, "field"), place)
            _where(kinds[kind], metric.where, path, place)
        case Time(start=start, end=end, by=by) | Late(start=start, end=end, by=by) | Level(start=start, end=end, by=by):
            happens = {**spec.inputs, **spec.events}
            _need_kinds((start,), happens, (*path, "from"), place)
            _need_kinds(end, happens, (*path, "to"), place)
            _need_keys(spec, (start, *end), by, (*path, "by"), place)
            if start in end:
                raise place.error((*path, "to"), f"{start} is where it begins")
            _where(kinds[start], metric.where, path, place)
            if isinstance(metric, Late) and isinstance(metric.within, str) and metric.within not in config_names(spec):
                _need_number(kinds[start], metric.within, (*path, "within"), place)
            if isinstance(metric, Late) and isinstance(metric.weight, str):
                _need_number(kinds[start], metric.weight, (*path, "weight"), place)
            if isinstance(metric, Level):
                if isinstance(metric.amount, str):
                    _need_number(kinds[start], metric.amount, (*path, "amount"), place)
                if metric.capacity is not None:
                    _formula(metric.capacity, config_names(spec) | {"duration"}, (*path, "capacity"), place)
        case Across(metric=of):
            if of not in known:
                raise place.error((*path, "metric"), f"{_unknown(of, known)} (metrics above this one)")
            if spec.classes is None:
                raise place.error(path, "needs [classes]")
        case FormulaMetric(value=text):
            _formula(text, known | config_names(spec) | {"duration"}, (*path, "value"), place)


def _where(kind: KindSpec, where: Mapping[str, object], path: tuple[str, ...], place: Place) -> None:
    for field, wanted in where.items():
        if field not in kind.fields:
            raise place.error((*path, "where", field), _unknown(field, kind.fields))
        of = kind.fields[field]
        for value in wanted if isinstance(wanted, tuple) else (wanted,):
            if of.type == "bool" and not isinstance(value, bool):
                raise place.error((*path, "where", field), f"{value!r} never comes; must be true or false")
            if of.type == "string" and of.values is not None and value not in of.values:
                raise place.error((*path, "where", field), f"{value!r} never comes; must be {' or '.join(of.values)}")


def _need_number(kind: KindSpec, field: str, path: tuple[str, ...], place: Place) -> None:
    numbers = [name for name, what in kind.fields.items() if what.type in ("int", "float", "bool", "index")]
    if field not in numbers:
        raise place.error(path, f"{_unknown(field, numbers)} (fields that are numbers)")


def _need_kinds(names: Sequence[str], known: Mapping[str, KindSpec], path: tuple[str, ...], place: Place) -> None:
    for name in names:
        if name not in known:
            raise place.error(path, f"{name!r} never happens: {_unknown(name, known)}")
    if not names:
        raise place.error(path, "is empty")


def _need_keys(spec: SystemSpec, names: Sequence[str], by: str, path: tuple[str, ...], place: Place) -> None:
    kinds = kinds_of(spec)
    if by not in kinds or id_field(kinds[by]) is None:
        raise place.error(path, _unknown(by, [n for n, k in kinds.items() if id_field(k)]) + " (kinds with an id)")
    for name in names:
        if key_field(spec, name, by) is None:
            raise place.error(path, f"{name} has no field of type 'ref' with of = {by!r}")


# --------------------------------------------------------------------------------------------------------- objectives


def bound_names(spec: SystemSpec) -> set[str]:
    """What a bound may use beside the configuration: `request_count`; `request_work_mean`, `_sum`, `_max`, `_min`."""
    names = {"duration"}
    for kind, what in spec.inputs.items():
        names.add(f"{kind}_count")
        for field, of in what.fields.items():
            if of.type in ("int", "float"):
                names |= {f"{kind}_{field}_{statistic}" for statistic in ("mean", "sum", "max", "min")}
    return names


def _objective(spec: SystemSpec, name: str, objective: ObjectiveSpec, place: Place) -> None:
    path = ("objectives", name)
    if objective.metric not in spec.metrics:
        raise place.error((*path, "metric"), _unknown(objective.metric, spec.metrics))
    metric = spec.metrics[objective.metric]
    if objective.direction == "minimize" and objective.worst is None and not isinstance(metric, Time | Late):
        raise place.error(path, f"needs 'worst': how bad {objective.metric} is of a run that failed")
    known = config_names(spec) | bound_names(spec)
    for key, text in (("worst", objective.worst), ("bound", objective.bound)):
        if text is not None:
            _formula(text, known, (*path, key), place)
    for number, floor in enumerate(objective.floors):
        if floor.metric not in spec.metrics:
            raise place.error((*path, "floors", number, "metric"), _unknown(floor.metric, spec.metrics))
        if floor.each_class and spec.classes is None:
            raise place.error((*path, "floors", number, "each_class"), "needs [classes]")
    ignored = isinstance(metric, Time) and metric.unfinished == "ignored"
    if ignored and objective.direction == "minimize" and not objective.floors:
        raise place.error(
            path, f"rewards leaving things unfinished: {objective.metric} ignores them, and there is no floor"
        )


# ------------------------------------------------------------------------------------------------------------- suites


def check_suite(suite: SuiteSpec, spec: SystemSpec, place: Place) -> None:
    if suite.objective not in spec.objectives:
        raise place.error(("objective",), _unknown(suite.objective, spec.objectives))
    if all(s.part == "held_out" for s in suite.scenarios):
        raise place.error(("scenarios",), "none is of part 'train', and a score counts train scenarios only")
    seen: set[str] = set()
    for number, scenario in enumerate(suite.scenarios):
        if scenario.name in seen:
            raise place.error(("scenarios", number, "name"), f"{scenario.name!r} is there twice")
        seen.add(scenario.name)


def check_scenario(
    scenario: ScenarioSpec, number: int, spec: SystemSpec, files: Mapping[str, bytes], file: str, place: Place
) -> None:
    path = ("scenarios", number)
    for key, value in scenario.config.items():
        if key not in spec.config:
            raise place.error((*path, "config", key), _unknown(key, spec.config))
        if problem := config_problem(spec.config[key], value):
            raise place.error((*path, "config", key), problem)
    config = {key: of.default for key, of in spec.config.items()}
    config |= {**scenario.config, "duration": scenario.duration}
    for name, invariant in spec.invariants.items():
        if isinstance(invariant, Capacity) and (problem := limit_problem(spec, invariant, config)):
            raise place.error((*path, "config"), f"invariant {name} {problem}")
    if sum((scenario.trace is not None, bool(scenario.arrivals), scenario.workload)) != 1:
        raise place.error(path, "needs exactly one of trace, arrivals and workload = true")
    if scenario.trace is not None and _beside(file, scenario.trace) not in files:
        raise place.error((*path, "trace"), f"{scenario.trace!r} is not there")
    if scenario.workload and "workload.py" not in files:
        raise place.error((*path, "workload"), "the package has no workload.py")
    for index, arrival in enumerate(scenario.arrivals):
        _arrival(arrival, (*path, "arrivals", index), spec, place)


def _beside(file: str, name: str) -> str:
    folder = file.rpartition("/")[0]
    return f"{folder}/{name}" if folder else name


def _arrival(arrival: ArrivalSpec, path: tuple[str | int, ...], spec: SystemSpec, place: Place) -> None:
    if arrival.kind not in spec.inputs:
        raise place.error((*path, "kind"), _unknown(arrival.kind, spec.inputs))
    fields = spec.inputs[arrival.kind].fields
    for field, distribution in arrival.fields.items():
        if field not in fields:
            raise place.error((*path, "fields", field), _unknown(field, fields))
        ways = set(distribution.model_fields_set) - {"max"}
        if len(ways) != 1:
            raise place.error((*path, "fields", field), "needs exactly one distribution")
    for field, what in fields.items():
        if what.type != "id" and field not in arrival.fields and not what.optional:
            raise place.error((*path, "fields"), f"says nothing about the field {field!r} of {arrival.kind}")


def _unknown(name: object, known: Iterable[str]) -> str:
    return f"{name!r} is unknown; known are: {', '.join(sorted(known)) or 'none'}"
