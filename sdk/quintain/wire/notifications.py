"""Notifications on their way to a person: a webhook that is posted a document, a command that is run with it.

The webhook's address often holds a secret: it is in no error, message or log.
"""

from __future__ import annotations

import http.client
import shlex
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from urllib.parse import urlsplit

from quintain.backoff import Backoff

TRIES = 3
POST_SECONDS = 10.0  # of one try
COMMAND_SECONDS = 60.0
_BACKOFF = Backoff(first_seconds=0.5, most_seconds=5.0)

Way = Callable[[bytes], None]  # raises NotDelivered


class NotDelivered(Exception):
    """A notification did not arrive; the text holds no secret."""


def webhook(url: str) -> Way:
    """Posts a JSON document. Raises ValueError, without the address, for one that cannot be one."""
    if not _is_web_address(url):
        raise ValueError("must be http://HOST... or https://HOST...")
    return lambda document: _post(url, document)


def command(line: str) -> Way:
    """Runs a command, without a shell, with the document on its standard input. Raises ValueError for a line that
    cannot be taken apart."""
    words = shlex.split(line)
    if not words:
        raise ValueError("is empty")
    return lambda document: _run(words, document)


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # no port, or no IPv6 address
        return False


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
            raise NotDelivered(said)
        time.sleep(_BACKOFF.seconds(failures))


def _run(words: list[str], document: bytes) -> None:
    try:
        done = subprocess.run(words, input=document, capture_output=True, timeout=COMMAND_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise NotDelivered(f"the command {words[0]} took longer than {COMMAND_SECONDS:.0f} s") from None
    except OSError as error:
        raise NotDelivered(f"the command {words[0]} cannot be run: {error.strerror}") from None
    if done.returncode:
        raise NotDelivered(f"the command {words[0]} ended with {done.returncode}")
