"""Calls that are handed in for a later answer: which batch each is in."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("generation_call", sa.Column("batch_id", sa.Text, nullable=True))
