"""Counting searches by state reads an index; the rows with their specs and contexts are large."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("searches_states", "searches", ["state"])
