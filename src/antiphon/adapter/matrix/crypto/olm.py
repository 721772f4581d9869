"""Olm: messages from one device to another. What was decrypted is checked against all that the
specification names before anybody sees it (spec: "m.olm.v1.curve25519-aes-sha2").

Functions over a Connection; a ratchet that moved is in the running transaction."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import msgspec
import vodozemac
from sqlalchemy import Connection

from antiphon.adapter.matrix.crypto import pickles
from antiphon.adapter.matrix.crypto.device_keys import signed_by_itself
from antiphon.adapter.matrix.crypto.names import is_curve25519, is_ed25519
from antiphon.adapter.matrix.crypto.store import account, devices, olm_sessions, users
from antiphon.adapter.matrix.crypto.store.devices import Device
from antiphon.adapter.matrix.crypto.store.olm_sessions import OlmRow
from antiphon.adapter.matrix.crypto.values import OLM, Me, Problem
from antiphon.adapter.matrix.crypto.vault import Vault
from antiphon.adapter.matrix.transport import json_body

PRE_KEY = 0
REBUILD_MS = 3_600_000
"""A session with a device is not begun anew more often than this, milliseconds (spec)."""


class Opened(msgspec.Struct, frozen=True):
    """A message that was decrypted and checked. `device` is the sender's, None where we don't know
    it (yet): then only the homeserver says that `sender` is its owner."""

    type: str
    content: dict[str, Any]
    sender: str
    sender_key: str
    sender_ed25519: str
    device: Device | None


class Failed(msgspec.Struct, frozen=True):
    """One that was not. `wedged`: the ratchets of the two sides have parted."""

    problem: Problem
    wedged: bool = False
    sender_key: str = ""


def decrypt(
    connection: Connection, vault: Vault, me: Me, sender: str, content: Mapping[str, Any]
) -> Opened | Failed:
    """Opens an `m.room.encrypted` to-device message of `sender`. Never raises because of what is
    in it."""

    def failed(code: str, detail: str) -> Failed:
        return Failed(Problem(code, detail, sender))

    sender_key = content.get("sender_key")
    ciphertexts = content.get("ciphertext")
    if content.get("algorithm") != OLM:
        return failed("unknown_algorithm", "a to-device message is encrypted in no known way")
    if not is_curve25519(sender_key) or not isinstance(ciphertexts, dict):
        return failed("malformed", "an Olm message has no sender key or no ciphertext")
    if sender_key == me.curve25519:
        return failed("malformed", "an Olm message that says it comes from this device")
    ours = ciphertexts.get(me.curve25519)
    if not isinstance(ours, dict):
        return failed("not_for_us", "an Olm message is for another device")
    message = _message(ours)
    if message is None:
        return failed("malformed", "an Olm message is malformed")
    plaintext = _plaintext(connection, vault, sender_key, message)
    if isinstance(plaintext, str):
        device = devices.by_key(connection, sender, sender_key)
        name = "" if device is None else device.device_id
        return Failed(Problem("undecryptable", plaintext, sender, name), True, sender_key)
    return _checked(connection, me, sender, sender_key, plaintext)


def _message(ours: Mapping[str, Any]) -> vodozemac.AnyOlmMessage | None:
    kind, body = ours.get("type"), ours.get("body")
    if kind not in (0, 1) or isinstance(kind, bool) or not isinstance(body, str):
        return None
    try:
        raw = base64.b64decode(body + "=" * (-len(body) % 4), validate=True)
        return vodozemac.AnyOlmMessage.from_parts(int(kind), raw)
    except (ValueError, binascii.Error):
        return None


def _plaintext(
    connection: Connection, vault: Vault, sender_key: str, message: vodozemac.AnyOlmMessage
) -> bytes | str:
    """The plaintext, or why there is none. The session that read it is kept as it is now."""
    pre_key = message.to_pre_key() if message.to_parts()[0] == PRE_KEY else None
    for row in olm_sessions.of(connection, sender_key):
        if pre_key is not None and row.session_id != pre_key.session_id():
            continue
        session = pickles.open_session(vault, row.pickle)
        try:
            plaintext = session.decrypt(message)
        except ValueError as error:
            if pre_key is not None:
                return f"its session can't read it: {error}"
            continue
        _keep(connection, vault, sender_key, session)
        return plaintext
    if pre_key is None:
        return "no session with its device can read it"
    opened = pickles.open_account(connection, vault)
    try:
        session, plaintext = opened.create_inbound_session(
            vodozemac.Curve25519PublicKey.from_base64(sender_key), pre_key
        )
    except ValueError as error:
        return f"no session can be made of it: {error}"
    pickles.save_account(connection, vault, opened)  # the one-time key is used up
    _keep(connection, vault, sender_key, session)
    olm_sessions.prune(connection, sender_key)
    return plaintext


def _keep(
    connection: Connection, vault: Vault, sender_key: str, session: vodozemac.Session
) -> None:
    rank = account.next_rank(connection)
    row = OlmRow(sender_key, session.session_id, session.pickle(vault.pickle_key), rank)
    olm_sessions.save(connection, [row])


def _checked(
    connection: Connection, me: Me, sender: str, sender_key: str, plaintext: bytes
) -> Opened | Failed:
    """The decrypted message, if everything in it is as it must be."""

    def failed(code: str, detail: str, device: str = "") -> Failed:
        return Failed(Problem(code, detail, sender, device))

    try:
        payload = json_body.decode(plaintext)
    except json_body.NotJsonError:
        return failed("malformed", "an Olm message holds no JSON")
    match payload:
        case {
            "type": str(kind),
            "content": dict(content),
            "sender": str(named_sender),
            "recipient": str(recipient),
            "recipient_keys": {"ed25519": str(recipient_key)},
            "keys": {"ed25519": str(sender_ed25519)},
        } if is_ed25519(sender_ed25519):
            pass
        case _:
            return failed("malformed", "an Olm message lacks what it must hold")
    if named_sender != sender:
        return failed("wrong_sender", "an Olm message was written by another user than its sender")
    if recipient != me.user_id or recipient_key != me.ed25519:
        return failed("wrong_recipient", "an Olm message was written for somebody else")
    for name in ("sender_device_keys", "org.matrix.msc4147.device_keys"):
        if name not in payload:
            continue
        claimed = signed_by_itself(payload[name], sender)
        keys = None if claimed is None else (claimed.curve25519, claimed.ed25519)
        if keys != (sender_key, sender_ed25519):
            return failed("wrong_sender_key", "an Olm message brings false keys of its device")
    device = devices.by_key(connection, sender, sender_key)
    if device is not None and device.ed25519 != sender_ed25519:
        return failed("wrong_sender_key", "an Olm message names a false key", device.device_id)
    return Opened(kind, content, sender, sender_key, sender_ed25519, device)


def wedge(connection: Connection, sender: str, sender_key: str, now_ms: int) -> bool:
    """Notes that a device needs a new session. Whether it does now: not again within an hour, and
    never for somebody with whom we share no encrypted room."""
    user = users.of(connection, [sender]).get(sender)
    if user is None or not user.tracked:
        return False
    peer = olm_sessions.Peer(sender, sender_key)
    before = olm_sessions.rebuilt_ms(connection, peer)
    if before is not None and abs(now_ms - before) < REBUILD_MS:
        return False
    olm_sessions.set_wedged(connection, peer, True, now_ms)
    return True
