"""The rules as last known, usage that is owed, when what was asked, loops that were broken, how
many are in a room, and how old what was taken in is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "rules",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("snapshot", sa.Text, nullable=False),
        sa.Column("narrowest", sa.Text, nullable=False),
        sa.Column("known_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "usage_owed",
        sa.Column("run_id", sa.Text, primary_key=True),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("room_id", sa.Text, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("input_tokens", sa.BigInteger, nullable=False),
        sa.Column("output_tokens", sa.BigInteger, nullable=False),
        sa.Column("took_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "asking",
        sa.Column("turn_id", sa.Text, primary_key=True),
        sa.Column("revision", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("room_id", sa.Text, nullable=False),
        sa.Column("sender", sa.Text, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
    )
    op.create_index("asking_time", "asking", ["at_ms"])
    op.create_table(
        "quiet",
        sa.Column("room_id", sa.Text, primary_key=True),
        sa.Column("place_thread", sa.Text, primary_key=True),
        sa.Column("place_user", sa.Text, primary_key=True),
        sa.Column("senders", sa.Text, nullable=False),
        sa.Column("until_ms", sa.BigInteger, nullable=False),
        sa.Column("times", sa.Integer, nullable=False),
    )
    op.add_column("room", sa.Column("members", sa.Integer))
    op.add_column("room", sa.Column("alias", sa.Text))
    op.add_column("inbound", sa.Column("at_ms", sa.BigInteger, nullable=False, server_default="0"))
    # What was there is not older than the newest turn.
    op.execute("UPDATE inbound SET at_ms = (SELECT coalesce(max(created_ms), 0) FROM turn)")
    op.create_index("inbound_time", "inbound", ["at_ms"])
    op.create_index("turn_ended", "turn", ["ended_ms"])
