"""An MCP server on standard input and output that hands tool calls to the backend `agent-command`.

The coding agent starts it: ``python -m quintain_generator.backends.agent_bridge SOCKET``.

It knows no tool itself. Over the socket the backend first sends the tools in one line of JSON; then each call is a line
there, and each answer a line back.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

MAX_LINE_BYTES = 4 * 1024 * 1024
_NAME = "quintain"


class Bridge:
    """Belongs to one event loop."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._count = 0
        self.tools: list[types.Tool] = []

    async def begin(self) -> None:
        """Take the tools."""
        told = json.loads(await self._reader.readline())
        self.tools = [
            types.Tool(
                name=tool["name"],
                description=tool["description"],
                input_schema=tool["parameters"],
                # What runs does so in a jail elsewhere: agents need not ask anybody.
                annotations=types.ToolAnnotations(read_only_hint=True, open_world_hint=False),
            )
            for tool in told["tools"]
        ]

    async def hand_on_answers(self) -> None:
        """Until the backend closes the socket."""
        while line := await self._reader.readline():
            answer = json.loads(line)
            if (waiting := self._waiting.pop(answer["id"], None)) is not None and not waiting.done():
                waiting.set_result(answer)
        for waiting in self._waiting.values():
            waiting.set_result({"content": "the conversation has ended", "failed": True})

    async def list_tools(self, _context: Any, _params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=self.tools)

    async def call_tool(self, _context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        self._count += 1
        number = self._count
        self._waiting[number] = asyncio.get_running_loop().create_future()
        asked = {"id": number, "name": params.name, "arguments": params.arguments or {}}
        self._writer.write(json.dumps(asked).encode() + b"\n")
        await self._writer.drain()
        answer = await self._waiting[number]
        return types.CallToolResult(
            content=[types.TextContent(type="text", text=answer["content"])], is_error=answer["failed"]
        )


async def serve(socket: str) -> None:
    reader, writer = await asyncio.open_unix_connection(socket, limit=MAX_LINE_BYTES)
    bridge = Bridge(reader, writer)
    await bridge.begin()
    server: Server[Any] = Server(_NAME, on_list_tools=bridge.list_tools, on_call_tool=bridge.call_tool)
    answers = asyncio.create_task(bridge.hand_on_answers())
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())
    answers.cancel()
    writer.close()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
