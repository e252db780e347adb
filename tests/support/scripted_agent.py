"""A coding agent's command line that follows a script: ``python scripted_agent.py MCP_CONFIG STEP...``.

It reads its prompt, starts the MCP server that the configuration names (if it calls a tool at all), and takes the steps
in order: ``NAME=JSON`` calls a tool, ``together:NAME=JSON;;NAME=JSON`` several at once, ``say:TEXT``, ``exit:CODE``,
``hang``. Its output is one JSON document, as real ones write it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

_PLAIN = ("hang", "exit:", "say:")


async def follow(steps: list[str], call: Any) -> str:
    """What it said last."""
    said = ""
    for step in steps:
        if step == "hang":
            await asyncio.sleep(3600)
        elif step.startswith("exit:"):
            print("gone wrong", file=sys.stderr, flush=True)
            os._exit(int(step.removeprefix("exit:")))
        elif step.startswith("say:"):
            said = step.removeprefix("say:")
        else:
            calls = [part.split("=", 1) for part in step.removeprefix("together:").split(";;")]
            await asyncio.gather(*(call(name, json.loads(text)) for name, text in calls))
    return said


async def main() -> None:
    config, *steps = sys.argv[1:]
    prompt = sys.stdin.read()
    heard: list[dict[str, Any]] = []
    if all(step.startswith(_PLAIN) for step in steps):
        said = await follow(steps, None)
    else:
        from mcp.client.client import Client
        from mcp.client.stdio import StdioServerParameters

        server = json.loads(Path(config).read_text())["mcpServers"]["quintain"]
        async with Client(StdioServerParameters(command=server["command"], args=server["args"])) as client:
            tools = [tool.name for tool in (await client.list_tools()).tools]
            about = {"tools": tools, "files": os.listdir("."), "environment": sorted(os.environ), "prompt": len(prompt)}
            heard.append(about)

            async def call(name: str, arguments: dict[str, Any]) -> None:
                result = await client.call_tool(name, arguments)
                heard.append({"said": getattr(result.content[0], "text", ""), "error": bool(result.is_error)})

            said = await follow(steps, call)
    Path(os.environ["SCRIPTED_AGENT_LOG"]).write_text(json.dumps(heard))
    print(json.dumps({"type": "result", "result": said, "total_cost_usd": 0.03}))


asyncio.run(main())
