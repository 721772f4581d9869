"""The journal's tables. `migrations/` makes them; a test holds the two to each other.

Times are milliseconds UTC. `pos` orders events within a room: sync batches ascend, and events
read back into a gap take positions below the batch that revealed the gap.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, MetaData, Table, Text, false

metadata = MetaData()

account = Table(
    "account",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # always 1
    Column("user_id", Text, nullable=False),
    Column("device_id", Text, nullable=False),
    Column("next_batch", Text),
    Column("batch", BigInteger, nullable=False),  # number of the last committed sync batch
    Column("epoch", BigInteger, nullable=False),  # lease: grows at every start
)

room = Table(
    "room",
    metadata,
    Column("room_id", Text, primary_key=True),
    Column("membership", Text, nullable=False),  # invite, join, leave
    Column("encrypted", Boolean, nullable=False),  # once true, for ever
    Column("inviter", Text),
    Column("updated_ms", BigInteger, nullable=False),
    Column("seen", Text),  # the newest event of its timeline that we have journalled
    Column("successor", Text),  # the room that its tombstone names
    Column("followed", Text),  # owed, done, refused: whether the chat moved to the successor
    Column("members", Integer),  # who has joined it, we too, as last told; empty: never told
    Column("alias", Text),  # what it calls itself; only the homeserver's directory proves it
    Index("room_successor", "successor"),
)

inbound = Table(
    "inbound",
    metadata,
    Column("event_id", Text, primary_key=True),
    Column("room_id", Text, nullable=False),
    Column("pos", BigInteger, nullable=False),
    Column("state", Text, nullable=False),  # pending (waits for a gap), unreadable, taken, ignored
    Column("event", Text, nullable=False),  # the event as JSON while pending, else empty
    Column("at_ms", BigInteger, nullable=False, server_default="0"),  # when it was settled
    Index("inbound_room_pos", "room_id", "pos"),
    Index("inbound_time", "at_ms"),
)

own_event = Table(
    "own_event",
    metadata,
    # What we have said and /sync has shown: the room's word on what was sent.
    Column("event_id", Text, primary_key=True),
    Column("room_id", Text, nullable=False),
    Column("turn_id", Text, nullable=False),
    Column("part", Integer, nullable=False),
    Column("root", Text, nullable=False),  # the event that opens the part: itself, or what it edits
    Column("final", Boolean, nullable=False),
    Column("last", Boolean, nullable=False),  # of a final: no part follows
    Column("revision", Integer, nullable=False),
    Column("ts", BigInteger, nullable=False),  # origin_server_ts: which edit wins
    Column("redacted", Boolean, nullable=False),
    Index("own_event_turn", "turn_id"),
)

gap = Table(
    "gap",
    metadata,
    Column("room_id", Text, primary_key=True),
    Column("batch", BigInteger, primary_key=True),
    Column("from_token", Text, nullable=False),
    Column("to_token", Text),
    Column("until_event", Text),  # read back to this event (a lost cursor), else to the token
)

turn = Table(
    "turn",
    metadata,
    Column("turn_id", Text, primary_key=True),
    Column("room_id", Text, nullable=False),
    Column("place_thread", Text, nullable=False),  # empty: the whole room
    Column("place_user", Text, nullable=False),  # empty: everybody in it
    Column("pos", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),  # question, command, fixed
    Column("state", Text, nullable=False),  # core.model.TurnState
    Column("revision", Integer, nullable=False),
    Column("event_id", Text, nullable=False),  # the question
    Column("sender", Text, nullable=False),
    Column("reply_thread", Text, nullable=False),  # Matrix thread to answer in, or empty
    Column("text", Text, nullable=False),  # the question; kind fixed: the answer
    Column("quote", Boolean, nullable=False),  # others spoke since: answer as a reply
    Column("thread_id", Text),  # the agent's thread, frozen at the start
    Column("run", Text),  # the whole sdk Run as JSON, frozen at the start
    Column("outcome", Text),  # success, cancelled, error
    Column("error_code", Text),
    Column("created_ms", BigInteger, nullable=False),
    Column("ended_ms", BigInteger),
    Index("turn_state", "state"),
    Index("turn_ended", "ended_ms"),
    Index("turn_room_pos", "room_id", "pos"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("txn_id", Text, primary_key=True),
    Column("turn_id", Text, nullable=False),
    Column("room_id", Text, nullable=False),
    Column("part", Integer, nullable=False),
    Column("kind", Text, nullable=False),  # root, final, redact
    Column("content", Text, nullable=False),  # frozen JSON; redact: the event's id
    Column("device_id", Text, nullable=False),
    Column("state", Text, nullable=False),  # pending, sent, failed
    Column("event_id", Text),
    Column("created_ms", BigInteger, nullable=False),
    Column("sealed", Boolean, nullable=False, server_default=false()),  # it was sent encrypted
    Index("outbox_turn", "turn_id"),
    Index("outbox_state", "state"),
    Index("outbox_event", "event_id"),
)

unreadable = Table(
    "unreadable",
    metadata,
    # Encrypted messages whose key has not come; the row in `inbound` says the same.
    Column("event_id", Text, primary_key=True),
    Column("room_id", Text, nullable=False),
    Column("session_id", Text, nullable=False),
    Column("event", Text, nullable=False),  # as JSON, as it came
    Column("since_ms", BigInteger, nullable=False),
    Column("noted", Boolean, nullable=False),  # somebody was told that it can't be read yet
    Index("unreadable_session", "room_id", "session_id"),
)

forgotten = Table(
    "forgotten",
    metadata,
    # Rooms that a reset has forgotten, until a start has adopted them anew.
    Column("room_id", Text, primary_key=True),
    Column("unread", Boolean, nullable=False),  # what the next catching up brings is from before
)

debt = Table(
    "debt",
    metadata,
    Column("kind", Text, primary_key=True),  # cancel, withdraw, forget, erase
    Column("thread_id", Text, primary_key=True),
    Column("run_id", Text, primary_key=True),  # empty for forget; erase: whose words
    Column("created_ms", BigInteger, nullable=False),
)

rules = Table(
    "rules",
    metadata,
    # What was last known of roles and settings, for a start at which nobody can be asked.
    Column("id", Integer, primary_key=True, autoincrement=False),  # always 1
    Column("snapshot", Text, nullable=False),  # core.rules.Rules as JSON
    Column("narrowest", Text, nullable=False),  # room (empty: all) to its narrowest isolation
    Column("known_ms", BigInteger, nullable=False),  # when they were known to be the newest
)

asking = Table(
    "asking",
    metadata,
    # When the agent was to be asked what: counted by the limits, gone after a while.
    Column("turn_id", Text, primary_key=True),
    Column("revision", Integer, primary_key=True, autoincrement=False),
    Column("room_id", Text, nullable=False),
    Column("sender", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Index("asking_time", "at_ms"),
)

quiet = Table(
    "quiet",
    metadata,
    # Loops of bots that were broken, by chat: core.loops.Quiet.
    Column("room_id", Text, primary_key=True),
    Column("place_thread", Text, primary_key=True),
    Column("place_user", Text, primary_key=True),
    Column("senders", Text, nullable=False),  # JSON
    Column("until_ms", BigInteger, nullable=False),
    Column("times", Integer, nullable=False),
)

usage_owed = Table(
    "usage_owed",
    metadata,
    # What runs used, until whoever counts it has it.
    Column("run_id", Text, primary_key=True),
    Column("user_id", Text, nullable=False),
    Column("room_id", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("took_ms", BigInteger, nullable=False),
)
