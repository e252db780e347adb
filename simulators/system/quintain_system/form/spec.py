"""What `system.toml` may say, as pydantic models: they check it, and give the JSON Schema that editors use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

Name: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Number: TypeAlias = float | str  # a number, or a formula


class Strict(BaseModel):
    """Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False)


# ------------------------------------------------------------------------------------------------- what exists


def _field_from_text(given: Any) -> Any:
    """``"ref:request"`` is short for ``{type = "ref", of = "request"}``."""
    if isinstance(given, str):
        kind, _, of = given.partition(":")
        return {"type": kind, **({"of": of} if of else {})}
    return given


class FieldSpec(Strict):
    """One field of an input, a decision, an event or the observation."""

    type: Literal["int", "float", "bool", "string", "id", "ref", "index", "any"] = Field(
        description="'id' introduces a thing of this kind, 'ref' (of = kind) names one, 'index' (of = config) counts "
        "from 0 to below a whole number of the configuration or the length of a list, 'any' is any JSON value."
    )
    of: str | None = Field(
        None, description="For 'ref' the kind whose id it is, for 'index' a key of the configuration."
    )
    unit: str = ""
    about: str = ""
    values: tuple[str, ...] | None = Field(None, description="What a string may be.")
    min: float | None = None
    max: float | None = None
    optional: bool = Field(False, description="May be null.")
    hidden: bool = Field(False, description="Not shown to policies (a request's true service time).")


AField: TypeAlias = Annotated[FieldSpec, BeforeValidator(_field_from_text)]


class KindSpec(Strict):
    """A kind of input, decision or event."""

    about: str = ""
    fields: Mapping[Name, AField] = {}
    hidden: bool = Field(False, description="Not told to policies at all (events and inputs only).")


def _config_from_value(given: Any) -> Any:
    return given if isinstance(given, dict) else {"default": given}


ConfigValue: TypeAlias = bool | int | float | str | tuple[int | float | str, ...]


class ConfigSpec(Strict):
    """One number, text or list of the configuration. A scenario may set it; its type is the default's."""

    default: ConfigValue
    unit: str = ""
    about: str = ""
    min: float | None = None
    max: float | None = None
    hidden: bool = Field(False, description="Not shown to policies.")


AConfig: TypeAlias = Annotated[ConfigSpec, BeforeValidator(_config_from_value)]


class PolicySpec(Strict):
    """When a policy is asked: at time 0, then after each instant at which a kind of `calls` happened, and every so
    many seconds."""

    calls: tuple[Name, ...] = Field((), description="Inputs and events after which a policy is asked.")
    every: float | None = Field(None, gt=0, description="Seconds between calls that come by themselves.")
    about: str = ""


class ClassesSpec(Strict):
    """By what the things that come are told apart in metrics and floors."""

    of: Name = Field(description="The kind of input.")
    field: Name = Field(description="Its field with the class.")


# ----------------------------------------------------------------------------------------------- what always holds


class InvariantBase(Strict):
    about: str = ""


class Conservation(InvariantBase):
    """What leaves has entered, and leaves once."""

    type: Literal["conservation"]
    enter: tuple[Name, ...]
    leave: tuple[Name, ...]
    by: Name = Field(description="The kind of thing: its id or a reference to it is in each of them.")


class Order(InvariantBase):
    """Each `then` comes after a `first` of the same thing, one for one."""

    type: Literal["order"]
    first: Name
    then: Name
    by: Name


class Once(InvariantBase):
    """At most one of `of` for each thing."""

    type: Literal["once"]
    of: tuple[Name, ...]
    by: Name


class Capacity(InvariantBase):
    """What is held at one time never exceeds the limit."""

    type: Literal["capacity"]
    acquire: Name
    release: tuple[Name, ...]
    item: Name = Field(description="The kind of thing that holds: it releases what it acquired.")
    amount: str | float = Field(1.0, description="A number, or a field of `acquire`.")
    per: Name | None = Field(None, description="A field of `acquire`: the limit holds for each of its values.")
    limit: str | float = Field(description="A number, a formula over the configuration, or a list of it (with `per`).")


