"""Conversations: what each call told the model."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("generation_call", sa.Column("told", sa.Text, nullable=True))
