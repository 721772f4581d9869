"""What the independent client of the tests reports: messages with their shields, devices, trust,
verifications. Plain values; the names are the client's own (`tests/js_client`)."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Shield = Literal["none", "grey", "red"]


class JsEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event as the SDK has it after trying to decrypt it.

    `type` and `content` are what was decrypted, `wire_type` and `wire_content` what the homeserver
    has. `failure` is the SDK's code why it can't be read (`MEGOLM_UNKNOWN_INBOUND_SESSION_ID`, …).
    `shield` and `shield_reason` (`unsigned_device`, `unverified_identity`, …) are what a client
    draws beside it."""

    event_id: str
    sender: str
    type: str
    state_key: str | None
    content: dict[str, Any]
    wire_type: str
    wire_content: dict[str, Any]
    sent_ms: int
    encrypted: bool
    redacted: bool
    failure: str | None
    txn_id: str | None
    shield: Shield
    shield_reason: str | None

    @property
    def session_id(self) -> str | None:
        """The Megolm session that it was encrypted with."""
        found = self.wire_content.get("session_id")
        return found if isinstance(found, str) else None


class JsMessage(JsEvent, frozen=True, kw_only=True):
    """A message as a person sees it: `body` and `content` with the winning edit applied, which is
    `edit`. `texts`: its first text and that of each edit that can be read, oldest first."""

    body: str
    texts: tuple[str, ...]
    edit: JsEvent | None
    unreadable_edits: int

    @property
    def edits(self) -> int:
        """How often it was edited."""
        return max(0, len(self.texts) - 1) + self.unreadable_edits

    @property
    def notice(self) -> bool:
        """Whether it is a notice."""
        return self.content.get("msgtype") == "m.notice"

    @property
    def readable(self) -> bool:
        """Whether it and all of its edits could be decrypted."""
        return self.failure is None and self.unreadable_edits == 0

    def __str__(self) -> str:
        if self.redacted:
            text = "(redacted)"
        else:
            text = repr(self.body[:200]) if self.failure is None else f"({self.failure})"
        lock = "encrypted" if self.encrypted else "plain"
        more = f", {self.edits} edits" if self.edits else ""
        return f"{self.sender}: {text} [{lock}, {self.shield} {self.shield_reason or ''}{more}]"


class JsRead(msgspec.Struct, frozen=True):
    """What was inside of an encrypted event."""

    type: str
    content: dict[str, Any]


class JsLogin(msgspec.Struct, frozen=True):
    """Who is logged in, with the device's public keys and the name of the crypto's version."""

    user_id: str
    device_id: str
    ed25519: str
    curve25519: str
    version: str


class JsDevice(msgspec.Struct, frozen=True):
    """A device of somebody. `signed_by_owner`: its owner's cross-signing keys vouch for it;
    `verified`: this client trusts it."""

    device_id: str
    name: str | None
    ed25519: str | None
    curve25519: str | None
    signed_by_owner: bool
    cross_signing_verified: bool
    locally_verified: bool
    verified: bool


class JsIdentity(msgspec.Struct, frozen=True):
    """Somebody's cross-signing identity. `needs_approval`: it changed, and a client warns."""

    has_keys: bool
    known: bool
    verified: bool
    was_verified: bool
    needs_approval: bool


class JsOwnTrust(msgspec.Struct, frozen=True):
    """How this device's own encryption stands."""

    cross_signing_ready: bool
    secret_storage_ready: bool
    backup_version: str | None
    backup_trusted: bool
    backup_matches_key: bool


class JsRestored(msgspec.Struct, frozen=True):
    """How many room keys a backup had, and how many came from it."""

    total: int
    imported: int


class JsEmoji(msgspec.Struct, frozen=True):
    symbol: str
    name: str


class JsVerification(msgspec.Struct, frozen=True):
    """How a verification stands. `phase`: unsent, requested, ready, started, cancelled, done."""

    id: str
    phase: str
    other_user: str
    other_device: str | None
    room: str | None
    by_me: bool
    emoji: tuple[JsEmoji, ...]
    decimals: tuple[int, ...]
    cancel_code: str | None
    cancelled_by: str | None
    error: str | None

    @property
    def over(self) -> bool:
        return self.phase in ("cancelled", "done")
