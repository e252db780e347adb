"""How conversations with tools are shown."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

from rich.markup import escape

from quintain.controller.v1 import controller_pb2 as pb
from quintain.generator.v1 import generator_pb2
from quintain_cli import render
from quintain_cli.render import out


def tools_text(uses: Sequence[pb.ToolUse]) -> str:
    """Which tools were used, and what that took, in one line."""
    counted = Counter(use.call.name for use in uses)
    failed = sum(use.result.failed for use in uses)
    parts = [", ".join(f"{name} {count}" for name, count in counted.items())]
    if failed:
        parts.append(f"{failed} wrong or refused")
    runs = sum(use.runs for use in uses)
    if runs:
        parts.append(f"{runs} runs, {sum(use.seconds for use in uses):.1f} s of the verifier")
    return f"tools: {'; '.join(parts)}"


def print_turns(turns: Sequence[generator_pb2.Turn]) -> None:
    """A conversation after its prompt: what the model said and called, and what it was told."""
    for number, turn in enumerate(turns, start=1):
        out.rule(f"turn {number}", align="left")
        if turn.text:
            render.print_text(turn.text)
        results = {result.call_id: result for result in turn.tool_results}
        for call in turn.tool_calls:
            _print_call(call, results.get(call.call_id))
        if turn.message:
            out.print("[bold]told[/]")
            render.print_text(turn.message)


def print_tool_uses(uses: Sequence[pb.ToolUse]) -> None:
    for use in uses:
        _print_call(use.call, use.result)


def _print_call(call: generator_pb2.ToolCall, result: generator_pb2.ToolResult | None) -> None:
    out.print(f"[bold]{escape(render.for_terminal(call.name))}[/] ({escape(call.call_id)})")
    for name, value in _arguments(call.arguments_json):
        lines = value.rstrip().splitlines()
        if len(lines) > 1:
            render.print_text(f"{name}:")
            render.print_text("\n".join(f"    {line}" for line in lines))
        else:
            render.print_text(f"{name}: {value}")
    if result is not None:
        out.print("[red]refused[/]" if result.failed else "[bold]said[/]")
        render.print_text(result.content)


def _arguments(text: str) -> list[tuple[str, str]]:
    try:
        given = json.loads(text or "{}")
    except ValueError:
        given = None
    if not isinstance(given, dict):
        return [("arguments", text)]
    return [(name, value if isinstance(value, str) else json.dumps(value)) for name, value in given.items()]
