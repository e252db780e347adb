"""The store of generations, on SQLite or PostgreSQL.

A request is run by one owner (a process) at a time. On PostgreSQL an owner is alive while it renews its lease; on
SQLite one process has the file to itself (a lock beside it), so every earlier owner is dead.
"""

from __future__ import annotations

import fcntl
import math
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import sqlalchemy as sa
from pydantic import TypeAdapter
from sqlalchemy.exc import IntegrityError

from quintain.errors import Aborted, AlreadyExists, FailedPrecondition, Unavailable
from quintain.plugins.backend import BackendReply, Message
from quintain.service.sql import (
    STORE_ERRORS,
    Schema,
    cause,
    damage,
    file_identity,
    make_engine,
    open_engine,
    parse_url,
    reading,
)
from quintain_generator.adapters.store.schema import calls, generations, owners
from quintain_generator.domain.generation import (
    Batched,
    CallRecord,
    Claim,
    Generation,
    Ownership,
    RequestKey,
    Spend,
    Told,
)
from quintain_generator.domain.habits import Measured

_GENERATION = TypeAdapter(Generation)
_REPLY = TypeAdapter(BackendReply)
_PROMPT = TypeAdapter(tuple[Message, ...])
_TOLD = TypeAdapter(Told)

LEASE_SECONDS = 15.0
"""How long an owner is believed alive after its last renewal (PostgreSQL)."""


_SCHEMA = Schema(
    "generator", Path(__file__).parent / "migrations/versions", "generation", "generator_version", lock_key=5_120_733
)
_SQLITE_WAITS_SECONDS = 5.0  # then the caller is told what is waited for
_DAMAGE_SECONDS = 60.0  # between two looks at all of a SQLite file
_LEAST_FREE_BYTES = 8 * 1024 * 1024  # room for an answer, its prompt and the log of the database
_LARGEST_LOOKED_AT = 200 * 1024 * 1024  # bytes


