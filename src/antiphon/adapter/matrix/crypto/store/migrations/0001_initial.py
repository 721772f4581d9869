"""The key store as it began."""

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
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("rank", sa.BigInteger, nullable=False),
        sa.Column("key_check", sa.Text, nullable=False),
        sa.Column("key_source", sa.Text, nullable=False),
        sa.Column("pickle", sa.Text, nullable=False),
        sa.Column("device_uploaded", sa.Boolean, nullable=False),
    )
    op.create_table(
        "olm_session",
        sa.Column("curve25519", sa.Text, primary_key=True),
        sa.Column("session_id", sa.Text, primary_key=True),
        sa.Column("pickle", sa.Text, nullable=False),
        sa.Column("rank", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "olm_peer",
        sa.Column("user_id", sa.Text, primary_key=True),
        sa.Column("curve25519", sa.Text, primary_key=True),
        sa.Column("wedged", sa.Boolean, nullable=False),
        sa.Column("rebuilt_ms", sa.BigInteger, nullable=False),
    )
    op.create_index("olm_peer_wedged", "olm_peer", ["wedged"])
    op.create_table(
        "inbound_group",
        sa.Column("room_id", sa.Text, primary_key=True),
        sa.Column("session_id", sa.Text, primary_key=True),
        sa.Column("sender_key", sa.Text, primary_key=True),
        sa.Column("user_id", sa.Text),
        sa.Column("ed25519", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("first_index", sa.BigInteger, nullable=False),
        sa.Column("pickle", sa.Text, nullable=False),
        sa.Column("made_ms", sa.BigInteger, nullable=False),
    )
    op.create_index("inbound_group_session", "inbound_group", ["session_id"])
    op.create_table(
        "backup_owed",
        sa.Column("room_id", sa.Text, primary_key=True),
        sa.Column("session_id", sa.Text, primary_key=True),
        sa.Column("sender_key", sa.Text, primary_key=True),
    )
    op.create_table(
        "replay",
        sa.Column("session", sa.Text, primary_key=True),
        sa.Column("message_index", sa.BigInteger, primary_key=True),
        sa.Column("event_id", sa.Text, nullable=False),
    )
    op.create_table(
        "withheld",
        sa.Column("room_id", sa.Text, primary_key=True),
        sa.Column("session_id", sa.Text, primary_key=True),
        sa.Column("user_id", sa.Text, primary_key=True),
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("rank", sa.BigInteger, nullable=False),
    )
    op.create_index("withheld_rank", "withheld", ["rank"])
    op.create_table(
        "key_request",
        sa.Column("room_id", sa.Text, primary_key=True),
        sa.Column("session_id", sa.Text, primary_key=True),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("asked_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "outbound_group",
        sa.Column("room_id", sa.Text, primary_key=True),
        sa.Column("session_id", sa.Text, nullable=False),
        sa.Column("pickle", sa.Text, nullable=False),
        sa.Column("made_ms", sa.BigInteger, nullable=False),
        sa.Column("messages", sa.BigInteger, nullable=False),
        sa.Column("ready", sa.Boolean, nullable=False),
    )
    op.create_table(
        "share",
        sa.Column("room_id", sa.Text, primary_key=True),
        sa.Column("session_id", sa.Text, primary_key=True),
        sa.Column("user_id", sa.Text, primary_key=True),
        sa.Column("device_id", sa.Text, primary_key=True),
        sa.Column("curve25519", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("told", sa.Boolean, nullable=False),
        sa.Column("message_index", sa.BigInteger, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
    )
    op.create_index("share_device", "share", ["user_id", "device_id"])
    op.create_table(
        "device",
        sa.Column("user_id", sa.Text, primary_key=True),
        sa.Column("device_id", sa.Text, primary_key=True),
        sa.Column("ed25519", sa.Text, nullable=False),
        sa.Column("curve25519", sa.Text, nullable=False),
        sa.Column("megolm", sa.Boolean, nullable=False),
        sa.Column("cross_signed", sa.Boolean, nullable=False),
        sa.Column("deleted", sa.Boolean, nullable=False),
        sa.Column("raw", sa.Text, nullable=False),
    )
    op.create_index("device_curve25519", "device", ["curve25519"])
    op.create_table(
        "person",
        sa.Column("user_id", sa.Text, primary_key=True),
        sa.Column("tracked", sa.Boolean, nullable=False),
        sa.Column("stale", sa.BigInteger, nullable=False),
        sa.Column("fresh", sa.BigInteger, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("retry_ms", sa.BigInteger, nullable=False),
        sa.Column("master", sa.Text),
        sa.Column("self_signing", sa.Text),
        sa.Column("user_signing", sa.Text),
        sa.Column("pinned", sa.Text),
        sa.Column("raw", sa.Text, nullable=False),
    )
    op.create_table(
        "seen",
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("rank", sa.BigInteger, nullable=False),
    )
    op.create_index("seen_rank", "seen", ["rank"])
    op.create_table(
        "inbox",
        sa.Column("message_id", sa.Text, primary_key=True),
        sa.Column("rank", sa.BigInteger, nullable=False),
        sa.Column("sealed", sa.Text, nullable=False),
    )
    op.create_table(
        "secret",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("sealed", sa.Text, nullable=False),
    )
