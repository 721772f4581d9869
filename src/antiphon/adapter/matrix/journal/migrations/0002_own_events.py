"""What /sync shows of our own events, how far a room was seen, and room upgrades."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "own_event",
        sa.Column("event_id", sa.Text, primary_key=True),
        sa.Column("room_id", sa.Text, nullable=False),
        sa.Column("turn_id", sa.Text, nullable=False),
        sa.Column("part", sa.Integer, nullable=False),
        sa.Column("root", sa.Text, nullable=False),
        sa.Column("final", sa.Boolean, nullable=False),
        sa.Column("last", sa.Boolean, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("ts", sa.BigInteger, nullable=False),
        sa.Column("redacted", sa.Boolean, nullable=False),
    )
    op.create_index("own_event_turn", "own_event", ["turn_id"])
    op.add_column("room", sa.Column("seen", sa.Text))
    op.add_column("room", sa.Column("successor", sa.Text))
    op.add_column("room", sa.Column("followed", sa.Text))
    op.create_index("outbox_event", "outbox", ["event_id"])
    op.create_index("room_successor", "room", ["successor"])
    op.add_column("gap", sa.Column("until_event", sa.Text))
