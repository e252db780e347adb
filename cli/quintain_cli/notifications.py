"""Notifications of a search that is followed: a webhook and a command, at a new best, a pause and the end.

QUINTAIN_NOTIFY_URL is posted a JSON document, QUINTAIN_NOTIFY_COMMAND is run (without a shell) with the same document
on its standard input. The address often holds a secret: it is in no argument, message or log.
"""

from __future__ import annotations

import json
import os
from concurrent.futures import Future, ThreadPoolExecutor, wait

from rich.markup import escape
from rich.text import Text

from quintain.controller.v1 import controller_pb2 as pb
from quintain.errors import InvalidArgument
from quintain.type.v1 import type_pb2
from quintain.wire.notifications import NotDelivered, Way, command, webhook
from quintain_cli import render
from quintain_cli.render import errors

CLOSE_SECONDS = 30.0  # so long the end of a search waits for what is not yet delivered
_TOLD_STATES = (
    pb.SEARCH_STATE_PAUSED,
    pb.SEARCH_STATE_FINISHED,
    pb.SEARCH_STATE_CANCELLED,
    pb.SEARCH_STATE_FAILED,
)


class Notifications:
    """Delivers in order, in a thread of its own. A context manager: at its end what is queued is delivered, or said to
    be lost. A delivery that fails is said on standard error and hurts nothing else."""

    def __init__(self, search: pb.Search, url: str = "", line: str = "") -> None:
        """Raises InvalidArgument for an address or a command that cannot be one."""
        self._search = search
        self._ways: list[Way] = []
        for variable, value, way in (("URL", url, webhook), ("COMMAND", line.strip(), command)):
            if value:
                try:
                    self._ways.append(way(value))
                except ValueError as error:
                    raise InvalidArgument.of(f"QUINTAIN_NOTIFY_{variable}", str(error)) from None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="notifications")
        self._pending: list[Future[None]] = []

    @classmethod
    def from_environment(cls, search: pb.Search) -> Notifications:
        return cls(search, os.environ.get("QUINTAIN_NOTIFY_URL", ""), os.environ.get("QUINTAIN_NOTIFY_COMMAND", ""))

    def take(self, event: pb.Event, line: str | None) -> None:
        """Tell of an event that is worth it and new: what was there when the search was asked for is not."""
        if not self._ways or event.sequence <= self._search.last_sequence:
            return
        kind = event.WhichOneof("event")
        if kind == "new_best":
            self._send("new best", event, line)
        elif kind == "state_changed" and event.state_changed.state in _TOLD_STATES:
            self._send(render.enum_name(pb.SearchState, event.state_changed.state), event, line)

    def _send(self, kind: str, event: pb.Event, line: str | None) -> None:
        title = self._search.spec.title
        what = f"search {self._search.search_id}{f' ({title})' if title else ''}"
        candidate = event.new_best.candidate
        words, fidelity = Text.from_markup(line or kind).plain, ""
        if self._search.fidelity != type_pb2.FIDELITY_UNSPECIFIED:
            fidelity = render.enum_name(type_pb2.Fidelity, self._search.fidelity)
            said = render.fidelity_text(self._search.fidelity, self._search.fidelity_reason)
            words += f"; in a model of the system, fidelity {said}"
        document = {
            "text": f"{what}: {words}",
            "kind": kind,
            "search_id": self._search.search_id,
            "title": title,
            "sequence": event.sequence,
            "at": event.at.ToJsonString(),
            "usd": event.spend.usd,
            "number": candidate.number if kind == "new best" else None,
            "score": candidate.score if kind == "new best" else None,
            "fidelity": fidelity or None,
            "fidelity_reason": self._search.fidelity_reason or None,
        }
        encoded = json.dumps(document, sort_keys=True).encode()
        self._pending += [self._thread.submit(_deliver, way, encoded) for way in self._ways]

    def __enter__(self) -> Notifications:
        return self

    def __exit__(self, *exception: object) -> None:
        late = wait(self._pending, CLOSE_SECONDS).not_done
        self._thread.shutdown(wait=False, cancel_futures=True)
        if late:
            errors.print(f"[yellow]{len(late)} notifications were not delivered within {CLOSE_SECONDS:.0f} s[/]")


def _deliver(way: Way, document: bytes) -> None:
    try:
        way(document)
    except NotDelivered as failure:
        errors.print(f"[yellow]not notified: {escape(str(failure))}[/]")
