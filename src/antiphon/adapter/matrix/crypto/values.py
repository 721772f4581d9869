"""What goes in and out of the machine, as values. No behaviour, no I/O."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

OLM = "m.olm.v1.curve25519-aes-sha2"
MEGOLM = "m.megolm.v1.aes-sha2"

Trust = Literal[
    "own",
    "cross-signed",
    "unsigned",
    "changed-identity",
    "unknown-device",
    "forwarded",
    "backup",
]
"""What is known of who wrote a message: ourselves; a device that its owner's identity signed; one
that it did not sign; one whose owner has another identity than before, which vouches for nothing
until a person here has compared it; one that we don't know (yet); and, where nobody vouches for the
key, one that was forwarded or came from the key backup: then only the homeserver says who wrote."""

Reason = Literal[
    "no_key",
    "withheld",
    "bad_mac",
    "replay",
    "unknown_algorithm",
    "wrong_room",
    "wrong_sender",
    "malformed",
]
"""Why a message can't be read."""


class Me(msgspec.Struct, frozen=True):
    """This device: its names and public identity keys (base64)."""

    user_id: str
    device_id: str
    ed25519: str
    curve25519: str


class Problem(msgspec.Struct, frozen=True):
    """Something that was skipped or refused: `code` for programs, `detail` for a log line. It never
    holds keys or text of a message."""

    code: str
    detail: str
    user_id: str = ""
    device_id: str = ""


class ToDevice(msgspec.Struct, frozen=True):
    """A to-device message for somebody else than the machine. `message_id` is for saying that it is
    done. It was `encrypted` for us by the device of identity key `sender_key`, whose Ed25519 key is
    `sender_ed25519`; `device_id` names that device where we know it. A clear one proves nothing but
    what the homeserver says of its sender."""

    message_id: str
    type: str
    content: dict[str, Any]
    sender: str
    encrypted: bool = False
    sender_key: str = ""
    sender_ed25519: str = ""
    device_id: str = ""


class NewKey(msgspec.Struct, frozen=True, order=True):
    """A session of a room that can be read now, or from an earlier message on, or of which it is
    known now why it can't."""

    room_id: str
    session_id: str


class Received(msgspec.Struct, frozen=True):
    """What a sync response brought. `wedged` are devices (user and identity key) for which a new
    Olm session is owed now; `renewed` are people a device of whom gets its keys once more."""

    messages: tuple[ToDevice, ...] = ()
    keys: tuple[NewKey, ...] = ()
    withheld: tuple[NewKey, ...] = ()
    wedged: tuple[tuple[str, str], ...] = ()
    problems: tuple[Problem, ...] = ()
    renewed: tuple[str, ...] = ()


class ChangedIdentity(msgspec.Struct, frozen=True):
    """A person's identity: `master` is another than `pinned`, which people know, until somebody
    has said so and `accept_identity` was called."""

    user_id: str
    pinned: str
    master: str


class Queried(msgspec.Struct, frozen=True):
    """What an answer about keys changed. `changed` are identities that are new to people."""

    added: tuple[tuple[str, str], ...] = ()
    deleted: tuple[tuple[str, str], ...] = ()
    changed: tuple[ChangedIdentity, ...] = ()
    problems: tuple[Problem, ...] = ()


class Decrypted(msgspec.Struct, frozen=True):
    """A message that was read. `device_id` is the sender's, empty where it isn't known; where
    `trust` is `backup` or `forwarded` it is a claim only. `looked_up`: the sender's devices are
    known as of now; else a look at them may change `trust`."""

    type: str
    content: dict[str, Any]
    sender: str
    trust: Trust
    device_id: str
    session_id: str
    sender_key: str
    index: int
    looked_up: bool = True


class Unreadable(msgspec.Struct, frozen=True):
    """A message that can't be read. `code`: of `withheld`, what the sender said; `session_id` and
    `sender_key` are empty where the event does not name them. `may_pass`: a key that comes later
    may make it readable (what we know of its session is not from its sender)."""

    reason: Reason
    detail: str = ""
    code: str = ""
    session_id: str = ""
    sender_key: str = ""
    may_pass: bool = False


class RoomSettings(msgspec.Struct, frozen=True):
    """How a room is encrypted: of its `m.room.encryption` the milliseconds and the messages after
    which a session is replaced; and whether only devices get it that their owner's identity
    signed."""

    rotation_period_ms: int = 604_800_000
    rotation_period_msgs: int = 100
    only_cross_signed: bool = False


class GroupPlan(msgspec.Struct, frozen=True):
    """What stands between a room's session and everybody having it. `claim`: devices by user that
    need a one-time key; `share`: how many have an Olm session and lack the key; `withhold`: how
    many are to be told that they don't get it. `rotated` says why the session is new; at
    `ends_ms` it is to be replaced."""

    session_id: str
    ready: bool
    ends_ms: int
    rotated: str = ""
    claim: dict[str, list[str]] = {}
    share: int = 0
    withhold: int = 0
    missing: tuple[Problem, ...] = ()


class Encrypted(msgspec.Struct, frozen=True):
    """The content of an `m.room.encrypted` event; `spent`: the session is to be replaced next."""

    content: dict[str, Any]
    spent: bool


class Batch(msgspec.Struct, frozen=True):
    """To-device messages to send in one request. `messages` is user → device → content; `names` are
    the devices with their identity keys, for marking; `code` empty for a key, else why none."""

    type: str
    messages: dict[str, dict[str, dict[str, Any]]]
    room_id: str
    session_id: str
    index: int
    names: tuple[tuple[str, str, str], ...]
    code: str = ""


class Settled(msgspec.Struct, frozen=True):
    """What `settle` found out. `changed` are identities that are new to people; `problems` what was
    refused."""

    changed: tuple[ChangedIdentity, ...] = ()
    problems: tuple[Problem, ...] = ()


class Ready(msgspec.Struct, frozen=True):
    """A room into which can be written. `rotated` says why its session is new, if it is; `missing`
    are devices that can't read what is written next, and why; `changed` as in Settled."""

    session_id: str
    rotated: str = ""
    missing: tuple[Problem, ...] = ()
    changed: tuple[ChangedIdentity, ...] = ()
    problems: tuple[Problem, ...] = ()
