"""The JSON documents in which searches are kept, in the store and in archives."""

from __future__ import annotations

from pydantic import TypeAdapter

from quintain_controller.domain.events import DomainEvent
from quintain_controller.domain.model import Budget, Candidate, Gate, SearchContext, SearchSpec, Spend, ToolUse

SPEC = TypeAdapter(SearchSpec)
CONTEXT = TypeAdapter(SearchContext)
BUDGET = TypeAdapter(Budget)
SPEND = TypeAdapter(Spend)
GATES = TypeAdapter(tuple[Gate, ...])
TAGS = TypeAdapter(tuple[str, ...])
CANDIDATE = TypeAdapter(Candidate)
TOOLS = TypeAdapter(tuple[ToolUse, ...])
EVENT: TypeAdapter[DomainEvent] = TypeAdapter(DomainEvent)
