"""Seeing, while a policy runs, whether a call changed anything that outlives it.

The instrumented source (`effects`) asks here before whatever might have an effect: a call of something that is not
known from the text, an iteration, a change of an object that this very call did not make. What is known to be harmless
passes. What changes an object that can be looked at (a list, a dict, an attribute) is noted with what was there before,
and compared when the call has ended: a queue that was emptied and filled again, sorted into the order it had or rebuilt
element by element is as good as untouched. Everything else counts as an effect.

A list or dict that is *stored* in another one's place must be held by nothing else when the call has ended. Then no
change of it is seen anywhere but in this place, and since the source never tells lists apart by identity
(`effects.tells_lists_apart`), a place that holds an equal list is as good as untouched. What it replaced may have been
held elsewhere, which would be so for the last time: such a call must have no effect twice in a row before the policy is
taken to be at rest.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Callable
from sys import getrefcount
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

from quintain_faas.guest import known
from quintain_faas.guest.sameness import (
    IN_A_CALL,
    IN_A_PLACE,
    IN_A_VARIABLE,
    LISTS,
    MISSING,
    has_setter,
    read,
    same,
    same_elements,
)

MAX_NOTES = 4096  # in one call; a call with more has an effect
MAX_COPIED = 50_000  # elements of one list or dict that is changed in place
MAX_DEPTH = 3  # of lists in lists that are rebuilt together
UNCOUNTED_READS = frozenset({"_tick", "reads"})  # what changes from tick to tick in the mirror without being counted

_CHANGED = object()
_SETS = {"add": True, "difference_update": True, "discard": True, "intersection_update": True, "remove": True,
         "update": True}  # fmt: skip


class Journal:
    """Of one policy. `n` counts effects for certain; the other public names are for the instrumented source.

    `filename` is that of the policy's code: functions compiled from it are instrumented.
    """

    def __init__(self, filename: str, *, logs_tell_time: bool = False, lists_alike: bool = True) -> None:
        self.n = 0
        self._filename = filename
        self._logs_tell_time = logs_tell_time
        self._lists_alike = lists_alike
        self._watching = False
        self._notes: dict[tuple[Any, ...], tuple[Any, Any]] = {}  # what was where, before the call
        self._safe_classes: dict[type, bool] = {}
        self.module: dict[str, Any] = {}  # the policy's globals
        self.names: dict[str, Any] = {
            "__fx__": self, "__fx_m__": self.method, "__fx_f__": self.function, "__fx_a__": self.argument,
            "__fx_get__": self.get, "__fx_getattr__": self.get_attribute, "__fx_setattr__": self.set_attribute,
            "__fx_touch__": self.touch, "__fx_with__": self.manager, "__fx_list__": self.list_changer,
        }  # fmt: skip

    # ------------------------------------------------------------------------------------------------- of the session

    def begin(self, watching: bool) -> None:
        """A call begins; only of one that is watched will be asked what it changed."""
        self._watching = watching
        self.n = 0
        if self._notes:
            self._notes.clear()

    def end(self) -> tuple[bool, bool]:
        """-> (whether the watched call had an effect, whether a place was given a new equal list)."""
        self._watching = False
        if self.n:
            return True, False
        if not self._notes:
            return False, False
        held = Counter(id(item) for note in self._notes.values() for item in note)  # by the notes themselves
        before = {id(old) for _, old in self._notes.values()}
        renewed: set[int] = set()  # lists that took equal ones' places
        contents = []
        for key, (owner, old) in self._notes.items():
            # what this call made is gone with it, or compared where it took another's place
            if id(owner) not in before and getrefcount(owner) - held[id(owner)] <= IN_A_VARIABLE:
                continue
            if key[0] == "all":
                contents.append(key)
                continue
            settled = self._settled(key, owner, old, held)
            if settled is _CHANGED:
                return True, False
            if settled is not None:
                renewed.add(settled)
        for key in contents:
            owner, old = self._notes[key]
            is_new = id(owner) in renewed and id(owner) not in before
            if not is_new and not same_elements(old, owner):
                return True, False
        return False, bool(renewed)

    def _settled(self, key: tuple[Any, ...], owner: Any, old: Any, held: Counter[int]) -> Any:
        """None: untouched; the id of an equal list that took the old one's place; or _CHANGED."""
        if key[0] == "attribute":
            new = read(owner, key[2])
        elif type(owner) is list:
            new = owner[key[2]] if -len(owner) <= key[2] < len(owner) else MISSING
        else:
            new = dict.get(owner, key[2], MISSING)
        if same(old, new):
            return None
        if not self._lists_alike or type(new) not in LISTS or type(old) is not type(new):
            return _CHANGED
        alone = getrefcount(new) - held[id(new)] == IN_A_PLACE
        return id(new) if alone and same_elements(old, new, MAX_DEPTH) else _CHANGED

    def _note(self, key: tuple[Any, ...], owner: Any, old: Any) -> None:
        if key not in self._notes:
            if len(self._notes) < MAX_NOTES:
                self._notes[key] = (owner, old)
            else:
                self.n += 1

    # -------------------------------------------------------------------------------------------------------- changes

    def effect(self) -> None:
        self.n += 1

    def unknown(self, value: Any) -> Any:
        self.n += 1
        return value

    def attribute(self, owner: Any, name: str) -> None:
        """``owner.name`` is about to be stored."""
        if self._watching:
            if has_setter(type(owner), name):
                self.n += not self._is_policy_class(type(owner))  # its body is instrumented
            else:
                self._note(("attribute", id(owner), name), owner, read(owner, name))

    def shared(self, name: str) -> None:
        """A global name is about to be bound."""
        if self._watching:
            self._note(("item", id(self.module), name), self.module, self.module.get(name, MISSING))

    def item(self, owner: Any, key: Any) -> None:
        """``owner[key]`` is about to be stored."""
        if not self._watching:
            return
        kind = type(owner)
        if kind is list and type(key) is int:
            old = owner[key] if -len(owner) <= key < len(owner) else MISSING
            self._note(("item", id(owner), key), owner, old)
        elif kind in known.COPIED and isinstance(owner, dict) and type(key) in known.PLAIN:
            self._note(("item", id(owner), key), owner, dict.get(owner, key, MISSING))
        elif kind in known.COPIED:
            self.touch(owner)
        elif not self._is_ours(getattr(kind, "__setitem__", None)):
            self.n += 1

    def touch(self, owner: Any) -> Any:
        """A list, dict or deque is about to be changed in place. Gives it back."""
        if self._watching:
            if type(owner) in known.COPIED and len(owner) <= MAX_COPIED:
                key = ("all", id(owner))
                if key not in self._notes:
                    self._note(key, owner, owner.copy())
            else:
                self.n += 1
        return owner

    def augmented(self, value: Any) -> None:
        """`value` is about to be the left side of ``+=`` or the like, which changes it in place if it can."""
        if self._watching and type(value) not in known.VALUES:
            kind = type(value)
            if kind in known.COPIED:
                self.touch(value)
            elif not self._is_policy_class(kind) or isinstance(value, (*known.COPIED, set)):
                self.n += 1

    # ---------------------------------------------------------------------------------------------------- expressions

    def method(self, owner: Any, name: str) -> Any:
        """``owner.name``, about to be called."""
        found = getattr(owner, name)
        if not self._watching:
            return found
        kind = type(owner)
        methods = known.METHODS.get(kind)
        if methods is not None:
            changes = methods.get(name)
            if changes:
                self.touch(owner)
            elif changes is None:
                if kind is set and name in _SETS:
                    return self._watched_set(owner, found)
                self.n += not self._is_ours(found)
        elif kind not in known.VALUES:
            self._check_method(owner, kind, name, found)
        return found

    def _check_method(self, owner: Any, kind: type, name: str, found: Any) -> None:
        if kind is ModuleType or isinstance(owner, type):
            self._check(found)
        elif kind in known.LOGGERS:
            self.n += self._logs_tell_time or name not in known.LOG_METHODS
        elif self._is_ours(found):
            pass
        elif kind is super:
            self.n += name not in ("__init__", "__new__", "__repr__", "__str__", "__eq__", "__hash__", "__post_init__")
        elif isinstance(owner, known.COPIED):
            changes = known.METHODS[next(k for k in known.COPIED if isinstance(owner, k))].get(name)
            self.n += changes is not False  # of a class of the policy's: its copies need not be what they seem
        elif not isinstance(owner, tuple) or name not in ("_asdict", "_replace", "count", "index"):
            self._check(found)

    def _watched_set(self, owner: set[Any], found: Callable[..., Any]) -> Callable[..., Any]:
        def changing(*arguments: Any) -> Any:
            before = len(owner)
            value = found(*arguments)
            self.n += len(owner) != before
            return value

        return changing

    def function(self, found: Any) -> Any:
        """Something that is about to be called."""
        if self._watching:
            self._check(found)
        return found

    def list_changer(self, found: Any) -> Any:
        """A function that changes the list it is called with, which has been touched."""
        if self._watching and found not in known.LIST_FUNCTIONS:
            self._check(found)
        return found

    def argument(self, value: Any) -> Any:
        """Something that is about to be iterated over, or handed to a function that may iterate over it or call it."""
        if self._watching and type(value) not in known.PLAIN:
            if isinstance(value, known.ITERATORS):
                self.n += getrefcount(value) != IN_A_CALL  # somebody holds it: it lives on, and stands elsewhere then
            elif callable(value):
                self._check(value)
            elif hasattr(type(value), "__next__"):
                self.n += not self._is_policy_class(type(value))
        return value

    def get(self, owner: Any, key: Any) -> Any:
        """``owner[key]``, in a source that may hold default dicts."""
        if self._watching and isinstance(owner, defaultdict) and owner.default_factory is not None:
            if type(key) not in known.PLAIN:
                self.n += 1
            elif key not in owner:
                self.item(owner, key)
                self._check(owner.default_factory)
        return owner[key]

    def get_attribute(self, owner: Any, name: str, *default: Any) -> Any:
        self.n += name in UNCOUNTED_READS
        return getattr(owner, name, *default)

    def set_attribute(self, owner: Any, name: str, value: Any) -> None:
        self.attribute(owner, name)
        setattr(owner, name, value)

    def manager(self, value: Any) -> Any:
        """The object of a ``with`` statement."""
        if self._watching and type(value) not in known.CONSTRUCTORS and not self._is_policy_class(type(value)):
            self.n += 1
        return value

    # -------------------------------------------------------------------------------------------------- who is harmless

    def _check(self, found: Any) -> None:
        self.n += not self._is_harmless(found)

    def _is_harmless(self, found: Any) -> bool:
        """Whether calling `found` has no effect but those that are seen."""
        kind = type(found)
        if kind is FunctionType:
            return found.__code__.co_filename == self._filename or found in known.PURE_FUNCTIONS or self._logs(found)
        if kind is MethodType:
            return self._is_ours(found)
        if isinstance(found, type):
            return self._makes_only_objects(found)
        if kind is BuiltinFunctionType:
            owner = found.__self__
            if owner is None or type(owner) is ModuleType:
                return found in known.PURE_FUNCTIONS or self._is_pure_builtin(found)
            return self._reads_only(owner, found.__name__)
        if isinstance(found, known.partial):
            return self._is_harmless(found.func)
        if kind is known.LRU_WRAPPER:  # functools.lru_cache: a repeated call finds what it found
            return self._is_harmless(found.__wrapped__)
        if isinstance(found, known.CALLED_WITH_ITEMS):
            return True
        return self._is_policy_class(kind) and self._is_ours(kind.__dict__.get("__call__"))

    def _logs(self, found: Any) -> bool:
        return found in known.LOG_FUNCTIONS and not self._logs_tell_time

    @staticmethod
    def _is_pure_builtin(found: Any) -> bool:
        return found.__module__ == "builtins" and found.__name__ in known.PURE_BUILTINS

    def _reads_only(self, owner: Any, name: str) -> bool:
        if type(owner) in known.VALUES:
            return True
        if isinstance(owner, type):  # dict.fromkeys and the like
            return owner in known.CONSTRUCTORS
        return known.METHODS.get(type(owner), {}).get(name) is False

    def _is_ours(self, found: Any) -> bool:
        """Whether it is a function of the policy's source: its body is instrumented."""
        if type(found) is MethodType:
            found = found.__func__
        return type(found) is FunctionType and found.__code__.co_filename == self._filename

    def _is_policy_class(self, kind: type) -> bool:
        return kind.__module__ == known.POLICY_MODULE

    def _makes_only_objects(self, kind: type) -> bool:
        if kind in known.CONSTRUCTORS or (issubclass(kind, BaseException) and not self._is_policy_class(kind)):
            return True
        safe = self._safe_classes.get(kind)
        if safe is None:
            safe = self._safe_classes[kind] = self._is_policy_class(kind) and self._is_plainly_made(kind)
        return safe

    def _is_plainly_made(self, kind: type) -> bool:
        if type(kind) not in known.PLAIN_METACLASSES:
            return False
        for base in kind.__mro__:
            if base is object or issubclass(base, type):
                continue
            if (
                not self._is_policy_class(base)
                and base not in known.PLAIN_BASES
                and not issubclass(base, BaseException)
            ):
                return False
        if dataclasses.is_dataclass(kind):
            for field in dataclasses.fields(kind):
                factory = field.default_factory
                if factory is not dataclasses.MISSING and not self._is_harmless(factory):
                    return False
        return True
