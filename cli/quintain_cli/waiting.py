"""What is waited for, said while it is waited for."""

from __future__ import annotations

import threading
import time

from rich.markup import escape

from quintain_cli.render import errors

SAID_EVERY_SECONDS = 10.0  # nothing that a person waits for is silent for longer


class WaitingLine:
    """A context manager around something that blocks: a spinner on a terminal; elsewhere, as soon as it has taken ten
    seconds, a line on standard error every ten seconds. `update` says what is waited for now. Thread safe."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._begun = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._say, daemon=True)
        self._status = errors.status(escape(text)) if errors.is_terminal else None

    def __enter__(self) -> WaitingLine:
        if self._status is not None:
            self._status.start()
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._thread.join()
        if self._status is not None:
            self._status.stop()

    def update(self, text: str) -> None:
        if text != self._text and self._status is not None:
            self._status.update(escape(text))
        self._text = text

    def _say(self) -> None:
        while not self._ended.wait(SAID_EVERY_SECONDS):
            line = f"{self._text} ({time.monotonic() - self._begun:.0f} s so far)"
            if self._status is not None:
                self._status.update(escape(line))
            else:
                errors.print(escape(line))
