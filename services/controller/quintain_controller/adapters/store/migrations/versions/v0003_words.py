"""Two columns get the words that the contract and the documentation use."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # alembic's alter_column copies the table on SQLite; both databases know this statement.
    op.execute("ALTER TABLE searches RENAME COLUMN paused_by_person TO paused_by_user")
    op.execute("ALTER TABLE events RENAME COLUMN fact TO event")
