"""The tables of `state.db`: users, chats, sessions, settings. Only `prototype_state` uses them;
`migrations/` makes them. Times are wall-clock milliseconds and order nothing."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()

users = Table(
    "users",
    metadata,
    Column("surface", String(64), primary_key=True),
    Column("user_id", String(512), primary_key=True),
    Column("first_seen_ms", BigInteger, nullable=False),
)

# A place's absent thread and user are empty text, not NULL, so that the constraint holds for them.
chats = Table(
    "chats",
    metadata,
    Column("chat_id", String(64), primary_key=True),
    Column("surface", String(64), nullable=False),
    Column("account", String(512), nullable=False),
    Column("room", String(512), nullable=False),
    Column("thread_root", String(512), nullable=False),
    Column("user_id", String(512), nullable=False),
    Column("session_id", String(64), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    UniqueConstraint("surface", "account", "room", "thread_root", "user_id", name="one_chat"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("session_id", String(64), primary_key=True),
    Column("chat_id", String(64), ForeignKey("chats.chat_id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("thread_id", String(128), nullable=False),
    Column("request_id", String(128), nullable=True),
    Column("started_ms", BigInteger, nullable=False),
    UniqueConstraint("thread_id", name="one_thread"),
    UniqueConstraint("chat_id", "request_id", name="one_request"),
    Index("sessions_by_chat", "chat_id", "number"),
)

retired_threads = Table(
    "retired_threads",
    metadata,
    Column("thread_id", String(128), primary_key=True),
    Column("retired_ms", BigInteger, nullable=False),
)

settings = Table(
    "settings",
    metadata,
    Column("scope", String(16), primary_key=True),
    Column("surface", String(64), primary_key=True),
    Column("subject", String(512), primary_key=True),
    Column("key", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)
