"""The journal as it began."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "account",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("device_id", sa.Text, nullable=False),
        sa.Column("next_batch", sa.Text),
        sa.Column("batch", sa.BigInteger, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "room",
        sa.Column("room_id", sa.Text, primary_key=True),
        sa.Column("membership", sa.Text, nullable=False),
        sa.Column("encrypted", sa.Boolean, nullable=False),
        sa.Column("inviter", sa.Text),
        sa.Column("updated_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "inbound",
        sa.Column("event_id", sa.Text, primary_key=True),
        sa.Column("room_id", sa.Text, nullable=False),
        sa.Column("pos", sa.BigInteger, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("event", sa.Text, nullable=False),
    )
    op.create_table(
        "gap",
        sa.Column("room_id", sa.Text, primary_key=True),
        sa.Column("batch", sa.BigInteger, primary_key=True),
        sa.Column("from_token", sa.Text, nullable=False),
        sa.Column("to_token", sa.Text),
    )
    op.create_table(
        "turn",
        sa.Column("turn_id", sa.Text, primary_key=True),
        sa.Column("room_id", sa.Text, nullable=False),
        sa.Column("place_thread", sa.Text, nullable=False),
        sa.Column("place_user", sa.Text, nullable=False),
        sa.Column("pos", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("event_id", sa.Text, nullable=False),
        sa.Column("sender", sa.Text, nullable=False),
        sa.Column("reply_thread", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("quote", sa.Boolean, nullable=False),
        sa.Column("thread_id", sa.Text),
        sa.Column("run", sa.Text),
        sa.Column("outcome", sa.Text),
        sa.Column("error_code", sa.Text),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("ended_ms", sa.BigInteger),
    )
    op.create_table(
        "outbox",
        sa.Column("txn_id", sa.Text, primary_key=True),
        sa.Column("turn_id", sa.Text, nullable=False),
        sa.Column("room_id", sa.Text, nullable=False),
        sa.Column("part", sa.Integer, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("device_id", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("event_id", sa.Text),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "debt",
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("thread_id", sa.Text, primary_key=True),
        sa.Column("run_id", sa.Text, primary_key=True),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
    )
    op.create_index("inbound_room_pos", "inbound", ["room_id", "pos"])
    op.create_index("turn_state", "turn", ["state"])
    op.create_index("turn_room_pos", "turn", ["room_id", "pos"])
    op.create_index("outbox_turn", "outbox", ["turn_id"])
    op.create_index("outbox_state", "outbox", ["state"])
