"""Says in the log what is waited for: nothing is silent for more than `SILENCE_SECONDS`."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from quintain.service.logs import get_logger, without_password

SILENCE_SECONDS = 10.0

log = get_logger("waiting")


@contextmanager
def opening_store(url: str) -> Iterator[None]:
    """Around the opening of a service's store: a line at once and while it lasts, with the store's name."""
    store = without_password(url)
    log.info("opening the store", store=store)
    with waiting_for(f"the store {store}"):
        yield


@contextmanager
def waiting_for(what: str, at_most_seconds: float | None = None) -> Iterator[None]:
    """While the block runs, a line every `SILENCE_SECONDS`: what is waited for, for how long so far, and how long it
    may still take (None: not known). From a thread of its own, so that it also speaks while the block is stuck."""
    began = time.monotonic()
    ended = threading.Event()

    def speak() -> None:
        while not ended.wait(SILENCE_SECONDS):
            waited = time.monotonic() - began
            left = (
                {} if at_most_seconds is None else {"at_most_seconds_left": round(max(0.0, at_most_seconds - waited))}
            )
            log.info(f"waiting for {what}", seconds=round(waited), **left)

    thread = threading.Thread(target=speak, name="waiting", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
