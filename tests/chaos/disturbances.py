"""Everything that is done to a running stack: each a function of (stage, chance), drawn by a seed."""

from __future__ import annotations

import os
import random
import resource
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import psycopg
from tests.chaos.stack import ChaosService, ChaosStack

# A service that was told to end has as long as its drain, and some time to close.
DRAIN_SECONDS = 30.0
PROVIDER_FAULTS = (
    "reset",
    "reset_mid_stream",
    "cut_mid_stream",
    "clean_cut",
    "rate_limited_soon",
    "overloaded",
    "server_error",
    "unavailable",
    "empty_body",
    "malformed",
)


@dataclass
class Stage:
    """What is disturbed. `complaints`: what was seen to go wrong by the disturbing itself."""

    stack: ChaosStack
    postgres: str  # a psycopg address, or empty with SQLite
    complaints: list[str] = field(default_factory=list)

    def victim(self, chance: random.Random) -> ChaosService:
        service = chance.choice(self.stack.services)
        assert isinstance(service, ChaosService)
        return service

    def store_owner(self, chance: random.Random) -> ChaosService:
        """A service with a store."""
        kinds = [s for s in self.stack.services if not s.config.stem.startswith("verifier")]
        service = chance.choice(kinds)
        assert isinstance(service, ChaosService)
        return service


def killed(stage: Stage, chance: random.Random) -> str:
    victim = stage.victim(chance)
    victim.kill()
    victim.start()
    return victim.config.stem


def terminated(stage: Stage, chance: random.Random) -> str:
    victim = stage.victim(chance)
    if not victim.terminate(DRAIN_SECONDS):
        stage.complaints.append(f"{victim.config.stem} did not end within {DRAIN_SECONDS:g} s of SIGTERM")
    victim.start()
    return victim.config.stem


def terminated_while_it_starts(stage: Stage, chance: random.Random) -> str:
    victim = stage.victim(chance)
    victim.kill()
    victim.start()
    pause(chance, 0.0, 1.5)
    if not victim.terminate(DRAIN_SECONDS):
        stage.complaints.append(f"{victim.config.stem} did not end within {DRAIN_SECONDS:g} s of SIGTERM at its start")
    victim.start()
    return victim.config.stem


def stopped_and_continued(stage: Stage, chance: random.Random) -> str:
    victim = stage.victim(chance)
    assert victim.process is not None
    os.kill(victim.process.pid, signal.SIGSTOP)
    pause(chance, 0.2, 3.0)  # some of them longer than a lease
    os.kill(victim.process.pid, signal.SIGCONT)
    return victim.config.stem


def store_full(stage: Stage, chance: random.Random) -> str:
    """No file of the process may grow: what a full disk does to its writes."""
    owner = stage.store_owner(chance)
    assert owner.process is not None
    pid = owner.process.pid
    try:
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, hard))
        pause(chance, 0.5, 4.0)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
    except ProcessLookupError:
        return f"{owner.config.stem} (which ended)"
    return owner.config.stem


def store_locked(stage: Stage, chance: random.Random) -> str:
    """Somebody else holds the database's write lock for a while (a backup, a shell that was left open)."""
    names = ["generator.db"] if stage.postgres else ["generator.db", "chaos.db"]
    name = chance.choice(names)
    connection = sqlite3.connect(stage.stack.folder / name, timeout=0.5, isolation_level=None)
    try:
        connection.execute("BEGIN EXCLUSIVE")
        pause(chance, 0.5, 7.0)  # some of them longer than SQLite is told to wait
        connection.execute("ROLLBACK")
    except sqlite3.OperationalError:
        return f"{name} (was busy)"
    finally:
        connection.close()
    return name


def connections_cut(stage: Stage, chance: random.Random) -> str:
    with psycopg.connect(stage.postgres, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid()"
        )
    return "postgresql"


def tables_locked(stage: Stage, chance: random.Random) -> str:
    with psycopg.connect(stage.postgres) as connection:
        table = chance.choice(["searches", "candidates", "events"])
        connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        pause(chance, 0.5, 3.0)
        connection.rollback()
    return table


def provider_breaks(stage: Stage, chance: random.Random) -> str:
    faults = [chance.choice(PROVIDER_FAULTS) for _ in range(chance.randint(1, 4))]
    stage.stack.post_faults(faults)
    return ", ".join(faults)


def two_at_once(stage: Stage, chance: random.Random) -> str:
    """Two of the others together, whichever."""
    kinds = chance.sample([killed, stopped_and_continued, provider_breaks], 2)
    threads = [threading.Thread(target=kind, args=(stage, random.Random(chance.random()))) for kind in kinds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return " and ".join(kind.__name__ for kind in kinds)


def pause(chance: random.Random, least: float, most: float) -> None:
    """A disturbance lasts; nothing is waited for by this."""
    time.sleep(chance.uniform(least, most))


Disturbance = Callable[[Stage, random.Random], str]
ALWAYS: tuple[Disturbance, ...] = (
    killed,
    terminated,
    terminated_while_it_starts,
    stopped_and_continued,
    store_full,
    store_locked,
    provider_breaks,
    two_at_once,
)
ON_POSTGRES: tuple[Disturbance, ...] = (connections_cut, tables_locked)
