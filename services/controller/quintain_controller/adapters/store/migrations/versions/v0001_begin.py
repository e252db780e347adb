"""Searches, candidates, events."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "searches",
        sa.Column("search_id", sa.Text, primary_key=True),
        sa.Column("request_id", sa.Text, nullable=False, unique=True),
        sa.Column("request_digest", sa.Text, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("ended_at", sa.Float),
        sa.Column("spec", sa.Text, nullable=False),
        sa.Column("context", sa.Text, nullable=False),
        sa.Column("budget", sa.Text, nullable=False),
        sa.Column("spend", sa.Text, nullable=False),
        sa.Column("state", sa.Integer, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("paused_by_person", sa.Boolean, nullable=False),
        sa.Column("best_number", sa.Integer),
        sa.Column("winner_number", sa.Integer),
        sa.Column("gates", sa.Text, nullable=False),
        sa.Column("last_sequence", sa.BigInteger, nullable=False),
        sa.Column("forked_from", sa.Text, nullable=False),
        sa.Column("told", sa.Integer, nullable=False),
        sa.Column("needs_owner", sa.Boolean, nullable=False),
        sa.Column("lease_owner", sa.Text, nullable=False),
        sa.Column("lease_token", sa.BigInteger, nullable=False),
        sa.Column("lease_until", sa.Float, nullable=False),
    )
    op.create_index("searches_newest", "searches", [sa.text("created_at DESC"), "search_id"])
    op.create_index("searches_to_do", "searches", ["needs_owner", "lease_until"])
    op.create_table(
        "candidates",
        sa.Column("search_id", sa.Text, sa.ForeignKey("searches.search_id", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("state", sa.Integer, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("source", sa.Text),
        sa.Column("feedback", sa.Text),
        sa.Column("generation", sa.LargeBinary),
        sa.Column("verdict", sa.LargeBinary),
        sa.Column("held_out", sa.LargeBinary),
    )
    op.create_table(
        "events",
        sa.Column("search_id", sa.Text, sa.ForeignKey("searches.search_id", ondelete="CASCADE"), primary_key=True),
        sa.Column("sequence", sa.BigInteger, primary_key=True),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("spend", sa.Text, nullable=False),
        sa.Column("fact", sa.Text, nullable=False),
    )
