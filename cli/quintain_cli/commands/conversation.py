"""How conversations with tools are shown."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rich.markup import escape

from quintain.controller.v1 import controller_pb2 as pb
from quintain.generator.v1 import generator_pb2
from quintain_cli import render
from quintain_cli.render import out
from quintain_cli.report.data import Conversation


def print_conversation(conversation: Conversation) -> None:
    """How often a model answered, the tools that it called, and what that took."""
    columns = ("calls", "refused", "runs", "seconds")
    rows = render.table("tool", *columns, numeric=columns)
    for tool in conversation.tools:
        seconds = f"{tool.seconds:.1f}" if tool.runs else ""
        rows.add_row(
            escape(render.for_terminal(tool.name)),
            str(tool.calls),
            str(tool.failed or ""),
            str(tool.runs or ""),
            seconds,
        )
    runs, seconds = (sum(getattr(tool, name) for tool in conversation.tools) for name in ("runs", "seconds"))
    turns = f"{conversation.turns} turns, " if conversation.turns else ""  # counted when it is over
    out.print(f"conversation: {turns}{runs} runs, {seconds:.1f} s of the verifier, {render.usd(conversation.cost_usd)}")
    if conversation.tools:
        out.print(rows)


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
