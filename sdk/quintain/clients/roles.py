"""Roles of backends as callers give them."""

from __future__ import annotations

from collections.abc import Mapping

from quintain.controller.v1 import controller_pb2 as pb
from quintain.errors import InvalidArgument

_PREFIX = "BACKEND_ROLE_"
ROLES = tuple(name.removeprefix(_PREFIX).lower() for name in pb.BackendRole.keys()[1:])


def make_roles(roles: Mapping[str, str]) -> dict[str, pb.BackendRole.ValueType]:
    """Roles by name of the backend. Raises InvalidArgument for one that there is not."""
    for name, role in roles.items():
        if role not in ROLES:
            raise InvalidArgument.of("backend_roles", f"{name}: {role!r} is none of {', '.join(ROLES)}")
    return {name: pb.BackendRole.Value(f"{_PREFIX}{role.upper()}") for name, role in roles.items()}
