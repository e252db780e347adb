"""A suite as a caller names it: one of the simulator's by name, or the caller's own by path, read for a request."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from quintain.errors import InvalidArgument
from quintain.plugins.simulator import files_digest
from quintain.verifier.v1 import verifier_pb2 as pb

RECORDINGS = "recordings"  # a folder of what a real system logged
COUNTEREXAMPLES = "counterexamples/"  # runs in earlier models that a new one must not allow: for a fit only
LEFT_OUT = f"{RECORDINGS}/left_out"  # an empty file in its place: there are some, so a model stands for something else
FIT = "fit"  # the simulator that needs it: its candidates are models
_SYSTEM_FILE, _FAAS = "system.toml", "faas"
MOST_BYTES = 24 << 20  # one message carries them all

T = TypeVar("T")


def read_suite(text: str, *, simulator: str = "") -> tuple[str, dict[str, bytes] | None]:
    """The suite's name, and its files if it is a path; recordings are large, and left out (see
    `without_recordings`) unless `simulator`, whose suite it shall be, needs them. Raises InvalidArgument for a folder
    that cannot be read, and for a system package given to the FaaS simulator, the commands' default."""
    path = Path(text)
    is_path = path.suffix == ".toml" or text.startswith((".", "/")) or text.endswith("/") or _holds_suites(path)
    if not text or not is_path:
        return text, None
    folder, name = path, path.resolve().name
    if path.suffix == ".toml":
        if path.name != "suite.toml" and path.resolve().parent.name != "suites":
            raise InvalidArgument.of("suite", f"{path}: must be suite.toml, or lie in a folder 'suites'")
        folder = path.parent if path.name == "suite.toml" else path.parent / ".."
        name = folder.resolve().name if path.name == "suite.toml" else f"{folder.resolve().name}/{path.stem}"
    if not folder.is_dir():
        raise InvalidArgument.of("suite", f"{folder}: there is no such folder")
    try:
        paths = {
            file.relative_to(folder).as_posix(): file
            for file in sorted(folder.rglob("*"))
            if file.is_file() and not any(_left_out(part) for part in file.relative_to(folder).parts)
        }
        sent = paths if simulator == FIT else without_recordings(paths)
        files = {name: paths[name].read_bytes() if name in paths else b"" for name in sent}
    except OSError as error:
        raise InvalidArgument.of("suite", f"{error.filename}: {error.strerror}") from None
    if simulator == _FAAS and _SYSTEM_FILE in files:
        raise InvalidArgument.of(
            "simulator",
            f"{folder} is a system package, since it has {_SYSTEM_FILE}: its simulator is system, not {_FAAS}",
        )
    size = sum(map(len, files.values()))
    if size > MOST_BYTES:
        raise InvalidArgument.of(
            "suite", f"{folder} has {size >> 20} MiB; at most {MOST_BYTES >> 20} are sent: pack traces as .csv.gz"
        )
    return name, files


def without_recordings(files: Mapping[str, T]) -> dict[str, T | bytes]:
    """A suite's files without what only a fit reads, and with LEFT_OUT in its place."""
    kept: dict[str, T | bytes] = {
        name: of for name, of in files.items() if not name.startswith((f"{RECORDINGS}/", COUNTEREXAMPLES))
    }
    return kept if len(kept) == len(files) else {**kept, LEFT_OUT: b""}


def suite_message(files: dict[str, bytes] | None) -> pb.SuiteFiles | None:
    if files is None:
        return None
    sent = [pb.File(name=name, content=content) for name, content in files.items()]
    return pb.SuiteFiles(digest=files_digest(files), files=sent)


def _holds_suites(path: Path) -> bool:
    return (path / "suite.toml").is_file() or (path / "suites").is_dir()


def _left_out(part: str) -> bool:
    return part.startswith(".") or part == "__pycache__" or part.endswith((".pyc", "~"))
