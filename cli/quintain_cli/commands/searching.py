"""Searches that a command runs as a step of its own work."""

from __future__ import annotations

import uuid

from quintain.controller.v1 import controller_pb2 as controller
from quintain.errors import FailedPrecondition
from quintain_cli import render
from quintain_cli.commands.lookup import get_search
from quintain_cli.connect import FOREVER_SECONDS, Connection
from quintain_cli.waiting import WaitingLine


def searched(connection: Connection, spec: controller.SearchSpec, label: str) -> controller.Search:
    """The search at its end. One that paused by itself (a model that breaks, say) is cancelled, and the search that is
    returned says why it had paused."""
    request = controller.CreateSearchRequest(request_id=uuid.uuid4().hex, spec=spec)
    search = followed(connection, connection.controller.create_search(request).search.search_id, label)
    if search.state == controller.SEARCH_STATE_PAUSED:
        connection.controller.cancel_search(controller.CancelSearchRequest(search_id=search.search_id))
    return search


def followed(connection: Connection, search_id: str, label: str) -> controller.Search:
    """The search when it has ended or is paused."""
    with WaitingLine(label):
        for event in connection.follow(connection.controller.watch_search(search_id, 0, FOREVER_SECONDS)):
            if event is None or event.state_changed.state != controller.SEARCH_STATE_PAUSED:
                continue
            search = get_search(connection, search_id)  # the event may be of a pause that is long over
            if search.state == controller.SEARCH_STATE_PAUSED:
                return search
    return get_search(connection, search_id)


def run_search(connection: Connection, spec: controller.SearchSpec, label: str) -> str:
    """Run a search to its end. Returns its id. Raises FailedPrecondition if it did not finish."""
    search = searched(connection, spec, label)
    if search.state != controller.SEARCH_STATE_FINISHED:
        raise unfinished(search, label)
    return search.search_id


def unfinished(search: controller.Search, label: str) -> FailedPrecondition:
    state = render.enum_name(controller.SearchState, search.state)
    return FailedPrecondition(f"search {search.search_id} ({label}) {state}: {search.error or search.pause_reason}")
