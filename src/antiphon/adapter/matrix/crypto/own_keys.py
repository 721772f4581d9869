"""Our own keys for the homeserver: device keys, one-time keys and fallback keys, as `/keys/upload`
takes them. What was made and not confirmed is offered again, the same; nothing is made twice."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import vodozemac
from sqlalchemy import Connection

from antiphon.adapter.matrix.crypto.canonical import signed
from antiphon.adapter.matrix.crypto.pickles import open_account, save_account, with_fallback
from antiphon.adapter.matrix.crypto.store import account
from antiphon.adapter.matrix.crypto.values import MEGOLM, OLM, Me
from antiphon.adapter.matrix.crypto.vault import Vault

CURVE = "signed_curve25519"
TARGET = 25
"""One-time keys that should wait at the homeserver: half of what an account publishes at most."""


def me_of(user_id: str, device_id: str, opened: vodozemac.Account) -> Me:
    """This device's names and public keys."""
    return Me(user_id, device_id, opened.ed25519_key.to_base64(), opened.curve25519_key.to_base64())


def device_keys(me: Me, opened: vodozemac.Account) -> dict[str, Any]:
    """Our device keys, signed by the device."""
    body = {
        "user_id": me.user_id,
        "device_id": me.device_id,
        "algorithms": [OLM, MEGOLM],
        "keys": {
            f"curve25519:{me.device_id}": me.curve25519,
            f"ed25519:{me.device_id}": me.ed25519,
        },
    }
    return signed_by(me, opened, body)


def lacking(counts: Mapping[str, int], unused_fallback: Collection[str] | None) -> bool:
    """Whether the homeserver has less of our keys than it should, by its own count.

    `counts` that do not name our algorithm say nothing, nor does None for `unused_fallback`."""
    return counts.get(CURVE, TARGET) < TARGET or (
        unused_fallback is not None and CURVE not in unused_fallback
    )


def stock_up(
    connection: Connection,
    vault: Vault,
    counts: Mapping[str, int],
    unused_fallback: Collection[str] | None,
) -> bool:
    """Makes what the homeserver lacks by its own count (`lacking`): one-time keys up to TARGET, and
    a new fallback key where the last was used. Whether anything is to be uploaded."""
    opened = open_account(connection, vault)
    there = counts.get(CURVE)
    wanted = 0
    if there is not None:
        wanted = TARGET - there - len(opened.one_time_keys)
    if wanted > 0:
        opened.generate_one_time_keys(wanted)
    fallback = with_fallback(opened)
    used = unused_fallback is not None and CURVE not in unused_fallback
    if used and not fallback.fallback_key:
        fallback.generate_fallback_key()
    elif wanted <= 0:
        return bool(opened.one_time_keys or fallback.fallback_key)
    save_account(connection, vault, opened)
    return True


def upload(connection: Connection, vault: Vault, me: Me) -> dict[str, Any] | None:
    """The body of the next `/keys/upload`; None where nothing is owed. The first one has
    everything, also where the homeserver has not said yet what it lacks."""
    first = not account.device_uploaded(connection)
    if first:
        stock_up(connection, vault, {CURVE: 0}, ())
    opened = open_account(connection, vault)
    body: dict[str, Any] = {}
    if first:
        body["device_keys"] = device_keys(me, opened)
    one_time = {
        f"{CURVE}:{key_id}": signed_by(me, opened, {"key": key.to_base64()})
        for key_id, key in opened.one_time_keys.items()
    }
    fallback = {
        f"{CURVE}:{key_id}": signed_by(me, opened, {"key": key.to_base64(), "fallback": True})
        for key_id, key in with_fallback(opened).fallback_key.items()
    }
    if one_time:
        body["one_time_keys"] = one_time
    if fallback:
        body["fallback_keys"] = fallback
    return body or None


def is_owed(connection: Connection, vault: Vault) -> bool:
    """Whether there is something to upload."""
    if not account.device_uploaded(connection):
        return True
    opened = open_account(connection, vault)
    return bool(opened.one_time_keys or with_fallback(opened).fallback_key)


def uploaded(
    connection: Connection, vault: Vault, body: Mapping[str, Any], counts: Mapping[str, int]
) -> bool:
    """The homeserver took `body` and says that it has `counts` now. Whether more is owed."""
    if "device_keys" in body:
        account.set_device_uploaded(connection, True)
    opened = open_account(connection, vault)
    sent = {*body.get("one_time_keys", ()), *body.get("fallback_keys", ())}
    ours = {*opened.one_time_keys, *with_fallback(opened).fallback_key}
    if {f"{CURVE}:{key_id}" for key_id in ours} <= sent:
        opened.mark_keys_as_published()
        save_account(connection, vault, opened)
    return stock_up(connection, vault, counts, None)


def give_up(connection: Connection, vault: Vault) -> None:
    """The homeserver has other keys under these ids (it remembers what an older copy of this store
    had made): they are never offered again, and others take their place."""
    opened = open_account(connection, vault)
    lost = len(opened.one_time_keys)
    fallback = with_fallback(opened)
    again = bool(fallback.fallback_key)
    opened.mark_keys_as_published()
    opened.generate_one_time_keys(lost)
    if again:
        fallback.generate_fallback_key()
    save_account(connection, vault, opened)


def signed_by(me: Me, opened: vodozemac.Account, body: dict[str, Any]) -> dict[str, Any]:
    """`body` signed by the account, which is that of `me`."""
    return signed(
        body, me.user_id, f"ed25519:{me.device_id}", lambda text: opened.sign(text).to_base64()
    )
