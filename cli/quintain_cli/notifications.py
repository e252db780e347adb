"""Notifications of a search that is followed: a webhook and a command, at a new best, a pause and the end.

QUINTAIN_NOTIFY_URL is posted a JSON document, QUINTAIN_NOTIFY_COMMAND is run (without a shell) with the same document
on its standard input. The address often holds a secret: it is in no argument, message or log.
"""

from __future__ import annotations

import http.client
import json
import os
import shlex
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from urllib.parse import urlsplit

from rich.markup import escape
from rich.text import Text

from quintain.backoff import Backoff
from quintain.controller.v1 import controller_pb2 as pb
from quintain.errors import InvalidArgument
from quintain_cli import render
from quintain_cli.render import errors

TRIES = 3
POST_SECONDS = 10.0  # of one try
COMMAND_SECONDS = 60.0
CLOSE_SECONDS = 30.0  # so long the end of a search waits for what is not yet delivered
_BACKOFF = Backoff(first_seconds=0.5, most_seconds=5.0)
_TOLD_STATES = (
    pb.SEARCH_STATE_PAUSED,
    pb.SEARCH_STATE_FINISHED,
    pb.SEARCH_STATE_CANCELLED,
    pb.SEARCH_STATE_FAILED,
)


class _Failed(Exception):
    """A notification was not delivered; the text holds no secret."""


class Notifications:
    """Delivers in order, in a thread of its own. A context manager: at its end what is queued is delivered, or said to
    be lost. A delivery that fails is said on standard error and hurts nothing else."""

    def __init__(self, search: pb.Search, url: str = "", command: str = "") -> None:
        """Raises InvalidArgument for an address or a command that cannot be one."""
        self._search = search
        self._ways: list[Callable[[bytes], None]] = []
        if url:
            if not _is_web_address(url):
                raise InvalidArgument.of("QUINTAIN_NOTIFY_URL", "must be http://HOST... or https://HOST...")
            self._ways.append(lambda document: _post(url, document))
        if command.strip():
            try:
                words = shlex.split(command)
            except ValueError as error:
                raise InvalidArgument.of("QUINTAIN_NOTIFY_COMMAND", str(error)) from None
            self._ways.append(lambda document: _run(words, document))
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
        document = {
            "text": f"{what}: {Text.from_markup(line or kind).plain}",
            "kind": kind,
            "search_id": self._search.search_id,
            "title": title,
            "sequence": event.sequence,
            "at": event.at.ToJsonString(),
            "usd": event.spend.usd,
            "number": candidate.number if kind == "new best" else None,
            "score": candidate.score if kind == "new best" else None,
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


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # no port, or no IPv6 address
        return False


def _deliver(way: Callable[[bytes], None], document: bytes) -> None:
    try:
        way(document)
    except _Failed as failure:
        errors.print(f"[yellow]not notified: {escape(str(failure))}[/]")


def _post(url: str, document: bytes) -> None:
    request = urllib.request.Request(url, document, {"Content-Type": "application/json"}, method="POST")
    for failures in range(1, TRIES + 1):
        try:
            with urllib.request.urlopen(request, timeout=POST_SECONDS):
                return
        except urllib.error.HTTPError as error:
            error.close()
            said, again = f"the webhook answered {error.code}", error.code >= 500 or error.code == 429
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            said, again = f"the webhook cannot be reached ({type(reason).__name__})", True
        if not again or failures == TRIES:
            raise _Failed(said)
        time.sleep(_BACKOFF.seconds(failures))


def _run(words: list[str], document: bytes) -> None:
    try:
        done = subprocess.run(words, input=document, capture_output=True, timeout=COMMAND_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise _Failed(f"the command {words[0]} took longer than {COMMAND_SECONDS:.0f} s") from None
    except OSError as error:
        raise _Failed(f"the command {words[0]} cannot be run: {error.strerror}") from None
    if done.returncode:
        raise _Failed(f"the command {words[0]} ended with {done.returncode}")
