"""Messages that wait for their key, and which of ours were sent encrypted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "unreadable",
        sa.Column("event_id", sa.Text, primary_key=True),
        sa.Column("room_id", sa.Text, nullable=False),
        sa.Column("session_id", sa.Text, nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("since_ms", sa.BigInteger, nullable=False),
        sa.Column("noted", sa.Boolean, nullable=False),
    )
    op.add_column(
        "outbox", sa.Column("sealed", sa.Boolean, nullable=False, server_default=sa.false())
    )
    op.create_index("unreadable_session", "unreadable", ["room_id", "session_id"])
