"""Notes and tags of searches: the user's own words."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("searches", sa.Column("notes", sa.Text, nullable=False, server_default=""))
    op.add_column("searches", sa.Column("tags", sa.Text, nullable=False, server_default="[]"))