class SqlGenerationStore:
    """See `quintain_generator.ports.GenerationStore`, whose methods these are, blocking and thread safe. `url` is an
    SQLAlchemy URL (``sqlite:////var/lib/x.db``, ``postgresql+psycopg://...``)."""

    def __init__(self, url: str) -> None:
        """Raises FailedPrecondition for a URL that names no database that can be used."""
        self.owner = str(uuid.uuid4())
        self._given_url = url
        self._url = parse_url(url)
        self._sqlite = self._url.get_backend_name() == "sqlite"
        self._engine = make_engine(self._url, _SQLITE_WAITS_SECONDS)
        self._reader = reading(self._engine)
        self._lock_file: int | None = None
        self._identity: tuple[int, int] | None = None
        self._reachable_since = -math.inf  # without a break, by the monotonic clock
        self._looked_at = -math.inf
        self._damage = ""

    def open(self) -> None:
        if self._sqlite:
            if self._url.database in (None, "", ":memory:"):
                raise FailedPrecondition("store_url: an in-memory database keeps no record; name a file")
            self._lock_file = _lock(Path(f"{self._url.database}.lock"))
        self._engine.dispose()
        self._engine = open_engine(self._given_url, _SCHEMA, sqlite_waits_seconds=_SQLITE_WAITS_SECONDS)
        self._reader = reading(self._engine)
        self._identity = file_identity(self._url)
        with self._transaction() as connection:
            if self._sqlite:
                connection.execute(owners.delete())
            self._live(connection)

    def close(self) -> None:
        try:
            with self._transaction() as connection:
                connection.execute(owners.delete().where(owners.c.owner == self.owner))
        finally:
            self._engine.dispose()
            if self._lock_file is not None:
                os.close(self._lock_file)

    def _live(self, connection: sa.Connection) -> None:
        expiry = _now(connection) + LEASE_SECONDS
        renewed = connection.execute(owners.update().where(owners.c.owner == self.owner).values(alive_until=expiry))
        if renewed.rowcount == 0:
            connection.execute(owners.insert().values(owner=self.owner, alive_until=expiry))

    def check(self) -> str:
        if self._identity is not None and file_identity(self._url) != self._identity:
            return f"the file {self._url.database} is not the one that was opened any more; it was moved or removed"
        if self._identity is not None:
            free = shutil.disk_usage(Path(str(self._url.database)).parent).free
            if free < _LEAST_FREE_BYTES:
                return f"less than {_LEAST_FREE_BYTES} bytes are left on the disk of {self._url.database}"
        try:
            with self._transaction() as connection:
                self._live(connection)
            self._look_for_damage()
        except Unavailable as error:
            return error.message
        return self._damage

    def _look_for_damage(self) -> None:
        """Read all of a SQLite file now and then: a broken page is found by who reads it, which may be too late."""
        if not self._sqlite or time.monotonic() - self._looked_at < _DAMAGE_SECONDS:
            return
        self._looked_at = time.monotonic()
        if os.path.getsize(str(self._url.database)) <= _LARGEST_LOOKED_AT:
            with self._transaction(self._reader) as connection:
                found = damage(connection)
            self._damage = f"the file {self._url.database} is damaged: {found}" if found else ""

    def renew(self) -> None:
        with self._transaction() as connection:
            self._live(connection)

    def begin(self, request: RequestKey) -> Claim:
        try:
            return self._begin(request)
        except IntegrityError:  # another replica wrote it between our look and our insert
            return self._begin(request)

    def _begin(self, request: RequestKey) -> Claim:
        with self._transaction() as connection:
            row = connection.execute(
                sa.select(generations).where(generations.c.request_id == request.request_id).with_for_update()
            ).first()
            if row is None:
                connection.execute(
                    generations.insert().values(
                        request_id=request.request_id,
                        task_digest=request.task_digest,
                        backend=request.backend,
                        model=request.model,
                        owner=self.owner,
                        created_at=_now(connection),
                    )
                )
                return Claim(Ownership.OWNED, request)
            if row.task_digest != request.task_digest:
                raise AlreadyExists(f"request id {request.request_id!r} was used for another task or backend")
            if row.result is not None:
                return Claim(Ownership.DONE, request, _GENERATION.validate_json(row.result))
            if row.owner is not None and row.owner != self.owner and self._is_alive(connection, row.owner):
                return Claim(Ownership.OWNED_BY_OTHER, request)
            connection.execute(
                generations.update().where(generations.c.request_id == request.request_id).values(owner=self.owner)
            )
            first_given = replace(request, backend=row.backend, model=row.model)
            return Claim(Ownership.OWNED, first_given, calls=self._calls_of(connection, request.request_id))

    def intend(
        self,
        request_id: str,
        attempt: int,
        prompt: tuple[Message, ...],
        reserved_usd: float | None,
        told: Told | None = None,
        *,
        batched: bool = False,
    ) -> None:
        with self._owned(request_id) as connection:
            connection.execute(
                calls.insert().values(
                    request_id=request_id,
                    attempt=attempt,
                    sent_at=_now(connection),
                    prompt=_PROMPT.dump_json(prompt).decode(),
                    reserved_usd=reserved_usd,
                    told=None if told is None else _TOLD.dump_json(told).decode(),
                    batch_id="" if batched else None,
                )
            )

    def submitted(self, request_id: str, attempt: int, batch_id: str) -> None:
        with self._transaction() as connection:
            connection.execute(
                calls.update()
                .where(calls.c.request_id == request_id, calls.c.attempt == attempt)
                .values(batch_id=batch_id)
            )

    def batches_since(self, backend: str, since: float) -> frozenset[str]:
        with self._transaction(self._reader) as connection:
            rows = connection.execute(
                sa.select(calls.c.batch_id)
                .join(generations, generations.c.request_id == calls.c.request_id)
                .where(generations.c.backend == backend, calls.c.sent_at >= since, calls.c.batch_id != "")
            ).scalars()
            return frozenset(rows)

    def settle(self, request_id: str, call: CallRecord) -> None:
        if call.reply is None:
            raise ValueError("a call without a reply cannot be settled")
        with self._transaction() as connection:
            connection.execute(
                calls.update()
                .where(calls.c.request_id == request_id, calls.c.attempt == call.attempt)
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
        with self._owned(generation.request_id) as connection:
            connection.execute(
                generations.update()
                .where(generations.c.request_id == generation.request_id)
                .values(
                    result=_GENERATION.dump_json(generation).decode(),
                    finished_at=generation.finished_at,
                    owner=None,
                    **_measures(generation),
                )
            )

    def release(self, request_id: str) -> None:
        with self._transaction() as connection:
            connection.execute(
                generations.update()
                .where(generations.c.request_id == request_id, generations.c.owner == self.owner)
                .values(owner=None)
            )

    def find(self, request_id: str) -> tuple[RequestKey, Generation | None] | None:
        with self._transaction(self._reader) as connection:
            row = connection.execute(sa.select(generations).where(generations.c.request_id == request_id)).first()
        if row is None:
            return None
        result = _GENERATION.validate_json(row.result) if row.result is not None else None
        return RequestKey(row.request_id, row.task_digest, row.backend, row.model), result

    def abandoned(self) -> list[RequestKey]:
        open_calls = sa.select(calls.c.request_id).where(calls.c.reply.is_(None), calls.c.batch_id.is_(None))
        with self._transaction() as connection:
            living = sa.select(owners.c.owner).where(owners.c.alive_until >= self._dead_before(connection))
            rows = connection.execute(
                sa.select(generations).where(
                    generations.c.result.is_(None),
                    generations.c.request_id.in_(open_calls),
                    sa.or_(generations.c.owner.is_(None), generations.c.owner.not_in(living)),
                )
            ).all()
        return [RequestKey(row.request_id, row.task_digest, row.backend, row.model) for row in rows]

    def spend(self, request_id: str) -> Spend:
        with self._transaction(self._reader) as connection:
            rows = connection.execute(
                sa.select(
                    calls.c.reply.is_(None), calls.c.charged_usd, calls.c.at_risk_usd, calls.c.reserved_usd
                ).where(calls.c.request_id == request_id)
            ).all()
        at_risk = sum((reserved or 0.0) if is_open else risk for is_open, _, risk, reserved in rows)
        return Spend(len(rows), sum(charged or 0.0 for _, charged, _, _ in rows), at_risk)

    def measured(self, backend: str, model: str, most: int) -> list[Measured]:
        table = generations.c
        with self._transaction(self._reader) as connection:
            rows = connection.execute(
                sa.select(table.cost_usd, table.input_tokens, table.output_tokens)
                .where(table.backend == backend, table.model == model, table.finished_at.is_not(None))
                .where(sa.or_(table.cost_usd.is_not(None), table.input_tokens.is_not(None)))
                .order_by(table.finished_at.desc())
                .limit(most)
            ).all()
        return [Measured(*row) for row in rows]

    def _is_alive(self, connection: sa.Connection, owner: str) -> bool:
        until = connection.execute(sa.select(owners.c.alive_until).where(owners.c.owner == owner)).scalar()
        return until is not None and until >= self._dead_before(connection)

    def _dead_before(self, connection: sa.Connection) -> float:
        """An owner whose lease ended before this time is dead. While the store was away nobody could renew a lease, so
        everybody has the length of one to do it once it is back."""
        now = _now(connection)
        return now if time.monotonic() - self._reachable_since > LEASE_SECONDS else -math.inf

    def _calls_of(self, connection: sa.Connection, request_id: str) -> tuple[CallRecord, ...]:
        rows = connection.execute(
            sa.select(calls).where(calls.c.request_id == request_id).order_by(calls.c.attempt)
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
                told=_TOLD.validate_json(row.told) if row.told is not None else None,
                batched=Batched(row.sent_at, row.batch_id) if row.batch_id is not None else None,
            )
            for row in rows
        )

    @contextmanager
    def _transaction(self, engine: sa.Engine | None = None) -> Iterator[sa.Connection]:
        """Raises Unavailable if the database cannot be reached, is full, is damaged or is locked for too long."""
        try:
            with (engine or self._engine).begin() as connection:
                yield connection
        except (IntegrityError, sa.exc.ProgrammingError, sa.exc.DataError):
            raise
        except (sa.exc.TimeoutError, *STORE_ERRORS) as error:
            self._reachable_since = math.inf
            raise Unavailable(
                f"the store of generations cannot be used: {cause(error)}", reason="STORE_DOWN", retry_after_seconds=5.0
            ) from error
        if self._reachable_since == math.inf:
            self._reachable_since = time.monotonic()

    @contextmanager
    def _owned(self, request_id: str) -> Iterator[sa.Connection]:
        """A transaction that happens only if this owner still has the request."""
        with self._transaction() as connection:
            owner = connection.execute(
                sa.select(generations.c.owner).where(generations.c.request_id == request_id).with_for_update()
            ).scalar()
            if owner != self.owner:
                raise Aborted(f"request {request_id!r} was taken over by another replica")
            yield connection


def _measures(generation: Generation) -> dict[str, float | int | None]:
    """What habits are measured by; nothing for a request that made no call."""
    usage, cost = generation.usage, generation.cost
    sent = usage.input_tokens + usage.cached_input_tokens + usage.cache_write_tokens
    known = sent + usage.output_tokens > 0
    return {
        "cost_usd": None if cost.unpriced or not generation.calls else cost.usd + cost.at_risk_usd,
        "input_tokens": sent if known else None,
        "output_tokens": usage.output_tokens if known else None,
    }


def _lock(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        raise Unavailable(
            f"{path} is locked: another generator uses this SQLite file; several replicas need PostgreSQL"
        ) from None
    return file


def _now(connection: sa.Connection) -> float:
    if connection.dialect.name == "postgresql":
        return float(connection.execute(sa.text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())
    return time.time()
