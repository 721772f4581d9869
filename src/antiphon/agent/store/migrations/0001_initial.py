"""The first schema of the agent's database."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def _key(*more: sa.Column[object]) -> tuple[sa.Column[object], ...]:
    return (
        sa.Column("surface", sa.String(64), primary_key=True),
        sa.Column("thread_id", sa.String(128), primary_key=True),
        *more,
    )


def upgrade() -> None:
    op.create_table(
        "threads",
        *_key(),
        sa.Column("last_seq", sa.BigInteger, nullable=False),
        sa.Column("last_ordinal", sa.BigInteger, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "runs",
        *_key(sa.Column("run_id", sa.String(128), primary_key=True)),
        sa.Column("ordinal", sa.BigInteger, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("failed_attempts", sa.Integer, nullable=False),
        sa.Column("parked", sa.Boolean, nullable=False),
        sa.Column("spent_ms", sa.BigInteger, nullable=False),
        sa.Column("body_hash", sa.String(64), nullable=False),
        sa.Column("input", sa.Text, nullable=False),
        sa.Column("settings", sa.Text, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("ended_ms", sa.BigInteger),
    )
    op.create_index("runs_by_ordinal", "runs", ["surface", "thread_id", "ordinal"])
    op.create_index("runs_by_status", "runs", ["status"])
    op.create_table(
        "steps",
        *_key(
            sa.Column("run_id", sa.String(128), primary_key=True),
            sa.Column("step", sa.Integer, primary_key=True, autoincrement=False),
        ),
        sa.Column("whole", sa.Boolean, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("input_tokens", sa.Integer),
        sa.Column("output_tokens", sa.Integer),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "calls",
        *_key(sa.Column("call_id", sa.String(256), primary_key=True)),
        sa.Column("run_id", sa.String(128), nullable=False),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("name", sa.String(256), nullable=False),
        sa.Column("args", sa.Text, nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("outcome", sa.String(8)),
        sa.Column("content", sa.Text),
        sa.Column("truncated", sa.Boolean, nullable=False),
    )
    op.create_index("calls_by_run", "calls", ["surface", "thread_id", "run_id"])
    op.create_table(
        "events",
        *_key(sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False)),
        sa.Column("run_id", sa.String(128), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("type", sa.String(32), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_index("events_by_run", "events", ["surface", "thread_id", "run_id"])
    op.create_table(
        "notes",
        *_key(sa.Column("number", sa.Integer, primary_key=True, autoincrement=False)),
        sa.Column("call_id", sa.String(256), nullable=False),
        sa.Column("run_id", sa.String(128), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
    )
    op.create_index("notes_by_call", "notes", ["surface", "thread_id", "call_id"], unique=True)
    op.create_table(
        "tombstones",
        *_key(sa.Column("run_id", sa.String(128), primary_key=True)),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
    )
