"""Opening a database and bringing its schema up to date."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from quintain.errors import FailedPrecondition, Unavailable

# Any number, the same in every controller: one of them migrates at a time.
_MIGRATION_LOCK = 5_120_731
_READS = "quintain_reads"
_SQLITE_WAITS_SECONDS = 30  # for a database that another process has locked


def open_engine(url: str) -> Engine:
    """An engine with the schema brought up to date. `url` is SQLAlchemy's (``sqlite:///searches.db``,
    ``postgresql+psycopg://...``). Safe to call from several processes at once. Raises FailedPrecondition for a database
    that cannot be used as it is, Unavailable for one that cannot be reached."""
    try:
        parsed = make_url(url)
        engine = _make_engine(parsed)
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise FailedPrecondition(
            f"store_url: {error}; it is sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE"
        ) from None
    except OSError as error:
        raise FailedPrecondition(f"store_url: the folder of {parsed.database} cannot be made: {error}") from None
    where = parsed.render_as_string(hide_password=True)
    try:
        _migrate(engine)
    except CommandError as error:
        raise FailedPrecondition(f"the database {where} cannot be migrated: {error}") from None
    except STORE_ERRORS as error:
        raise Unavailable(
            f"the database {where} cannot be opened: {cause(error)}", reason="STORE_UNAVAILABLE"
        ) from None
    return engine


# What a database that is locked, full, gone, read-only or broken makes the drivers raise.
STORE_ERRORS = (DBAPIError, sqlite3.Error)


def cause(error: Exception) -> str:
    """What the driver said, in one line."""
    lines = str(error.orig if isinstance(error, DBAPIError) else error).splitlines()
    return lines[0] if lines else type(error).__name__


def _make_engine(url: URL) -> Engine:
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True)
    if url.database and url.database != ":memory:" and "uri" not in url.query:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    if "timeout" not in url.query:
        url = url.update_query_dict({"timeout": str(_SQLITE_WAITS_SECONDS)})
    engine = create_engine(url)
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def reading(engine: Engine) -> Engine:
    """The same database for transactions that only read: on SQLite they do not wait for a writer."""
    return engine.execution_options(**{_READS: True})


def _configure_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin where `_begin_sqlite` says
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    reads = connection.get_execution_options().get(_READS, False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _migrate(engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        config.attributes["connection"] = connection
        _refuse_newer(connection, config)
        command.upgrade(config, "head")


def _refuse_newer(connection: Connection, config: Config) -> None:
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    newer = set(MigrationContext.configure(connection).get_current_heads()) - known
    if newer:
        raise CommandError(f"its schema {', '.join(newer)} was made by a newer controller; this one knows {max(known)}")
