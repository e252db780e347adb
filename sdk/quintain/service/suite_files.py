"""Suites that callers brought along, by digest: what was sent once need not be sent again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping

from quintain.errors import FailedPrecondition
from quintain.plugins.simulator import InvalidInput, files_digest

MOST_FILES = 1_000


class SuiteFileCache:
    """Thread safe. Keeps the files that were used last, `most_bytes` of content in all."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Mapping[str, bytes]] = OrderedDict()
        self._bytes = 0

    def resolve(self, digest: str, files: Mapping[str, bytes]) -> Mapping[str, bytes]:
        """The files meant by a request. Raises InvalidInput, and FailedPrecondition if they are not here."""
        if not files:
            with self._lock:
                if digest not in self._kept:
                    raise FailedPrecondition(
                        f"the files of suite {digest[:12]!r} are not here; send them", reason="SUITE_NOT_HERE"
                    )
                self._kept.move_to_end(digest)
                return self._kept[digest]
        _check_names(files)
        found = files_digest(files)
        if digest and digest != found:
            raise InvalidInput("suite_files.digest", f"is {digest!r}, but the files have {found}")
        self._keep(found, files)
        return files

    def _keep(self, digest: str, files: Mapping[str, bytes]) -> None:
        with self._lock:
            if digest not in self._kept:
                self._bytes += _size(files)
            self._kept[digest] = files
            self._kept.move_to_end(digest)
            while self._bytes > self._most_bytes and len(self._kept) > 1:
                self._bytes -= _size(self._kept.popitem(last=False)[1])


def _size(files: Mapping[str, bytes]) -> int:
    return sum(map(len, files.values()))


def _check_names(files: Mapping[str, bytes]) -> None:
    if len(files) > MOST_FILES:
        raise InvalidInput("suite_files", f"has {len(files)} files; at most {MOST_FILES} are taken")
    for name in files:
        parts = name.split("/")
        if not name.isprintable() or "\\" in name or any(part in ("", ".", "..") for part in parts):
            raise InvalidInput("suite_files", f"{name!r} is no relative name with / between folders")
