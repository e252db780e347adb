"""Tables. What is asked for by SQL is a column; replies and results are JSON documents. Times are in seconds since the
epoch, by the database's clock."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()

owners = sa.Table(
    "generator_owner",
    metadata,
    sa.Column("owner", sa.String(36), primary_key=True),
    sa.Column("alive_until", sa.Double, nullable=False),
)

generations = sa.Table(
    "generation",
    metadata,
    sa.Column("request_id", sa.String(128), primary_key=True),
    sa.Column("task_digest", sa.String(64), nullable=False),
    sa.Column("backend", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("owner", sa.String(36), nullable=True),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("finished_at", sa.Double, nullable=True),
    sa.Column("result", sa.Text, nullable=True),
    # Of all calls of a finished request; null where it is not known. The cost includes what is at risk.
    sa.Column("cost_usd", sa.Double, nullable=True),
    sa.Column("input_tokens", sa.BigInteger, nullable=True),
    sa.Column("output_tokens", sa.BigInteger, nullable=True),
)
sa.Index("generation_latest", generations.c.backend, generations.c.finished_at)

calls = sa.Table(
    "generation_call",
    metadata,
    sa.Column("request_id", sa.ForeignKey("generation.request_id"), primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True),
    sa.Column("sent_at", sa.Double, nullable=False),
    sa.Column("prompt", sa.Text, nullable=False),
    sa.Column("reserved_usd", sa.Double, nullable=True),
    sa.Column("reply", sa.Text, nullable=True),
    sa.Column("seconds", sa.Double, nullable=False, default=0.0),
    sa.Column("charged_usd", sa.Double, nullable=True),
    sa.Column("at_risk_usd", sa.Double, nullable=False, default=0.0),
    # What the call added to a conversation; null for a call that began one, or had none.
    sa.Column("told", sa.Text, nullable=True),
    # The provider's batch that the call is in; empty while it is not known; null for a call that is in none.
    sa.Column("batch_id", sa.Text, nullable=True),
)
