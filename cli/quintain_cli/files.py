"""Files that the command line writes for a person: whole or not at all, and never over another one unasked."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from quintain.errors import FailedPrecondition


def refuse_existing(path: Path, force: bool) -> None:
    """Raise FailedPrecondition for a file that is there already, unless `force`: before the work is done, not after."""
    if path.is_dir():
        raise FailedPrecondition(f"{path} is a folder; name a file")
    if path.is_file() and not force:
        raise FailedPrecondition(f"{path} exists already; --force overwrites it")


def write_file(path: Path, data: str | bytes, force: bool = True) -> None:
    """Write a file; a full disk leaves what was there before. What is no plain file (/dev/stdout) is written to.
    Raises OSError with the path, and what `refuse_existing` raises."""
    refuse_existing(path, force)
    content = data.encode() if isinstance(data, str) else data
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    try:
        handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(partial, 0o666 & ~umask)  # as any other new file
        os.replace(partial, path)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(partial)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
