"""Users, chats, sessions, retired threads and settings."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("surface", sa.String(64), primary_key=True),
        sa.Column("user_id", sa.String(512), primary_key=True),
        sa.Column("first_seen_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "chats",
        sa.Column("chat_id", sa.String(64), primary_key=True),
        sa.Column("surface", sa.String(64), nullable=False),
        sa.Column("account", sa.String(512), nullable=False),
        sa.Column("room", sa.String(512), nullable=False),
        sa.Column("thread_root", sa.String(512), nullable=False),
        sa.Column("user_id", sa.String(512), nullable=False),
        sa.Column("session_id", sa.String(64), nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.UniqueConstraint(
            "surface", "account", "room", "thread_root", "user_id", name="one_chat"
        ),
    )
    op.create_table(
        "sessions",
        sa.Column("session_id", sa.String(64), primary_key=True),
        sa.Column("chat_id", sa.String(64), sa.ForeignKey("chats.chat_id"), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("thread_id", sa.String(128), nullable=False),
        sa.Column("request_id", sa.String(128), nullable=True),
        sa.Column("started_ms", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("thread_id", name="one_thread"),
        sa.UniqueConstraint("chat_id", "request_id", name="one_request"),
    )
    op.create_index("sessions_by_chat", "sessions", ["chat_id", "number"])
    op.create_table(
        "retired_threads",
        sa.Column("thread_id", sa.String(128), primary_key=True),
        sa.Column("retired_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "settings",
        sa.Column("scope", sa.String(16), primary_key=True),
        sa.Column("surface", sa.String(64), primary_key=True),
        sa.Column("subject", sa.String(512), primary_key=True),
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
