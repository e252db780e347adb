"""What a request cost, in columns: a backend's habits are measured on its latest requests."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_MEASURED = 200  # of the requests that are there; more are not looked at


def upgrade() -> None:
    for column in ("input_tokens", "output_tokens"):
        op.add_column("generation", sa.Column(column, sa.BigInteger, nullable=True))
    op.add_column("generation", sa.Column("cost_usd", sa.Double, nullable=True))
    op.create_index("generation_latest", "generation", ["backend", "finished_at"])
    connection = op.get_bind()
    latest = sa.text(
        "SELECT request_id, result FROM generation WHERE result IS NOT NULL ORDER BY finished_at DESC LIMIT :most"
    )
    for request_id, text in connection.execute(latest, {"most": _MEASURED}).all():
        result = json.loads(text)
        cost, usage = result["cost"], result["usage"]
        sent = usage["input_tokens"] + usage["cached_input_tokens"] + usage["cache_write_tokens"]
        known = sent + usage["output_tokens"] > 0
        connection.execute(
            sa.text(
                "UPDATE generation SET cost_usd = :usd, input_tokens = :sent, output_tokens = :got"
                " WHERE request_id = :request_id"
            ),
            {
                "usd": None if cost["unpriced"] else cost["usd"] + cost["at_risk_usd"],
                "sent": sent if known else None,
                "got": usage["output_tokens"] if known else None,
                "request_id": request_id,
            },
        )
