"""How the command line writes: tables for people on standard output, JSON for machines, everything else on standard
error."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterable
from copy import copy
from dataclasses import replace
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape
from rich.table import Table

from quintain.controller.v1 import controller_pb2
from quintain.errors import QuintainError
from quintain.type.v1 import type_pb2
from quintain.verifier.v1 import verifier_pb2
from quintain.wording import NOTHING as NOTHING
from quintain.wording import broken_floors as broken_floors
from quintain.wording import budget_text as budget_text
from quintain.wording import enum_name as enum_name
from quintain.wording import failure_text as failure_text
from quintain.wording import fidelity_text as fidelity_text
from quintain.wording import improvement as improvement
from quintain.wording import number as number
from quintain.wording import operator_name as operator_name
from quintain.wording import outcome_name as outcome_name
from quintain.wording import percent as percent
from quintain.wording import share_of_bound as share_of_bound
from quintain.wording import stop_text as stop_text
from quintain.wording import usd as usd

PIPE_WIDTH = 140  # where nothing says how wide the reader is
MEASURED = 10_000  # columns: as wide as a table wants to be

errors = Console(stderr=True, highlight=False, soft_wrap=True)  # commands to copy stay on one line
out = Console(highlight=False)
if not out.is_terminal and "COLUMNS" not in os.environ:
    out.width = PIPE_WIDTH

_FIDELITY_COLORS = {type_pb2.FIDELITY_VERIFIED: "green", type_pb2.FIDELITY_UNVERIFIED: "yellow"}
_UNKNOWN_SUITE = re.compile(r"suite: '([^']*/[^']*)' is unknown")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def to_json(message: Message | dict[str, Any]) -> str:
    """One line, keys sorted: the same message gives the same bytes."""
    value = to_dict(message) if isinstance(message, Message) else message
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def to_dict(message: Message) -> dict[str, Any]:
    """A message as docs/json.md says: every field that has a value or a default, whole numbers as numbers."""
    value = MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    _whole_numbers(value, message.DESCRIPTOR)
    return value


def _whole_numbers(value: dict[str, Any], descriptor: Any) -> None:
    """Turn the strings as which protobuf writes 64 bit integers into numbers, in place."""
    for field in descriptor.fields:
        found = value.get(field.name)
        if found is None or (field.message_type and field.message_type.full_name.startswith("google.protobuf.")):
            continue
        if field.message_type:
            for inner in found if isinstance(found, list) else [found]:
                _whole_numbers(inner, field.message_type)
        elif field.cpp_type in (field.CPPTYPE_INT64, field.CPPTYPE_UINT64):
            value[field.name] = [int(one) for one in found] if isinstance(found, list) else int(found)


def print_json(message: Message | dict[str, Any]) -> None:
    print(to_json(message), flush=True)


def for_terminal(text: str) -> str:
    """With control characters made visible: what a model wrote must not rule the terminal of who reads it."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def print_text(text: str) -> None:
    """Print what others wrote: exactly, but for a terminal's eyes."""
    print(for_terminal(text) if out.is_terminal else text)


def size_text(size: int) -> str:
    return f"{size} bytes" if size < 10_000 else f"{size / 1e3:.0f} kB" if size < 1e6 else f"{size / 1e6:.1f} MB"


def say(markup: str) -> None:
    """Prose on standard output: wrapped between words on a terminal, whole lines in a pipe."""
    out.print(markup, soft_wrap=not out.is_terminal)


def say_fidelity(of: verifier_pb2.Verdict | controller_pb2.Search) -> None:
    """How far the model may be trusted in which this was found or verified, if it was in one."""
    text = fidelity_text(of.fidelity, of.fidelity_reason)
    if text:
        color = _FIDELITY_COLORS.get(of.fidelity, "red")
        say(f"in a model of the system, fidelity [{color}]{escape(text)}[/]")


class _Table(Table):
    """Written without lines between the columns where the terminal is narrow, and as records, a line for each cell,
    where it is too narrow for so many columns."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        self = _without_blanks(self)
        for bordered in (True, False):
            self.box, self.padding = (box.HEAVY_HEAD, (0, 1)) if bordered else (box.SIMPLE_HEAD, (0, 1, 0, 0))
            self.show_edge = self.pad_edge = bordered
            if self.__rich_measure__(console, options.update(max_width=MEASURED)).minimum <= options.max_width:
                yield from super().__rich_console__(console, options)
                return
        if self.title:
            yield console.render_str(f"[bold]{self.title}[/]")
        for cells in zip(*(column.cells for column in self.columns), strict=True):
            named = [
                (str(column.header).replace("\n", " "), str(cell))
                for column, cell in zip(self.columns, cells, strict=True)
            ]
            lines = [f"[dim]{header}[/] {cell}" if header else cell for header, cell in named if cell]
            yield console.render_str("\n".join([*lines, ""]))


def _without_blanks(table: _Table) -> _Table:
    """The table without the columns, but for the first, in which no row says anything."""
    shown = [c for c in table.columns if c is table.columns[0] or any(cell not in ("", NOTHING) for cell in c.cells)]
    if len(shown) == len(table.columns) or not table.rows:
        return table
    made = copy(table)
    made.columns = [replace(column, _index=index) for index, column in enumerate(shown)]
    return made


def table(*columns: str, title: str = "", numeric: Iterable[str] = ()) -> Table:
    made = _Table(title=title or None, title_justify="left", title_style="bold")
    right = set(numeric)
    for column in columns:
        # What a row is called by is for copying, so it stays in one piece; a header with its own breaks keeps to them.
        whole = column == columns[0] or "\n" in column
        made.add_column(column, justify="right" if column in right else "left", overflow="fold", no_wrap=whole)
    return made


class _Retries(logging.Handler):
    """Says why a command waits: each reason once."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if message not in self._said:
            self._said.add(message)
            errors.print(f"[yellow]{escape(message)}[/]", soft_wrap=True)


def show_retries() -> None:
    """Show on standard error what the clients' log says of calls that are repeated."""
    log = logging.getLogger("quintain.clients")
    log.handlers = [_Retries()]
    log.propagate = False


def print_error(error: QuintainError) -> None:
    """One clear red line; further lines only for several wrong fields, a service's log, or what may have been meant."""
    errors.print(f"[bold red]error:[/] {escape(error.message)}", soft_wrap=True)
    if path := _UNKNOWN_SUITE.search(error.message):
        errors.print(f"  nor is there a folder {escape(path[1])}, if a suite of your own was meant", soft_wrap=True)
    for violation in error.violations:
        if violation.field not in error.message and violation.message not in error.message:
            errors.print(f"  [red]{escape(violation.field)}[/]: {escape(violation.message)}", soft_wrap=True)
    if error.retry_after_seconds:
        errors.print(f"  try again in {error.retry_after_seconds:.0f} s")
