"""Whether what is somewhere now can be told from what was there before, and who holds an object beside the asker."""

from __future__ import annotations

from sys import getrefcount
from types import MemberDescriptorType
from typing import Any

from quintain_faas.guest.known import POLICY_MODULE

MISSING = object()
LISTS = (list, dict)
_SCALARS = (int, float, str, bool, type(None))


def _attribute_of_class(kind: type, name: str) -> Any:
    for base in kind.__mro__:
        if name in base.__dict__:
            return base.__dict__[name]
    return MISSING


def has_setter(kind: type, name: str) -> bool:
    """Whether storing the attribute runs code: a property or another descriptor that is no slot."""
    found = _attribute_of_class(kind, name)
    return type(found) is not MemberDescriptorType and hasattr(type(found), "__set__")


def read(owner: Any, name: str) -> Any:
    """The attribute as it is stored, without running anything."""
    try:
        attributes = object.__getattribute__(owner, "__dict__")
    except AttributeError:
        attributes = {}  # slots only
    if name in attributes:
        return attributes[name]
    found = _attribute_of_class(type(owner), name)
    if type(found) is MemberDescriptorType:
        try:
            return found.__get__(owner)
        except AttributeError:
            return MISSING
    return found


def same_elements(old: Any, new: Any, nested: int = 0) -> bool:
    """`nested`: how deep equal lists that nothing else holds may take the place of others."""
    if len(old) != len(new):
        return False
    if isinstance(new, dict):
        return all(map(same, old, new)) and _all_alike(list(old.values()), list(new.values()), nested, 1)
    return _all_alike(old, new, nested, 0)


def _all_alike(old: Any, new: Any, nested: int, copies: int) -> bool:
    """`copies`: how often `new` and another list hold the elements."""
    if not nested:
        return all(map(same, old, new))
    for index in range(len(new)):  # a zip would hold them too
        a, b = old[index], new[index]
        if not same(a, b):
            alike = type(a) is type(b) and type(b) in LISTS and getrefcount(b) == IN_A_PLACE + copies
            if not alike or not same_elements(a, b, nested - 1):
                return False
    return True


def same(old: Any, new: Any) -> bool:
    """The same object, or values of one type that no operation tells apart."""
    if old is new:
        return True
    kind = type(new)
    if type(old) is not kind:
        return False
    if kind in _SCALARS:
        return old == new and repr(old) == repr(new)
    if kind is tuple or (isinstance(new, tuple) and kind.__module__ == POLICY_MODULE):
        return len(old) == len(new) and all(map(same, old, new))
    return False


# ------------------------------------------------------------------------------------------------ counting references


def _references_in_a_call() -> int:
    """What `argument` counts for an object that only its caller's expression holds; 0 if that cannot be told from one
    that somebody else holds too."""

    class Counting:
        def argument(self, value: Any) -> int:
            return getrefcount(value)

    count = Counting().argument
    held = iter(())
    temporary = count(iter(()))
    return temporary if temporary < count(held) else 0


def _references_in_a_variable() -> int:
    for _, (owner, _) in {"": (object(), None)}.items():
        return getrefcount(owner) - 1  # the tuple holds it, as notes do
    raise AssertionError


def _references_in_a_place() -> int:
    place = [object()]
    new = place[0]
    return getrefcount(new)


IN_A_CALL = _references_in_a_call()
IN_A_VARIABLE = _references_in_a_variable()
IN_A_PLACE = _references_in_a_place()
