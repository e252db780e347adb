"""The MCP server: the tools by name, with errors that an agent can act upon and nothing secret in what it is told."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations

import quintain
from quintain.errors import QuintainError
from quintain.service.logs import redact
from quintain_cli.agents.foreign import NOTE
from quintain_cli.agents.tools import Tools

INSTRUCTIONS = (
    "quintain searches for policies (Python) of distributed systems: candidates are generated, run in a sandbox "
    "against a deterministic simulator, and scored. Read `budget` first: it says which suites and backends may be "
    "used and what is left to spend; nothing here can raise it. Then `guide`, `verify` a policy of your own, or "
    "`start_search`, follow it with `watch_search`, and read what came of it. " + NOTE
)

_SPENDS = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=True)
_READS = ToolAnnotations(read_only_hint=True)
_STOPS = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True)


def make_server(tools: Tools) -> MCPServer[Any]:
    server: MCPServer[Any] = MCPServer(
        "quintain", instructions=INSTRUCTIONS, version=quintain.__version__, log_level="WARNING"
    )
    for function, hints in (
        (tools.budget, _READS),
        (tools.guide, _READS),
        (tools.verify, _SPENDS),
        (tools.start_search, _SPENDS),
        (tools.watch_search, _READS),
        (tools.list_searches, _READS),
        (tools.list_candidates, _READS),
        (tools.read_candidate, _READS),
        (tools.compare, _READS),
        (tools.stop_search, _STOPS),
    ):
        server.add_tool(_guarded(function), annotations=hints)
    return server


def _guarded(function: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """`function` with its errors in words, and without the secrets that this process holds."""

    @functools.wraps(function)
    def tool(*args: Any, **kwargs: Any) -> dict[str, Any]:
        try:
            result: dict[str, Any] = json.loads(redact(json.dumps(function(*args, **kwargs))))
        except QuintainError as error:
            raise ToolError(redact(_words(error))) from None
        return result

    return tool


def _words(error: QuintainError) -> str:
    fields = [f"{v.field}: {v.message}" for v in error.violations]
    return "; ".join([f"{type(error).__name__}: {error.message}", *(f for f in fields if f not in error.message)])
