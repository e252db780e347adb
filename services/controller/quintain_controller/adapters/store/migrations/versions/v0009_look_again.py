"""When to look again for what requests cost that were given up."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("searches", sa.Column("look_again_at", sa.Float))
    op.create_index("searches_to_look_at", "searches", ["look_again_at"])
