"""Words of a search's specification as callers give them: roles of backends, the rule that chooses the winner."""

from __future__ import annotations

from collections.abc import Mapping

from quintain.controller.v1 import controller_pb2 as pb
from quintain.errors import InvalidArgument

_ROLE, _RULE = "BACKEND_ROLE_", "WINNER_RULE_"
ROLES = tuple(name.removeprefix(_ROLE).lower() for name in pb.BackendRole.keys()[1:])
WINNER_RULES = tuple(name.removeprefix(_RULE).lower().replace("_", "-") for name in pb.WinnerRule.keys()[1:])


def make_roles(roles: Mapping[str, str]) -> dict[str, pb.BackendRole.ValueType]:
    """Roles by name of the backend. Raises InvalidArgument for one that there is not."""
    for name, role in roles.items():
        if role not in ROLES:
            raise InvalidArgument.of("backend_roles", f"{name}: {role!r} is none of {', '.join(ROLES)}")
    return {name: pb.BackendRole.Value(f"{_ROLE}{role.upper()}") for name, role in roles.items()}


def make_winner_rule(rule: str) -> pb.WinnerRule.ValueType:
    """Raises InvalidArgument for a rule that there is not."""
    if rule not in WINNER_RULES:
        raise InvalidArgument.of("winner_rule", f"{rule!r} is none of {', '.join(WINNER_RULES)}")
    return pb.WinnerRule.Value(_RULE + rule.upper().replace("-", "_"))
