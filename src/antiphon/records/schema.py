"""The tables of who and what: users, chats, sessions, settings, roles, usage, the audit log. The
same for a surface's own `state.db` and for the control plane; `migrations/` makes them. Times are
wall-clock milliseconds and order nothing. `version` counts a row's changes, from 1."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
)

metadata = MetaData()

users = Table(
    "users",
    metadata,
    Column("surface", String(64), primary_key=True),
    Column("user_id", String(512), primary_key=True),
    Column("first_seen_ms", BigInteger, nullable=False),
    Column("name", String(256), nullable=False, server_default=""),
    Column("version", Integer, nullable=False, server_default="1"),
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
    Column("title", String(256), nullable=False, server_default=""),
    Column("archived_ms", BigInteger, nullable=True),
    # Set when the isolation of its room changed: the next question begins another session.
    Column("renew", Boolean, nullable=False, server_default=false()),
    Column("version", Integer, nullable=False, server_default="1"),
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
    Column("title", String(256), nullable=False, server_default=""),
    Column("archived_ms", BigInteger, nullable=True),
    Column("version", Integer, nullable=False, server_default="1"),
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
    Column("version", Integer, nullable=False, server_default="1"),
)

# Roles given while running. `pattern` is a whole id or a glob of one.
roles = Table(
    "roles",
    metadata,
    Column("surface", String(64), primary_key=True),
    Column("pattern", String(512), primary_key=True),
    Column("role", String(16), nullable=False),
    Column("version", Integer, nullable=False, server_default="1"),
)

# What each run used, once.
usage = Table(
    "usage",
    metadata,
    Column("surface", String(64), primary_key=True),
    Column("run_id", String(128), primary_key=True),
    Column("user_id", String(512), nullable=False),
    Column("room", String(512), nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("took_ms", BigInteger, nullable=False),
    Index("usage_by_user", "surface", "user_id", "at_ms"),
    Index("usage_by_room", "surface", "room", "at_ms"),
)

# Who changed what; never what was said.
audit = Table(
    "audit",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("surface", String(64), nullable=False),
    Column("actor", String(512), nullable=False),
    Column("action", String(64), nullable=False),
    Column("subject", String(600), nullable=False),
    Column("detail", Text, nullable=False),
    Index("audit_by_time", "at_ms"),
)

# Changes that were asked for under a name, and their answers: asked again they change nothing.
requests = Table(
    "requests",
    metadata,
    Column("surface", String(64), primary_key=True),
    Column("request_id", String(200), primary_key=True),
    Column("body_hash", String(64), nullable=False),
    Column("answer", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
)

# People who were erased, so that a surface can follow.
erasures = Table(
    "erasures",
    metadata,
    Column("surface", String(64), primary_key=True),
    Column("user_id", String(512), primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
)

# What the agent still has to erase: whole threads, or what an author said in one.
erasure_debts = Table(
    "erasure_debts",
    metadata,
    Column("surface", String(64), primary_key=True),
    Column("thread_id", String(128), primary_key=True),
    Column("author", String(512), primary_key=True),  # empty: the whole thread
    Column("at_ms", BigInteger, nullable=False),
)

# Counts that say whether anything of a kind has changed (`rules`).
counters = Table(
    "counters",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", BigInteger, nullable=False),
)

# The control plane's surfaces and operators, by the hash of their token.
tokens = Table(
    "tokens",
    metadata,
    Column("token_id", String(64), primary_key=True),
    Column("surface", String(64), nullable=False),
    Column("scopes", Text, nullable=False),
    Column("digest", String(64), nullable=False, unique=True),
    Column("note", String(256), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("revoked_ms", BigInteger, nullable=True),
)

# What follows is of a surface whose records a control plane keeps (`control.db`).

# Changes that the control plane has not been told yet, in order, each under its request's name.
queue = Table(
    "queue",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("request_id", String(200), nullable=False, unique=True),
    Column("change", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
)

# Changes that it did not take as they were, one sentence each.
conflicts = Table(
    "conflicts",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("sentence", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
)

# Chats that were made here while another had been made there, and which that is.
aliases = Table(
    "aliases",
    metadata,
    Column("chat_id", String(64), primary_key=True),
    Column("kept_id", String(64), nullable=False),
)

# Single facts by name, as JSON: what the rules were, and when that was confirmed.
marks = Table(
    "marks",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)
