"""Bounds of conversations from what a person writes."""

from __future__ import annotations

from quintain.controller.v1 import controller_pb2 as pb
from quintain.errors import InvalidArgument


def make_agent(agent: bool, turns: int = 0, runs: int = 0, seconds: float = 0.0) -> pb.AgentOptions | None:
    """Bounds of each conversation, 0: the default; None: no conversations are wanted. Raises InvalidArgument for bounds
    of what is not wanted."""
    if agent:
        return pb.AgentOptions(max_turns=turns, max_runs=runs, max_seconds=seconds)
    for name, value in (("agent_turns", turns), ("agent_runs", runs), ("agent_seconds", seconds)):
        if value:
            raise InvalidArgument.of(name, "bounds conversations, and these are had with --agent (agent=True)")
    return None
