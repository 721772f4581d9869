"""The key store's tables. `migrations/` makes them; a test holds the two to each other.

Times are milliseconds UTC. `rank` orders what happened one after the other (a clock may step back).
Columns named `pickle` and `sealed` are encrypted under the store's key; public keys are not.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, MetaData, Table, Text

metadata = MetaData()

account = Table(
    "account",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # always 1
    Column("user_id", Text, nullable=False),
    Column("device_id", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),  # lease: grows at every start
    Column("rank", BigInteger, nullable=False),  # the last that was given out
    Column("key_check", Text, nullable=False),  # tells the right key from a wrong one
    Column("key_source", Text, nullable=False),  # setting, keyring, file: for a sentence
    Column("pickle", Text, nullable=False),
    Column("device_uploaded", Boolean, nullable=False),  # the homeserver took our device keys
)

olm_session = Table(
    "olm_session",
    metadata,
    Column("curve25519", Text, primary_key=True),  # whose: the other device's identity key
    Column("session_id", Text, primary_key=True),
    Column("pickle", Text, nullable=False),
    Column("rank", BigInteger, nullable=False),  # last made or received: the greatest encrypts
)

olm_peer = Table(
    "olm_peer",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("curve25519", Text, primary_key=True),
    Column("wedged", Boolean, nullable=False),  # owes a new session with m.dummy
    Column("rebuilt_ms", BigInteger, nullable=False),  # when that was last begun
    Index("olm_peer_wedged", "wedged"),
)

inbound_group = Table(
    "inbound_group",
    metadata,
    Column("room_id", Text, primary_key=True),
    Column("session_id", Text, primary_key=True),
    Column("sender_key", Text, primary_key=True),
    Column("user_id", Text),  # who gave it to us by Olm; None where nobody vouches for it
    Column("ed25519", Text, nullable=False),  # what the giver says its device's key is
    Column("source", Text, nullable=False),  # own, direct, forwarded, backup
    Column("first_index", BigInteger, nullable=False),
    Column("pickle", Text, nullable=False),
    Column("made_ms", BigInteger, nullable=False),
    Index("inbound_group_session", "session_id"),
)

backup_owed = Table(
    "backup_owed",
    metadata,
    # Sessions that the key backup has not, or not from their first index.
    Column("room_id", Text, primary_key=True),
    Column("session_id", Text, primary_key=True),
    Column("sender_key", Text, primary_key=True),
)

replay = Table(
    "replay",
    metadata,
    Column("session", Text, primary_key=True),  # a digest of room, session and sender key
    Column("message_index", BigInteger, primary_key=True),
    Column("event_id", Text, nullable=False),
    Column("used_ms", BigInteger),  # None: by a version that did not write it down
    Index("replay_used_ms", "used_ms"),
)

replay_closed = Table(
    "replay_closed",
    metadata,
    # Sessions from which nothing was read for long, in the place of their rows in `replay`.
    Column("session", Text, primary_key=True),
    Column("used", Text, nullable=False),  # the messages that were used: 0-99,120
)

withheld = Table(
    "withheld",
    metadata,
    # Why somebody did not give us a key.
    Column("room_id", Text, primary_key=True),
    Column("session_id", Text, primary_key=True),
    Column("user_id", Text, primary_key=True),
    Column("code", Text, nullable=False),
    Column("rank", BigInteger, nullable=False),
    Index("withheld_rank", "rank"),
)

key_request = Table(
    "key_request",
    metadata,
    # The keys that we asked our own devices for.
    Column("room_id", Text, primary_key=True),
    Column("session_id", Text, primary_key=True),
    Column("request_id", Text, nullable=False),
    Column("asked_ms", BigInteger, nullable=False),
)

outbound_group = Table(
    "outbound_group",
    metadata,
    Column("room_id", Text, primary_key=True),
    Column("session_id", Text, nullable=False),
    Column("pickle", Text, nullable=False),
    Column("made_ms", BigInteger, nullable=False),
    Column("messages", BigInteger, nullable=False),
    Column("ready", Boolean, nullable=False),  # it was once shared with everybody
)

share = Table(
    "share",
    metadata,
    # Who has the outbound session of a room, or was told why not.
    Column("room_id", Text, primary_key=True),
    Column("session_id", Text, primary_key=True),
    Column("user_id", Text, primary_key=True),
    Column("device_id", Text, primary_key=True),
    Column("curve25519", Text, nullable=False),
    Column("state", Text, nullable=False),  # sending, sent, no_olm, or a code
    Column("told", Boolean, nullable=False),  # of a withheld one: the device was told
    Column("message_index", BigInteger, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Index("share_device", "user_id", "device_id"),
)

device = Table(
    "device",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("device_id", Text, primary_key=True),
    Column("ed25519", Text, nullable=False),
    Column("curve25519", Text, nullable=False),
    Column("megolm", Boolean, nullable=False),  # says that it can read encrypted rooms
    Column("cross_signed", Boolean, nullable=False),  # by its owner's self-signing key
    Column("deleted", Boolean, nullable=False),  # kept: what it said before is still its
    Column("raw", Text, nullable=False),  # its keys as they were signed, JSON
    Index("device_curve25519", "curve25519"),
)

person = Table(
    "person",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("tracked", Boolean, nullable=False),
    Column("stale", BigInteger, nullable=False),  # grows whenever the list may have changed
    Column("fresh", BigInteger, nullable=False),  # `stale` as of the last answer that we have
    Column("failures", Integer, nullable=False),  # of the person's homeserver, in a row
    Column("retry_ms", BigInteger, nullable=False),  # not to be asked for before
    Column("master", Text),  # public keys, base64
    Column("self_signing", Text),
    Column("user_signing", Text),
    Column("pinned", Text),  # the master key that people were told of, or saw first
    Column("raw", Text, nullable=False),  # the three keys as they were signed, JSON
    Column("verified", Text),  # the master key that a person here has compared
    Column("told", Text),  # the changed master key that people were told of in a room
)

seen = Table(
    "seen",
    metadata,
    # To-device messages that were taken in; the newest few thousand.
    Column("digest", Text, primary_key=True),
    Column("rank", BigInteger, nullable=False),
    Index("seen_rank", "rank"),
)

inbox = Table(
    "inbox",
    metadata,
    # To-device messages for others than this machine, until they say that they are done.
    Column("message_id", Text, primary_key=True),
    Column("rank", BigInteger, nullable=False),
    Column("sealed", Text, nullable=False),
)

secret = Table(
    "secret",
    metadata,
    Column("name", Text, primary_key=True),
    Column("sealed", Text, nullable=False),
)
