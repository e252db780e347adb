"""Opening a service's database (SQLite or PostgreSQL) and bringing its schema up to date: one way for all of them.

A service has a folder of numbered Alembic revisions (``v0001_begin.py``, ...) and hands it to `open_engine`.
"""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from quintain.errors import FailedPrecondition, Unavailable
from quintain.extras import install_hint

_READS = "quintain_reads"
_SQLITE_WAITS_SECONDS = 30  # for a database that another process has locked
_CONNECT_SECONDS = 10
# A server that answers nothing any more is given up after about this long, also in the middle of a statement.
_POSTGRES = {
    "connect_timeout": _CONNECT_SECONDS,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,  # milliseconds
}

# What a database that is locked, full, gone, read-only or broken makes the drivers raise.
STORE_ERRORS = (DBAPIError, sqlite3.Error)


@dataclass(frozen=True, slots=True)
class Schema:
    """A service's schema. `revisions`: the folder of its Alembic revisions. `first_table`: a table of the first
    revision; a database that has it and no version was made before there were versions, and is taken as the first.
    `version_table`: where the version is kept; several services may share a database, so each has its own. `lock_key`:
    any number, the same in every process of the service: one of them migrates at a time."""

    service: str
    revisions: Path
    first_table: str
    version_table: str
    lock_key: int


def open_engine(url: str, schema: Schema, *, sqlite_waits_seconds: float = _SQLITE_WAITS_SECONDS) -> Engine:
    """An engine with the schema brought up to date. `url` is SQLAlchemy's (``sqlite:///searches.db``,
    ``postgresql+psycopg://...``). Safe to call from several processes at once. Raises FailedPrecondition for a database
    that cannot be used as it is, Unavailable for one that cannot be reached."""
    parsed = parse_url(url)
    engine = make_engine(parsed, sqlite_waits_seconds)
    where = parsed.render_as_string(hide_password=True)
    try:
        migrate(engine, schema)
    except CommandError as error:
        raise FailedPrecondition(f"the database {where} cannot be migrated: {error}") from None
    except STORE_ERRORS as error:
        raise Unavailable(
            f"the database {where} cannot be opened: {cause(error)}", reason="STORE_UNAVAILABLE"
        ) from None
    return engine


def parse_url(url: str) -> URL:
    """Raises FailedPrecondition with what would be right."""
    try:
        return make_url(url)
    except ArgumentError as error:
        raise _wrong_url(error) from None


def _wrong_url(error: Exception) -> FailedPrecondition:
    return FailedPrecondition(f"store_url: {error}; it is sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE")


def cause(error: BaseException) -> str:
    """What the driver said, in one line."""
    lines = str(error.orig if isinstance(error, DBAPIError) else error).splitlines()
    return lines[0] if lines else type(error).__name__


def make_engine(url: URL, sqlite_waits_seconds: float = _SQLITE_WAITS_SECONDS) -> Engine:
    """An engine as every service uses it; nothing is opened yet. Raises FailedPrecondition."""
    try:
        return _make_engine(url, sqlite_waits_seconds)
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        hint = install_hint(error.name) if isinstance(error, ImportError) else ""
        raise (FailedPrecondition(f"store_url: {hint}") if hint else _wrong_url(error)) from None
    except OSError as error:
        raise FailedPrecondition(f"store_url: the folder of {url.database} cannot be made: {error.strerror}") from None


def _make_engine(url: URL, sqlite_waits_seconds: float) -> Engine:
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True, connect_args=_POSTGRES if "psycopg" in url.drivername else {})
    file = sqlite_file(url)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
    if "timeout" not in url.query:
        url = url.update_query_dict({"timeout": str(sqlite_waits_seconds)})
    engine = create_engine(url)
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def sqlite_file(url: URL) -> Path | None:
    """The file of a SQLite database; None for another database, one in memory, or one that is named by a URI."""
    named = url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:") and "uri" not in url.query
    return Path(str(url.database)) if named else None


def reading(engine: Engine) -> Engine:
    """The same database for transactions that only read: on SQLite they do not wait for a writer."""
    return engine.execution_options(**{_READS: True})


def file_identity(url: URL) -> tuple[int, int] | None:
    """What tells the file of an open SQLite database from another at the same place; None if there is none. An open
    database outlives the removal of its file, and what is written to it then is lost."""
    file = sqlite_file(url)
    try:
        found = os.stat(file) if file is not None else None
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if found is not None else None


def damage(connection: Connection) -> str:
    """What is broken in a SQLite database, in one line; empty if nothing is, and for other databases. Reads it all."""
    if connection.dialect.name != "sqlite":
        return ""
    found = str(connection.exec_driver_sql("PRAGMA quick_check(1)").scalar())
    return "" if found == "ok" else " ".join(found.split())


def _configure_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin where `_begin_sqlite` says
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    reads = connection.get_execution_options().get(_READS, False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def migrate(engine: Engine, schema: Schema) -> None:
    """Bring the schema up to date. Raises CommandError for one that a newer version of the service made."""
    config = Config()
    for option, folder in (("script_location", Path(__file__).parent / "migrations"),
                           ("version_locations", schema.revisions)):  # fmt: skip
        config.set_main_option(option, str(folder).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": schema.lock_key})
        config.attributes.update(connection=connection, version_table=schema.version_table)
        known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
        found = set(
            MigrationContext.configure(connection, opts={"version_table": schema.version_table}).get_current_heads()
        )
        if found - known:
            newer = ", ".join(found - known)
            raise CommandError(f"its schema {newer} was made by a newer {schema.service}; this one knows {max(known)}")
        if not found and inspect(connection).has_table(schema.first_table):
            command.stamp(config, min(known))
        command.upgrade(config, "head")