Invariant: TypeAlias = Annotated[Conservation | Order | Once | Capacity, Field(discriminator="type")]


# ------------------------------------------------------------------------------------------------------ what counts

Where: TypeAlias = Mapping[Name, str | int | bool | tuple[str | int, ...]]
Statistic: TypeAlias = Literal["mean", "p50", "p90", "p95", "p99", "max", "total"]


class MetricBase(Strict):
    unit: str = ""
    about: str = ""


class Count(MetricBase):
    """How many events of these kinds there were; as a rate, for each second of the scenario."""

    type: Literal["count", "rate"]
    of: tuple[Name, ...]
    where: Where = {}


class Sum(MetricBase):
    """Sum of a field over the events of a kind."""

    type: Literal["sum"]
    of: Name
    field: Name
    where: Where = {}


class Time(MetricBase):
    """Seconds from one event of a thing to another."""

    type: Literal["time"]
    start: Name = Field(alias="from")
    end: tuple[Name, ...] = Field(alias="to")
    by: Name
    statistic: Statistic = "mean"
    unfinished: Literal["duration", "elapsed", "ignored"] | float = Field(
        "duration",
        description="What counts for a thing that never came to the end: the scenario's whole duration, "
        "the time since it began, nothing, or so many seconds.",
    )
    where: Where = Field({}, description="Fields of `from`.")


class Late(MetricBase):
    """Share of the things that were not at the end in time; what never came there is late."""

    type: Literal["late"]
    start: Name = Field(alias="from")
    end: tuple[Name, ...] = Field(alias="to")
    by: Name
    within: str | float = Field(description="Seconds: a number, a key of the configuration, or a field of `from`.")
    weight: str | float = Field(1.0, description="How much a thing counts: a number, or a field of `from`.")
    where: Where = {}


class Level(MetricBase):
    """How much is held between two events, over time: divided by `capacity` it is utilisation."""

    type: Literal["level"]
    start: Name = Field(alias="from")
    end: tuple[Name, ...] = Field(alias="to")
    by: Name
    amount: str | float = Field(1.0, description="A number, or a field of `from`.")
    statistic: Literal["mean", "max", "total"] = Field("mean", description="'total' is the integral: amount x seconds.")
    capacity: Number | None = Field(None, description="A number or formula to divide by.")
    where: Where = {}


class Across(MetricBase):
    """A metric of the classes, as one number: Jain's index is 1 if all are equal."""

    type: Literal["across"]
    metric: Name
    statistic: Literal["jain", "min", "max", "mean"]


class Formula(MetricBase):
    """Arithmetic over the metrics above it, the configuration and `duration`."""

    type: Literal["formula"]
    value: str


Metric: TypeAlias = Annotated[Count | Sum | Time | Late | Level | Across | Formula, Field(discriminator="type")]


class FloorSpec(Strict):
    """What must be reached, else the score is capped below the baseline's."""

    metric: Name
    at_least: Literal["baseline"] | float = "baseline"
    share: float = Field(1.0, gt=0, le=1, description="Of what the baseline reaches.")
    each_class: bool = Field(False, description="In each class by itself.")


class ObjectiveSpec(Strict):
    metric: Name
    direction: Literal["maximize", "minimize"]
    about: str = ""
    worst: Number | None = Field(
        None,
        description="The value of a run that failed, 0 of the normalised scale. Needed to minimise what is "
        "neither a time nor a share.",
    )
    bound: Number | None = Field(
        None,
        description="A value that no policy can beat, 1 of the normalised scale. Without one, normalised is 0.5 "
        "at the baseline.",
    )
    scale: Literal["linear", "ratio"] | None = Field(
        None,
        description="How normalised goes from the worst (0) to the bound (1): in a straight line, or as bound / "
        "value does (halving a time counts the same at 10 s and at 1 s). None: 'ratio' for a time with a bound.",
    )
    floors: tuple[FloorSpec, ...] = ()


class DescriptorSpec(Strict):
    metric: Name
    edges: tuple[float, ...]


