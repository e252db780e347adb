"""Budgets as callers give them."""

from __future__ import annotations

from quintain.controller.v1 import controller_pb2 as pb


def make_budget(
    candidates: int | None, verifications: int | None, usd: float | None, tokens: int | None, minutes: float | None
) -> pb.Budget:
    """The message of a budget; None: no bound of that kind."""
    wall = None if minutes is None else minutes * 60
    return pb.Budget(candidates=candidates, verifications=verifications, usd=usd, tokens=tokens, wall_seconds=wall)
