"""Tables. What is asked for by SQL is a column; the rest of a search or candidate is one JSON document."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

metadata = MetaData()

searches = Table(
    "searches",
    metadata,
    Column("search_id", Text, primary_key=True),
    Column("request_id", Text, nullable=False, unique=True),
    Column("request_digest", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("ended_at", Float),
    Column("spec", Text, nullable=False),
    Column("context", Text, nullable=False),
    Column("budget", Text, nullable=False),
    Column("spend", Text, nullable=False),
    Column("state", Integer, nullable=False),
    Column("reason", Text, nullable=False),  # why it is paused, stopped or failed
    Column("paused_by_user", Boolean, nullable=False),
    Column("best_number", Integer),
    Column("winner_number", Integer),
    Column("gates", Text, nullable=False),
    Column("last_sequence", BigInteger, nullable=False),
    Column("forked_from", Text, nullable=False),
    # How many results the strategy was told; their events are written.
    Column("told", Integer, nullable=False),
    # Somebody must work on it: it is running, or work in flight is to be settled.
    Column("needs_owner", Boolean, nullable=False),
    Column("lease_owner", Text, nullable=False),
    Column("lease_token", BigInteger, nullable=False),
    Column("lease_until", Float, nullable=False),
    # When an owner is to look again for what requests cost that were given up (seconds since 1970); none if there are
    # none.
    Column("look_again_at", Float),
    # The user's own words; the title is in the spec.
    Column("notes", Text, nullable=False, server_default=""),
    Column("tags", Text, nullable=False, server_default="[]"),
    # The sequence up to which events were taken to be notified of.
    Column("notified", BigInteger, nullable=False, server_default="0"),
    # From an archive: it never goes on.
    Column("restored_at", Float),
)
Index("searches_newest", searches.c.created_at.desc(), searches.c.search_id)
Index("searches_to_do", searches.c.needs_owner, searches.c.lease_until)
Index("searches_to_look_at", searches.c.look_again_at)
Index("searches_states", searches.c.state)

# The caller's own suite of a search, as it came.
suites = Table(
    "suites",
    metadata,
    Column("search_id", Text, ForeignKey("searches.search_id", ondelete="CASCADE"), primary_key=True),
    Column("digest", Text, nullable=False),
    Column("files", LargeBinary, nullable=False),
)
Index("suites_by_digest", suites.c.digest)

candidates = Table(
    "candidates",
    metadata,
    Column("search_id", Text, ForeignKey("searches.search_id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("state", Integer, nullable=False),
    Column("data", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("source", Text),
    Column("feedback", Text),
    Column("generation", LargeBinary),
    Column("verdict", LargeBinary),
    Column("held_out", LargeBinary),
    Column("tools", Text),  # used in its conversation
)

events = Table(
    "events",
    metadata,
    Column("search_id", Text, ForeignKey("searches.search_id", ondelete="CASCADE"), primary_key=True),
    Column("sequence", BigInteger, primary_key=True),
    Column("at", Float, nullable=False),
    Column("spend", Text, nullable=False),
    Column("event", Text, nullable=False),
)