class SystemSpec(Strict):
    """`system.toml`: what exists, what always holds, what counts."""

    name: Name
    title: str = ""
    about: str = ""
    config: Mapping[Name, AConfig] = {}
    parameters: Mapping[Name, float] = Field({}, description="Values of the model's parameters.")
    inputs: Mapping[Name, KindSpec]
    decisions: Mapping[Name, KindSpec]
    events: Mapping[Name, KindSpec]
    observation: Mapping[Name, AField] = Field({}, description="What Model.observe() returns: a key for each.")
    policy: PolicySpec = PolicySpec()
    classes: ClassesSpec | None = None
    invariants: Mapping[Name, Invariant] = {}
    metrics: Mapping[Name, Metric]
    objectives: Mapping[Name, ObjectiveSpec]
    descriptors: tuple[DescriptorSpec, ...] = ()
    baseline: str | None = Field(None, description="File name (without .py) of the default baseline; else the first.")


# ------------------------------------------------------------------------------------------------------------ suites


class Distribution(Strict):
    """Values of a field: `constant`, `uniform`, `exponential`, `lognormal`, `pareto`, `choice` or `zipf`."""

    constant: ConfigValue | None = None
    uniform: tuple[float, float] | None = Field(None, description="[low, high]")
    exponential: float | None = Field(None, gt=0, description="The mean.")
    lognormal: tuple[float, float] | None = Field(None, description="[median, sigma of the logarithm]")
    pareto: tuple[float, float] | None = Field(None, description="[smallest, exponent]")
    choice: Mapping[str, float] | None = Field(None, description="value -> weight")
    zipf: tuple[int, float] | None = Field(None, description="[how many, exponent]: 0 is the most popular")
    max: float | None = Field(None, description="No value is greater.")


class BurstSpec(Strict):
    """The rate is `factor` times as high for `length` seconds, every `every` seconds."""

    every: float = Field(gt=0)
    length: float = Field(gt=0)
    factor: float = Field(ge=0)


class ArrivalSpec(Strict):
    """Inputs of one kind that are drawn, not recorded. Ids are numbered; every other field needs a distribution."""

    kind: Name
    rate: float = Field(gt=0, description="For each second, on average.")
    process: Literal["poisson", "regular"] = "poisson"
    start: float = Field(0.0, ge=0)
    end: float | None = Field(None, description="Seconds; the scenario's end if not given.")
    burst: BurstSpec | None = None
    fields: Mapping[Name, Distribution] = {}


class ScenarioSpec(Strict):
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    part: Literal["train", "held_out"]
    about: str = ""
    duration: float = Field(gt=0, description="Simulated seconds.")
    seed: int = Field(0, ge=0, lt=2**63)
    config: Mapping[Name, ConfigValue] = {}
    trace: str | None = Field(None, description="CSV (or .csv.gz) beside the suite: time, kind, and the fields.")
    arrivals: tuple[ArrivalSpec, ...] = ()
    workload: bool = Field(False, description="Inputs come from the package's workload.py.")
    cost: float | None = Field(
        None, gt=0, description="Work to run it, in thousands of inputs: an estimate for what a workload makes."
    )


class SuiteSpec(Strict):
    """`suite.toml`, or `suites/NAME.toml`."""

    about: str = ""
    objective: Name
    aggregation: Literal["mean_normalized", "median_value"] = "mean_normalized"
    defaults: Mapping[str, Any] = Field({}, description="Keys of every scenario that does not set them itself.")
    scenarios: tuple[ScenarioSpec, ...] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _defaults_for_all(cls, given: Any) -> Any:
        """A table of the defaults and one of the scenario are merged."""
        if not isinstance(given, dict) or not isinstance(given.get("defaults"), dict):
            return given
        defaults, scenarios = given["defaults"], given.get("scenarios")
        if not isinstance(scenarios, list) or not all(isinstance(s, dict) for s in scenarios):
            return given
        return {**given, "scenarios": [_merged(defaults, scenario) for scenario in scenarios]}


def _merged(defaults: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**defaults, **own}
    for key, value in defaults.items():
        if isinstance(value, dict) and isinstance(own.get(key), dict):
            merged[key] = {**value, **own[key]}
    return merged
