"""How far a command of several steps came in a package, so that it goes on there if it was killed."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from quintain.controller.v1 import controller_pb2 as controller
from quintain.errors import FailedPrecondition, InvalidArgument, NotFound
from quintain_cli.commands.lookup import get_search
from quintain_cli.connect import Connection
from quintain_cli.files import write_file
from quintain_cli.render import errors

_OVER = (controller.SEARCH_STATE_CANCELLED, controller.SEARCH_STATE_FAILED)


class Checkpoint:
    """A hidden file of the package (no part of what is sent): the options that the command was started with, the
    searches that it began, and what its finished steps found. It is there from the first step to the last.

    A search's request id is written before the search is asked for, so a search is never made, or paid for, twice.
    """

    def __init__(self, folder: Path, command: str, options: Mapping[str, Any]) -> None:
        """`options`: what the result depends on; one that was begun with other ones is not gone on with, which is said.
        Raises InvalidArgument for a file that cannot be read."""
        self._path = folder / f".{command}.json"
        self._options = json.loads(json.dumps(options))
        self._searches: dict[str, dict[str, str]] = {}
        self._found: dict[str, Any] = {}
        self.resumed = False
        if self._path.is_file():
            self._read(command)

    def _read(self, command: str) -> None:
        try:
            document = json.loads(self._path.read_bytes())
            options, searches, found = document["options"], dict(document["searches"]), dict(document["found"])
        except (ValueError, KeyError, TypeError) as error:
            message = f"{self._path} is no checkpoint of quintain {command} ({error!r}); delete it to begin anew"
            raise InvalidArgument.of("folder", message) from None
        if options == self._options:
            self._searches, self._found, self.resumed = searches, found, True
        elif begun := [search["search_id"] for search in searches.values() if "search_id" in search]:
            errors.print(
                f"[yellow]quintain {command} was interrupted here, with other options or files:[/] it begins anew "
                f"(searches begun before: {', '.join(begun)})"
            )

    def once(self, step: str, work: Callable[[], Any]) -> Any:
        """What the step found, now or before the command was killed."""
        if step not in self._found:
            self._found[step] = work()
            self._write()
        return self._found[step]

    def search(self, connection: Connection, step: str, spec: controller.SearchSpec) -> controller.CreateSearchResponse:
        """The step's search: made now, or begun before and going on (then without an estimate). One that was cancelled
        or failed since is made anew. Raises FailedPrecondition if the controller does not know it."""
        begun = self._searches.get(step, {})
        if "search_id" in begun:
            search = self._known(connection, begun["search_id"])
            if search.state == controller.SEARCH_STATE_PAUSED:
                going_on = controller.ResumeSearchRequest(search_id=search.search_id)
                search = connection.controller.resume_search(going_on).search
            if search.state not in _OVER:
                return controller.CreateSearchResponse(search=search)
            begun = {}
        if not begun:
            begun = self._searches[step] = {"request_id": uuid.uuid4().hex}
            self._write()
        request = controller.CreateSearchRequest(request_id=begun["request_id"], spec=spec)
        created = connection.controller.create_search(request)
        begun["search_id"] = created.search.search_id
        self._write()
        return created

    def forget(self, step: str) -> None:
        """A search of which nothing can be used: the next start makes another."""
        del self._searches[step]
        self._write()

    def _known(self, connection: Connection, search_id: str) -> controller.Search:
        try:
            return get_search(connection, search_id)
        except NotFound:
            message = f"search {search_id}, which was begun before, is not known to this controller"
            raise FailedPrecondition(
                f"{message}; name the one it runs in, or delete {self._path} to begin anew"
            ) from None

    def remove(self) -> None:
        """The last step is done."""
        self._path.unlink(missing_ok=True)

    def _write(self) -> None:
        document = {"options": self._options, "searches": self._searches, "found": self._found}
        write_file(self._path, json.dumps(document, indent=1) + "\n")
