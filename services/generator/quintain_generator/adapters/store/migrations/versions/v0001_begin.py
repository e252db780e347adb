"""Owners, requests, calls."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "generator_owner",
        sa.Column("owner", sa.String(36), primary_key=True),
        sa.Column("alive_until", sa.Double, nullable=False),
    )
    op.create_table(
        "generation",
        sa.Column("request_id", sa.String(128), primary_key=True),
        sa.Column("task_digest", sa.String(64), nullable=False),
        sa.Column("backend", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("owner", sa.String(36), nullable=True),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("finished_at", sa.Double, nullable=True),
        sa.Column("result", sa.Text, nullable=True),
    )
    op.create_table(
        "generation_call",
        sa.Column("request_id", sa.String(128), sa.ForeignKey("generation.request_id"), primary_key=True),
        sa.Column("attempt", sa.Integer, primary_key=True),
        sa.Column("sent_at", sa.Double, nullable=False),
        sa.Column("prompt", sa.Text, nullable=False),
        sa.Column("reserved_usd", sa.Double, nullable=True),
        sa.Column("reply", sa.Text, nullable=True),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("charged_usd", sa.Double, nullable=True),
        sa.Column("at_risk_usd", sa.Double, nullable=False),
    )
