"""What is known of the standard library and the mirror: which calls change nothing, which change their own object."""

from __future__ import annotations

import abc
import bisect
import collections
import contextlib
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import heapq
import itertools
import json
import logging
import math
import operator
import re
import statistics
import typing
from types import GeneratorType, MappingProxyType, SimpleNamespace
from typing import Any, Final

from quintain_faas.guest import cluster, objects
from quintain_faas.guest.summation import policy_sum

POLICY_MODULE: Final = "eudoxia.scheduler.policy"

# Builtins whose call changes nothing beyond using up iterators among its arguments.
PURE_BUILTINS: Final = frozenset(
    {"abs", "all", "any", "ascii", "bin", "bool", "bytes", "callable", "chr", "complex", "dict", "dir", "divmod",
     "enumerate", "filter", "float", "format", "frozenset", "globals", "hash", "hex", "id", "int", "isinstance",
     "issubclass", "iter", "len", "list", "locals", "map", "max", "min", "next", "object", "oct", "ord", "pow", "print",
     "range", "repr", "reversed", "round", "set", "slice", "sorted", "str", "sum", "super", "tuple", "vars", "zip"}
)  # fmt: skip
# Among them those that iterate over an argument, now or later, or call it.
CONSUMERS: Final = frozenset(
    {"all", "any", "bytes", "dict", "enumerate", "filter", "frozenset", "iter", "list", "map", "max", "min", "next",
     "reversed", "set", "sorted", "sum", "tuple", "zip"}
)  # fmt: skip
CONSUMING_METHODS: Final = frozenset(
    {"difference", "difference_update", "extend", "extendleft", "fromkeys", "intersection", "intersection_update",
     "isdisjoint", "issubset", "issuperset", "join", "subtract", "symmetric_difference",
     "symmetric_difference_update", "union", "update"}
)  # fmt: skip


def _functions(module: Any, *names: str) -> list[Any]:
    return [getattr(module, name) for name in names]


PURE_FUNCTIONS: Final = frozenset(
    [
        *(f for name, f in vars(math).items() if callable(f)),
        *(f for name, f in vars(operator).items() if callable(f) and name in operator.__all__ and name[0] != "i"),
        *_functions(operator, "index", "inv", "invert", "is_", "is_not", "indexOf", "itemgetter"),
        *_functions(bisect, "bisect", "bisect_left", "bisect_right"),
        *_functions(heapq, "merge", "nlargest", "nsmallest"),
        *_functions(statistics, "fmean", "mean", "median", "median_high", "median_low", "mode", "pstdev", "pvariance"),
        *_functions(statistics, "quantiles", "stdev", "variance", "harmonic_mean", "geometric_mean"),
        *_functions(re, "compile", "escape", "findall", "finditer", "fullmatch", "match", "search", "split", "sub"),
        *_functions(functools, "reduce", "cmp_to_key"),
        *_functions(dataclasses, "asdict", "astuple", "fields", "is_dataclass", "replace"),
        *_functions(typing, "cast", "get_args", "get_origin"),
        *_functions(json, "dumps", "loads"),
        logging.getLogger,
        policy_sum,
    ]
) - {operator.setitem, operator.delitem, operator.methodcaller, operator.call if hasattr(operator, "call") else None}

# These change the list that is their first argument.
LIST_FUNCTIONS: Final = frozenset(
    [
        *_functions(bisect, "insort", "insort_left", "insort_right"),
        *_functions(heapq, "heapify", "heappop", "heappush", "heappushpop", "heapreplace"),
    ]
)

LIST_CHANGERS: Final = frozenset(function.__name__ for function in LIST_FUNCTIONS)

# Calling these makes a new object and changes nothing else.
CONSTRUCTORS: Final = frozenset(
    {
        bool, bytes, bytearray, complex, dict, enumerate, filter, float, frozenset, int, list, map, object, range,
        reversed, set, slice, str, tuple, zip,
        collections.ChainMap, collections.Counter, collections.OrderedDict, collections.defaultdict, collections.deque,
        contextlib.nullcontext, contextlib.suppress,
        datetime.timedelta, decimal.Decimal, fractions.Fraction, functools.partial,
        operator.attrgetter, operator.itemgetter, SimpleNamespace,
        *(kind for kind in vars(itertools).values() if isinstance(kind, type)),
        objects.Estimate, objects.ExecutionResult, objects.RetryStats, objects.Segment, objects.Suspend,
        objects.WaitingQueueJob, objects.Priority, objects.OperatorState, objects.DagShape,
    }
)  # fmt: skip

