"""To-device messages in: decrypted, checked, and what concerns room keys taken in. Each by itself:
one that is malformed or forged is a Problem and stops no other. A function over a Connection."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection

from antiphon.adapter.matrix.crypto import olm, room_keys
from antiphon.adapter.matrix.crypto.names import is_curve25519, is_name
from antiphon.adapter.matrix.crypto.store import account, inbox, seen, shares, withheld
from antiphon.adapter.matrix.crypto.values import (
    Me,
    NewKey,
    Problem,
    Received,
    ToDevice,
)
from antiphon.adapter.matrix.crypto.vault import Vault

ENCRYPTED = "m.room.encrypted"
CLEAR = ("m.key.verification.", "m.room_key_request")
"""Beginnings of the types that may come unencrypted and are passed on. (Secrets may not.)"""
SEALED = ("m.key.verification.", "m.secret.", "m.room_key_request")


class _Taken(msgspec.Struct):
    """What has been gathered so far."""

    messages: list[ToDevice] = []
    keys: list[NewKey] = []
    withheld: list[NewKey] = []
    wedged: list[tuple[str, str]] = []
    problems: list[Problem] = []
    renewed: list[str] = []


def receive(
    connection: Connection, vault: Vault, me: Me, events: Sequence[Any], now_ms: int
) -> Received:
    """Takes in the to-device messages of a sync response, in their order. What was seen before is
    skipped. Messages for others wait in the inbox until they are done with."""
    taken = _Taken()
    digests = [_digest(event) for event in events]
    known = seen.known(connection, [digest for digest in digests if digest])
    fresh: list[str] = []
    for event, digest in zip(events, digests, strict=True):
        if digest in known:
            continue
        if not digest:
            taken.problems.append(Problem("malformed", "a to-device message is malformed"))
            continue
        known.add(digest)
        fresh.append(digest)
        _take(connection, vault, me, event, digest, now_ms, taken)
    if fresh:
        seen.add(connection, fresh, account.next_rank(connection))
    return Received(
        tuple(taken.messages),
        tuple(dict.fromkeys(taken.keys)),
        tuple(dict.fromkeys(taken.withheld)),
        tuple(taken.wedged),
        tuple(taken.problems),
        tuple(taken.renewed),
    )


def senders(events: Sequence[Any]) -> set[str]:
    """Who sent encrypted ones: with a device of theirs there may be an Olm session now."""
    found: set[str] = set()
    for event in events:
        match event:
            case {"type": str(kind), "sender": str(sender)} if kind == ENCRYPTED:
                found.add(sender)
    return found


def _digest(event: Any) -> str:
    """What an event is known again by; empty where it is malformed. Of an Olm message it is the
    ciphertext, so that a changed envelope does not make it another."""
    match event:
        case {"type": str(kind), "sender": str(sender), "content": dict(content)} if is_name(
            kind
        ) and is_name(sender):
            pass
        case _:
            return ""
    what: Any = content
    if kind == ENCRYPTED and isinstance(content.get("ciphertext"), dict):
        what = [content.get("sender_key"), content["ciphertext"]]
    try:
        text = json.dumps([kind, sender, what], sort_keys=True)
    except (TypeError, ValueError, RecursionError):
        return ""
    return hashlib.sha256(text.encode()).hexdigest()


def _take(
    connection: Connection,
    vault: Vault,
    me: Me,
    event: dict[str, Any],
    digest: str,
    now_ms: int,
    taken: _Taken,
) -> None:
    kind, sender, content = event["type"], event["sender"], event["content"]
    if kind == ENCRYPTED:
        opened = olm.decrypt(connection, vault, me, sender, content)
        if isinstance(opened, olm.Failed):
            taken.problems.append(opened.problem)
            if opened.wedged and olm.wedge(connection, sender, opened.sender_key, now_ms):
                taken.wedged.append((sender, opened.sender_key))
            return
        _take_opened(connection, vault, me, opened, digest, now_ms, taken)
    elif kind in ("m.room_key.withheld", "org.matrix.room_key.withheld"):
        _take_withheld(connection, sender, content, now_ms, taken)
    elif kind.startswith(CLEAR):
        _pass_on(connection, vault, ToDevice(digest, kind, content, sender), taken)
    elif kind in ("m.room_key", "m.forwarded_room_key") or kind.startswith("m.secret."):
        if kind == "m.secret.request":  # asks for something, and gives nothing away
            _pass_on(connection, vault, ToDevice(digest, kind, content, sender), taken)
        else:
            taken.problems.append(Problem("unencrypted", f"{kind} came unencrypted", sender))


def _take_opened(
    connection: Connection,
    vault: Vault,
    me: Me,
    opened: olm.Opened,
    digest: str,
    now_ms: int,
    taken: _Taken,
) -> None:
    found: NewKey | Problem | None = None
    if opened.type == "m.room_key":
        found = room_keys.room_key(connection, vault, opened, now_ms)
    elif opened.type == "m.forwarded_room_key":
        found = room_keys.forwarded_key(connection, vault, me, opened, now_ms)
    elif opened.type == "m.room_key.withheld":
        _take_withheld(connection, opened.sender, opened.content, now_ms, taken)
    elif opened.type == "m.dummy" and opened.device is not None:
        # It made a new session because it could not read us: what it was sent may be lost.
        shares.again(connection, opened.device.user_id, opened.device.device_id)
        taken.renewed.append(opened.device.user_id)
    elif opened.type.startswith(SEALED):
        message = ToDevice(
            digest,
            opened.type,
            opened.content,
            opened.sender,
            encrypted=True,
            sender_key=opened.sender_key,
            sender_ed25519=opened.sender_ed25519,
            device_id="" if opened.device is None else opened.device.device_id,
        )
        _pass_on(connection, vault, message, taken)
    if isinstance(found, NewKey):
        taken.keys.append(found)
    elif isinstance(found, Problem):
        taken.problems.append(found)


def _take_withheld(
    connection: Connection, sender: str, content: dict[str, Any], now_ms: int, taken: _Taken
) -> None:
    named = room_keys.withheld_of(content)
    if named is None:
        taken.problems.append(Problem("malformed", "m.room_key.withheld is malformed", sender))
        return
    room_id, session_id, code = named
    if room_id:
        rank = account.next_rank(connection)
        withheld.add(connection, room_id, session_id, sender, code, rank)
        taken.withheld.append(NewKey(room_id, session_id))
        return
    sender_key = content.get("sender_key")
    if is_curve25519(sender_key) and olm.wedge(connection, sender, sender_key, now_ms):
        taken.wedged.append((sender, sender_key))


def _pass_on(connection: Connection, vault: Vault, message: ToDevice, taken: _Taken) -> None:
    body = json.dumps(msgspec.to_builtins(message)).encode()  # bears what no strict encoder does
    sealed = vault.seal(message.message_id, body)
    inbox.add(connection, message.message_id, account.next_rank(connection), sealed)
    taken.messages.append(message)


def waiting(connection: Connection, vault: Vault) -> list[ToDevice]:
    """The messages that nobody has said to be done with, in the order in which they came."""
    return [
        msgspec.convert(json.loads(vault.unseal(name, sealed)), type=ToDevice)
        for name, sealed in inbox.waiting(connection)
    ]
