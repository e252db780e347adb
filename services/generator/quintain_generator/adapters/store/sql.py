"""The store of generations, on SQLite or PostgreSQL.

Order of writes, each committed before the next step: the request; the intent of a call, before it is sent; what came of
it, before anyone sees it; the result. So after a crash a call without an outcome is one that may have been paid for.

A request is run by one owner (a process) at a time. On PostgreSQL an owner is alive while it renews its lease; on
SQLite one process has the file to itself (a lock beside it), so every earlier owner is dead. All times are in seconds
since the epoch, by the database's clock. All methods block and are thread safe; call them from a worker thread.
"""

from __future__ import annotations

import enum
import fcntl
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import sqlalchemy as sa
from pydantic import TypeAdapter
from sqlalchemy.exc import IntegrityError

from quintain.errors import Aborted, AlreadyExists, Unavailable
from quintain.plugins.backend import BackendReply, Message
from quintain_generator.domain.generation import CallRecord, Generation

_metadata = sa.MetaData()

_owners = sa.Table(
    "generator_owner",
    _metadata,
    sa.Column("owner", sa.String(36), primary_key=True),
    sa.Column("alive_until", sa.Double, nullable=False),
)

_generations = sa.Table(
    "generation",
    _metadata,
    sa.Column("request_id", sa.String(128), primary_key=True),
    sa.Column("task_digest", sa.String(64), nullable=False),
    sa.Column("backend", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("owner", sa.String(36), nullable=True),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("finished_at", sa.Double, nullable=True),
    sa.Column("result", sa.Text, nullable=True),
)

_calls = sa.Table(
    "generation_call",
    _metadata,
    sa.Column("request_id", sa.ForeignKey("generation.request_id"), primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True),
    sa.Column("sent_at", sa.Double, nullable=False),
    sa.Column("prompt", sa.Text, nullable=False),
    sa.Column("reserved_usd", sa.Double, nullable=True),
    sa.Column("reply", sa.Text, nullable=True),
    sa.Column("seconds", sa.Double, nullable=False, default=0.0),
    sa.Column("charged_usd", sa.Double, nullable=True),
    sa.Column("at_risk_usd", sa.Double, nullable=False, default=0.0),
)

_GENERATION = TypeAdapter(Generation)
_REPLY = TypeAdapter(BackendReply)
_PROMPT = TypeAdapter(tuple[Message, ...])

LEASE_SECONDS = 15.0
"""How long an owner is believed alive after its last renewal (PostgreSQL)."""


class Standing(enum.Enum):
    """Where a request stands for the one who asks."""

    MINE = "mine"  # to be run (or gone on with) by this owner
    DONE = "done"
    ELSEWHERE = "elsewhere"  # a living owner is at it


@dataclass(frozen=True, slots=True)
class Request:
    """What names a request: the id, and the digest of the task so that an id is not used twice. The backend and the
    model are those it was first given."""

    request_id: str
    task_digest: str
    backend: str
    model: str


@dataclass(frozen=True, slots=True)
class Begun:
    """`result` for DONE; `calls` made so far for MINE."""

    standing: Standing
    request: Request
    result: Generation | None = None
    calls: tuple[CallRecord, ...] = ()


class StoreError(RuntimeError):
    """The store cannot be opened; the message says why."""


class GenerationStore:
    """See the module. `url` is an SQLAlchemy URL (``sqlite:////var/lib/x.db``, ``postgresql+psycopg://...``)."""

    def __init__(self, url: str) -> None:
        """Raises StoreError for a URL that names no database that can be used."""
        self.owner = str(uuid.uuid4())
        self._lock_file: int | None = None
        try:
            self._url = sa.make_url(url)
            self._sqlite = self._url.get_backend_name() == "sqlite"
            self._engine = (
                _sqlite_engine(self._url) if self._sqlite else sa.create_engine(self._url, pool_pre_ping=True)
            )
        except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError, ImportError) as error:
            raise StoreError(
                f"store_url: {error}; it is sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE"
            ) from None

    def open(self) -> None:
        """Make the tables and become an owner. Raises StoreError."""
        try:
            self._open()
        except sa.exc.DBAPIError as error:
            where = self._url.render_as_string(hide_password=True)
            raise StoreError(f"the database {where} cannot be opened: {str(error.orig).splitlines()[0]}") from None

    def _open(self) -> None:
        if self._sqlite:
            if self._url.database in (None, "", ":memory:"):
                raise StoreError("store_url: an in-memory database keeps no record; name a file")
            self._lock_file = _lock(Path(f"{self._url.database}.lock"))
        try:
            _metadata.create_all(self._engine)
        except (sa.exc.IntegrityError, sa.exc.ProgrammingError):
            _metadata.create_all(self._engine)  # another replica made the tables at the same moment
        with self._transaction() as connection:
            if self._sqlite:
                connection.execute(_owners.delete())
            expiry = _now(connection) + LEASE_SECONDS
            connection.execute(_owners.insert().values(owner=self.owner, alive_until=expiry))

    def close(self) -> None:
        with self._transaction() as connection:
            connection.execute(_owners.delete().where(_owners.c.owner == self.owner))
        self._engine.dispose()
        if self._lock_file is not None:
            os.close(self._lock_file)

    def renew(self) -> None:
        """Say that this owner lives; to be called several times in LEASE_SECONDS."""
        with self._transaction() as connection:
            expiry = _now(connection) + LEASE_SECONDS
            connection.execute(_owners.update().where(_owners.c.owner == self.owner).values(alive_until=expiry))

    def begin(self, request: Request) -> Begun:
        """Write the request down, or say where it stands. Raises AlreadyExists if the id names another task."""
        try:
            return self._begin(request)
        except IntegrityError:  # another replica wrote it between our look and our insert
            return self._begin(request)

    def _begin(self, request: Request) -> Begun:
        with self._transaction() as connection:
            row = connection.execute(
                sa.select(_generations).where(_generations.c.request_id == request.request_id).with_for_update()
            ).first()
            if row is None:
                connection.execute(
                    _generations.insert().values(
                        request_id=request.request_id,
                        task_digest=request.task_digest,
                        backend=request.backend,
                        model=request.model,
                        owner=self.owner,
                        created_at=_now(connection),
                    )
                )
                return Begun(Standing.MINE, request)
            if row.task_digest != request.task_digest:
                raise AlreadyExists(f"request id {request.request_id!r} was used for another task or backend")
            if row.result is not None:
                return Begun(Standing.DONE, request, _GENERATION.validate_json(row.result))
            if row.owner is not None and row.owner != self.owner and self._is_alive(connection, row.owner):
                return Begun(Standing.ELSEWHERE, request)
            connection.execute(
                _generations.update().where(_generations.c.request_id == request.request_id).values(owner=self.owner)
            )
            first_given = replace(request, backend=row.backend, model=row.model)
            return Begun(Standing.MINE, first_given, calls=self._calls_of(connection, request.request_id))

    def intend(self, request_id: str, attempt: int, prompt: tuple[Message, ...], reserved_usd: float | None) -> None:
        """Write down that a call is about to be sent. Raises Aborted if another owner took the request over."""
        with self._owned(request_id) as connection:
            connection.execute(
                _calls.insert().values(
                    request_id=request_id,
                    attempt=attempt,
                    sent_at=_now(connection),
                    prompt=_PROMPT.dump_json(prompt).decode(),
                    reserved_usd=reserved_usd,
                )
            )

    def settle(self, request_id: str, call: CallRecord) -> None:
        """Write down what came of a call. Its money is recorded even if another owner took over (raises Aborted)."""
        if call.reply is None:
            raise ValueError("a call without a reply cannot be settled")
        with self._transaction() as connection:
            connection.execute(
                _calls.update()
                .where(_calls.c.request_id == request_id, _calls.c.attempt == call.attempt)
                .values(
                    reply=_REPLY.dump_json(call.reply).decode(),
                    seconds=call.seconds,
                    charged_usd=call.charged_usd,
                    at_risk_usd=call.at_risk_usd,
                )
            )
        with self._owned(request_id):
            pass

    def finish(self, generation: Generation) -> None:
        """Write the result. Raises Aborted if another owner took over."""
        with self._owned(generation.request_id) as connection:
            connection.execute(
                _generations.update()
                .where(_generations.c.request_id == generation.request_id)
                .values(
                    result=_GENERATION.dump_json(generation).decode(), finished_at=generation.finished_at, owner=None
                )
            )

    def release(self, request_id: str) -> None:
        """Give the request up without a result (an error was answered); whoever asks next goes on with it."""
        with self._transaction() as connection:
            connection.execute(
                _generations.update()
                .where(_generations.c.request_id == request_id, _generations.c.owner == self.owner)
                .values(owner=None)
            )

    def find(self, request_id: str) -> tuple[Request, Generation | None] | None:
        """A request and its result, if there is one yet; None if the id was never seen."""
        with self._transaction() as connection:
            row = connection.execute(sa.select(_generations).where(_generations.c.request_id == request_id)).first()
        if row is None:
            return None
        result = _GENERATION.validate_json(row.result) if row.result is not None else None
        return Request(row.request_id, row.task_digest, row.backend, row.model), result

    def abandoned(self) -> list[Request]:
        """Unfinished requests with a call whose outcome nobody knows and whose owner is dead."""
        open_calls = sa.select(_calls.c.request_id).where(_calls.c.reply.is_(None))
        with self._transaction() as connection:
            living = sa.select(_owners.c.owner).where(_owners.c.alive_until >= _now(connection))
            rows = connection.execute(
                sa.select(_generations).where(
                    _generations.c.result.is_(None),
                    _generations.c.request_id.in_(open_calls),
                    sa.or_(_generations.c.owner.is_(None), _generations.c.owner.not_in(living)),
                )
            ).all()
        return [Request(row.request_id, row.task_digest, row.backend, row.model) for row in rows]

    def ping(self) -> None:
        """Raises if the database does not answer."""
        with self._engine.connect() as connection:
            connection.execute(sa.select(1))

    def _is_alive(self, connection: sa.Connection, owner: str) -> bool:
        until = connection.execute(sa.select(_owners.c.alive_until).where(_owners.c.owner == owner)).scalar()
        return until is not None and until >= _now(connection)

    def _calls_of(self, connection: sa.Connection, request_id: str) -> tuple[CallRecord, ...]:
        rows = connection.execute(
            sa.select(_calls).where(_calls.c.request_id == request_id).order_by(_calls.c.attempt)
        ).all()
        return tuple(
            CallRecord(
                attempt=row.attempt,
                prompt=_PROMPT.validate_json(row.prompt),
                reserved_usd=row.reserved_usd,
                reply=_REPLY.validate_json(row.reply) if row.reply is not None else None,
                seconds=row.seconds,
                charged_usd=row.charged_usd,
                at_risk_usd=row.at_risk_usd,
            )
            for row in rows
        )

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        """Raises Unavailable if the database cannot be reached, is full or is locked for too long."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError) as error:
            cause = getattr(error, "orig", None) or error
            raise Unavailable(
                f"the store of generations failed: {type(cause).__name__}", reason="STORE_DOWN",
                retry_after_seconds=5.0,
            ) from error  # fmt: skip

    @contextmanager
    def _owned(self, request_id: str) -> Iterator[sa.Connection]:
        """A transaction that happens only if this owner still has the request."""
        with self._transaction() as connection:
            owner = connection.execute(
                sa.select(_generations.c.owner).where(_generations.c.request_id == request_id).with_for_update()
            ).scalar()
            if owner != self.owner:
                raise Aborted(f"request {request_id!r} was taken over by another replica")
            yield connection


def _sqlite_engine(url: sa.URL) -> sa.Engine:
    engine = sa.create_engine(url, connect_args={"timeout": 30.0})

    @sa.event.listens_for(engine, "connect")
    def set_up(connection: object, _record: object) -> None:
        connection.isolation_level = None  # type: ignore[attr-defined]  # transactions are begun below
        cursor = connection.cursor()  # type: ignore[attr-defined]
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def take_the_write_lock_first(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _lock(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        raise StoreError(
            f"{path} is locked: another generator uses this SQLite file; several replicas need PostgreSQL"
        ) from None
    return file


def _now(connection: sa.Connection) -> float:
    if connection.dialect.name == "postgresql":
        return float(connection.execute(sa.text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())
    return time.time()
