"""Opening what a person names: text that may be packed, and tables of three kinds, row by row."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from quintain.errors import InvalidArgument

Record = tuple[str, Mapping[str, Any]]
"""Where a record stands (``file:line``), and its columns as the file has them."""


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """A text file in UTF-8, with or without a byte order mark, packed by gzip if its name says so."""
    try:
        with path.open("rb") as raw:
            unpacked = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw
            yield io.TextIOWrapper(unpacked, encoding="utf-8-sig", newline="")
    except OSError as error:
        raise InvalidArgument.of("file", f"{path}: {error.strerror or error}") from None
    except (EOFError, zlib.error) as error:
        raise InvalidArgument.of("file", f"{path}: is cut off or no gzip: {error}") from None
    except UnicodeDecodeError as error:
        raise InvalidArgument.of("file", f"{path}: is not UTF-8 (byte {error.start})") from None


def read_csv(path: Path) -> Iterator[Record]:
    with open_text(path) as text:
        reader = csv.DictReader(text, strict=True)
        names = _header(path, reader.fieldnames)
        try:
            for record in reader:
                place = f"{path.name}:{reader.line_num}"
                if None in record or None in record.values():
                    raise InvalidArgument.of("file", f"{place}: the row has not {len(names)} fields like the header")
                yield place, record
        except csv.Error as error:
            raise InvalidArgument.of("file", f"{path.name}:{reader.line_num}: is not CSV: {error}") from None


def _header(path: Path, names: Any) -> list[str]:
    if not names:
        raise InvalidArgument.of("file", f"{path.name}:1: is empty; the first line names the columns")
    if twice := [name for name in names if names.count(name) > 1]:
        raise InvalidArgument.of("file", f"{path.name}:1: the column {twice[0]!r} is there twice")
    return list(names)


def read_json_lines(path: Path) -> Iterator[Record]:
    with open_text(path) as text:
        for number, line in enumerate(text, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except ValueError as error:
                raise InvalidArgument.of("file", f"{path.name}:{number}: is no JSON: {error}") from None
            if not isinstance(record, dict):
                raise InvalidArgument.of("file", f"{path.name}:{number}: is no JSON object")
            yield f"{path.name}:{number}", record


def read_parquet(path: Path) -> Iterator[Record]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise InvalidArgument.of("file", f"{path}: Parquet needs the library pyarrow (pip install pyarrow)") from None
    try:
        table = parquet.ParquetFile(path)
        row = 0
        for batch in table.iter_batches():
            for record in batch.to_pylist():
                row += 1
                yield f"{path.name}:row {row}", {name: value for name, value in record.items() if value is not None}
    except (OSError, ArrowException) as error:
        raise InvalidArgument.of("file", f"{path}: {error}") from None


READERS = {".csv": read_csv, ".jsonl": read_json_lines, ".ndjson": read_json_lines, ".parquet": read_parquet}


def read_table(path: Path) -> Iterator[Record]:
    """By the name's ending, before ``.gz``."""
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    if suffix not in READERS:
        known = ", ".join(READERS)
        raise InvalidArgument.of("file", f"{path}: cannot tell what it is by {suffix!r}; known are {known}")
    return READERS[suffix](path)