_ORDERED: Final = collections.OrderedDict[None, None]()
# Objects that never change: whatever is called on them changes nothing.
VALUES: Final[frozenset[Any]] = frozenset(
    {
        bool, bytes, complex, float, frozenset, int, range, slice, str, tuple, type(None), type(NotImplemented),
        type({}.keys()), type({}.values()), type({}.items()), MappingProxyType,
        *(type(view) for view in (_ORDERED.keys(), _ORDERED.values(), _ORDERED.items())), re.Pattern, re.Match,
        datetime.timedelta, decimal.Decimal, fractions.Fraction,
        objects.Priority, objects.OperatorState, objects.DagShape,
    }
)  # fmt: skip
LOGGERS: Final = (logging.Logger, logging.RootLogger)
LOG_METHODS: Final = frozenset(
    {"critical", "debug", "error", "exception", "getEffectiveLevel", "info", "isEnabledFor", "log", "warn", "warning"}
)
LOG_FUNCTIONS: Final = frozenset(
    (logging.critical, logging.debug, logging.error, logging.exception, logging.info, logging.log, logging.warning)
)

# Method -> whether it changes its object.
_LIST: Final = {
    **dict.fromkeys(("copy", "count", "index"), False),
    **dict.fromkeys(("append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"), True),
}
_DICT: Final = {
    **dict.fromkeys(("copy", "fromkeys", "get", "items", "keys", "values"), False),
    **dict.fromkeys(("clear", "pop", "popitem", "setdefault", "update"), True),
}
_SET_PURE: Final = (
    "copy", "difference", "intersection", "isdisjoint", "issubset", "issuperset", "symmetric_difference", "union",
)  # fmt: skip
_DEQUE: Final = {
    **dict.fromkeys(("copy", "count", "index"), False),
    **dict.fromkeys(
        ("append", "appendleft", "clear", "extend", "extendleft", "insert", "pop", "popleft", "remove", "reverse",
         "rotate"),
        True,
    ),
}  # fmt: skip


def _readers(kind: type, *changing: str) -> dict[str, bool]:
    """All public methods of a class of the mirror but those that change it."""
    return {
        name: False
        for name, value in vars(kind).items()
        if callable(value) and not name.startswith("_") and name not in changing
    }


METHODS: Final[dict[type, dict[str, bool]]] = {
    list: _LIST,
    dict: _DICT,
    collections.defaultdict: _DICT,
    collections.OrderedDict: {**_DICT, "move_to_end": True},
    collections.Counter: {**_DICT, "elements": False, "most_common": False, "total": False, "subtract": True},
    collections.deque: _DEQUE,
    set: dict.fromkeys(_SET_PURE, False),
    cluster.Clock: _readers(cluster.Clock),
    cluster.Container: _readers(cluster.Container),
    cluster.Pool: _readers(cluster.Pool, "start", "suspend", "release", "leave"),
    cluster.Executor: _readers(cluster.Executor),
    objects.DAG: _readers(objects.DAG, "add_node"),
    objects.Estimate: _readers(objects.Estimate),
    objects.ExecutionResult: _readers(objects.ExecutionResult),
    objects.Operator: _readers(objects.Operator, "transition"),
    objects.Pipeline: _readers(objects.Pipeline, "new_operator", "arrived"),
    objects.PipelineRuntimeStatus: _readers(
        objects.PipelineRuntimeStatus, "record_arrival", "record_finish", "transition", "set_state"
    ),
}
# In-place changes of these are followed by a copy of what they held: nothing but their elements can be seen of them.
# Not so sets: the order of one depends on what it held before.
COPIED: Final = (list, dict, collections.defaultdict, collections.OrderedDict, collections.Counter, collections.deque)

# Iterating over these changes nothing, and they are no functions.
PLAIN: Final = frozenset(
    VALUES | set(METHODS) | {objects.Assignment, objects.Suspend, cluster.Scheduler, SimpleNamespace, *LOGGERS}
)

_ITERABLES: Final[tuple[Any, ...]] = (
    [], (), {}, {}.values(), {}.items(), set(), "", b"", range(0), range(1 << 70), collections.deque(), _ORDERED,
)  # fmt: skip
ITERATORS: Final[tuple[type, ...]] = (
    GeneratorType, enumerate, filter, map, reversed, zip, type(reversed([])), type(reversed({})),
    *(type(iter(iterable)) for iterable in _ITERABLES),
    *(kind for kind in vars(itertools).values() if isinstance(kind, type)),
)  # fmt: skip
CALLED_WITH_ITEMS: Final = (operator.attrgetter, operator.itemgetter)
partial: Final = functools.partial
LRU_WRAPPER: Final = type(functools.lru_cache(abs))

# Classes of a policy may have these bases and metaclasses and still be made without an effect.
PLAIN_BASES: Final = frozenset(
    {abc.ABC, dict, enum.Enum, enum.IntEnum, enum.StrEnum, enum.Flag, enum.IntFlag, float, frozenset, int, list, set,
     str, tuple, typing.Generic, typing.Protocol, collections.OrderedDict, collections.defaultdict, collections.deque,
     collections.Counter, enum.ReprEnum}
)  # fmt: skip
PLAIN_METACLASSES: Final = frozenset({type, abc.ABCMeta, enum.EnumType, type(typing.Protocol)})
