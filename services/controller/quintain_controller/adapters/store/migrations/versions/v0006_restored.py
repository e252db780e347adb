"""Searches that were restored from an archive."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("searches", sa.Column("restored_at", sa.Float))
