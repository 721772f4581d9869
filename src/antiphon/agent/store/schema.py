"""The agent's tables. Everything is keyed by (surface, thread_id): a surface (a token) has a
namespace of its own, so that a foreign id never shows whether it exists.

Times are milliseconds since the epoch; JSON is text. The migrations build the same tables; a test
holds the two together.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData()

threads = Table(
    "threads",
    metadata,
    Column("surface", String(64), primary_key=True),
    Column("thread_id", String(128), primary_key=True),
    # The last seq that an event of this thread was given; the next one is one more.
    Column("last_seq", BigInteger, nullable=False),
    # Runs are numbered in the order in which they came; the newest one's number.
    Column("last_ordinal", BigInteger, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("surface", String(64), primary_key=True),
    Column("thread_id", String(128), primary_key=True),
    Column("run_id", String(128), primary_key=True),
    Column("ordinal", BigInteger, nullable=False),
    # running, success, cancelled, error or withdrawn.
    Column("status", String(16), nullable=False),
    Column("attempt", Integer, nullable=False),
    # Attempts that ended without our leave (a crash); a clean stop of the service counts none.
    Column("failed_attempts", Integer, nullable=False),
    # True while no process works on the run: a crash now is none of its failed attempts.
    Column("parked", Boolean, nullable=False),
    # Milliseconds that attempts have worked, as of the last commit: what the deadline counts.
    Column("spent_ms", BigInteger, nullable=False),
    Column("body_hash", String(64), nullable=False),
    Column("input", Text, nullable=False),
    Column("settings", Text, nullable=False),
    Column("error", Text),
    Column("created_ms", BigInteger, nullable=False),
    Column("ended_ms", BigInteger),
    # What all attempts have used, as of the last commit. NULL: a row of before this was counted.
    Column("usage", Text),
)
Index("runs_by_ordinal", runs.c.surface, runs.c.thread_id, runs.c.ordinal)
Index("runs_by_status", runs.c.status)

steps = Table(
    "steps",
    metadata,
    Column("surface", String(64), primary_key=True),
    Column("thread_id", String(128), primary_key=True),
    Column("run_id", String(128), primary_key=True),
    Column("step", Integer, primary_key=True, autoincrement=False),
    # False: the run was cancelled in this step, and this is the text so far.
    Column("whole", Boolean, nullable=False),
    Column("text", Text, nullable=False),
    Column("input_tokens", Integer),
    Column("output_tokens", Integer),
    Column("created_ms", BigInteger, nullable=False),
)

calls = Table(
    "calls",
    metadata,
    Column("surface", String(64), primary_key=True),
    Column("thread_id", String(128), primary_key=True),
    Column("call_id", String(256), primary_key=True),
    Column("run_id", String(128), nullable=False),
    Column("step", Integer, nullable=False),
    Column("position", Integer, nullable=False),
    Column("name", String(256), nullable=False),
    Column("args", Text, nullable=False),
    # asked (committed with its step), begun (the intent) or done (the result is here).
    Column("state", String(8), nullable=False),
    Column("outcome", String(8)),
    Column("content", Text),
    Column("truncated", Boolean, nullable=False),
)
Index("calls_by_run", calls.c.surface, calls.c.thread_id, calls.c.run_id)

events = Table(
    "events",
    metadata,
    Column("surface", String(64), primary_key=True),
    Column("thread_id", String(128), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("run_id", String(128), nullable=False),
    Column("attempt", Integer, nullable=False),
    # run.resumed is looked for by type: a cursor in void text replays from there.
    Column("type", String(32), nullable=False),
    # The frame as it is sent.
    Column("body", Text, nullable=False),
)
Index("events_by_run", events.c.surface, events.c.thread_id, events.c.run_id)

notes = Table(
    "notes",
    metadata,
    Column("surface", String(64), primary_key=True),
    Column("thread_id", String(128), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("call_id", String(256), nullable=False),
    Column("run_id", String(128), nullable=False),
    Column("text", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
)
Index("notes_by_call", notes.c.surface, notes.c.thread_id, notes.c.call_id, unique=True)

tombstones = Table(
    "tombstones",
    metadata,
    Column("surface", String(64), primary_key=True),
    Column("thread_id", String(128), primary_key=True),
    # Empty: the thread itself was deleted.
    Column("run_id", String(128), primary_key=True),
    # deleted (the thread), cancelled or withdrawn (a run, before its start).
    Column("kind", String(16), nullable=False),
    Column("at_ms", BigInteger, nullable=False),
)
