"""Titles, archives and versions; roles, usage, audit, requests, erasures, counters and tokens."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def _version() -> sa.Column[int]:
    return sa.Column("version", sa.Integer, nullable=False, server_default="1")


def upgrade() -> None:
    op.add_column("users", sa.Column("name", sa.String(256), nullable=False, server_default=""))
    op.add_column("users", _version())
    for table in ("chats", "sessions"):
        op.add_column(table, sa.Column("title", sa.String(256), nullable=False, server_default=""))
        op.add_column(table, sa.Column("archived_ms", sa.BigInteger, nullable=True))
        op.add_column(table, _version())
    op.add_column(
        "chats", sa.Column("renew", sa.Boolean, nullable=False, server_default=sa.false())
    )
    op.add_column("settings", _version())
    op.create_table(
        "roles",
        sa.Column("surface", sa.String(64), primary_key=True),
        sa.Column("pattern", sa.String(512), primary_key=True),
        sa.Column("role", sa.String(16), nullable=False),
        _version(),
    )
    op.create_table(
        "usage",
        sa.Column("surface", sa.String(64), primary_key=True),
        sa.Column("run_id", sa.String(128), primary_key=True),
        sa.Column("user_id", sa.String(512), nullable=False),
        sa.Column("room", sa.String(512), nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("input_tokens", sa.BigInteger, nullable=False),
        sa.Column("output_tokens", sa.BigInteger, nullable=False),
        sa.Column("took_ms", sa.BigInteger, nullable=False),
    )
    op.create_index("usage_by_user", "usage", ["surface", "user_id", "at_ms"])
    op.create_index("usage_by_room", "usage", ["surface", "room", "at_ms"])
    op.create_table(
        "audit",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("surface", sa.String(64), nullable=False),
        sa.Column("actor", sa.String(512), nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(600), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
    )
    op.create_index("audit_by_time", "audit", ["at_ms"])
    op.create_table(
        "requests",
        sa.Column("surface", sa.String(64), primary_key=True),
        sa.Column("request_id", sa.String(200), primary_key=True),
        sa.Column("body_hash", sa.String(64), nullable=False),
        sa.Column("answer", sa.Text, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "erasures",
        sa.Column("surface", sa.String(64), primary_key=True),
        sa.Column("user_id", sa.String(512), primary_key=True),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "erasure_debts",
        sa.Column("surface", sa.String(64), primary_key=True),
        sa.Column("thread_id", sa.String(128), primary_key=True),
        sa.Column("author", sa.String(512), primary_key=True),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "counters",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "tokens",
        sa.Column("token_id", sa.String(64), primary_key=True),
        sa.Column("surface", sa.String(64), nullable=False),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False, unique=True),
        sa.Column("note", sa.String(256), nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("revoked_ms", sa.BigInteger, nullable=True),
    )
