"""Which events were taken to be notified of: of searches that are there already, all."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("searches", sa.Column("notified", sa.BigInteger, nullable=False, server_default="0"))
    op.execute("UPDATE searches SET notified = last_sequence")
