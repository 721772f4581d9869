"""Old replay rows become one row for each session; which identity of a person was verified, and of
which change people were told."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("replay", sa.Column("used_ms", sa.BigInteger))
    op.create_index("replay_used_ms", "replay", ["used_ms"])
    op.create_table(
        "replay_closed",
        sa.Column("session", sa.Text, primary_key=True),
        sa.Column("used", sa.Text, nullable=False),
    )
    op.add_column("person", sa.Column("verified", sa.Text))
    op.add_column("person", sa.Column("told", sa.Text))
    # Devices signed by another identity than the known one do not count as signed any more.
    op.execute(
        "UPDATE device SET cross_signed = false WHERE user_id IN "
        "(SELECT user_id FROM person WHERE pinned IS NOT NULL AND master <> pinned)"
    )
