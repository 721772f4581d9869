"""Cross-signing identities as the homeserver gives them, and what their signatures prove
(specification, "Cross-signing" and "Key and signature security"). No I/O.

The homeserver can give any keys it likes: whoever reads an identity compares its master key with
the one that was known before (`compare`), and a key is always meant by its public part, never by
its id alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

import msgspec

from antiphon.adapter.matrix.crypto import unpadded
from antiphon.adapter.matrix.crypto.canonical import is_signed


class Identity(msgspec.Struct, frozen=True):
    """A user's public cross-signing keys (base64), each proved by the master key.

    `user_signing` is seen of our own account only. `master_key` is the object as it was given,
    with its signatures."""

    user_id: str
    master: str
    self_signing: str | None
    user_signing: str | None
    master_key: Mapping[str, Any]


class Change(StrEnum):
    """What became of a user's master key."""

    NONE = "none"  # neither before nor now
    NEW = "new"
    SAME = "same"
    CHANGED = "changed"  # to be said plainly, before anything else is sent to them
    GONE = "gone"


def key_id(name: str) -> str:
    """`ed25519:NAME`, of a device's id or a cross-signing key's public part."""
    return f"ed25519:{name}"


def only_key(raw: object, user_id: str, usage: str) -> str | None:
    """The public key in a cross-signing key object of `user_id` for `usage`; None where it is
    malformed: another user or usage, several keys, or a key under another's name."""
    if not isinstance(raw, dict) or raw.get("user_id") != user_id:
        return None
    usages, keys = raw.get("usage"), raw.get("keys")
    if not isinstance(usages, list) or usage not in usages:
        return None
    if not isinstance(keys, dict) or len(keys) != 1:
        return None
    [(name, public)] = keys.items()
    if unpadded.decode(public, 32) is None or name != key_id(public) or public.endswith("="):
        return None
    return str(public)


def read_identity(
    user_id: str, master_key: object, self_signing_key: object, user_signing_key: object = None
) -> Identity | None:
    """The identity of `user_id` in the parts of a /keys/query answer (`master_keys[user_id]` and so
    on; None where absent). None without a sound master key; a subkey that the master key has not
    signed is left out."""
    master = only_key(master_key, user_id, "master")
    if master is None or not isinstance(master_key, dict):
        return None
    return Identity(
        user_id=user_id,
        master=master,
        self_signing=_subkey(user_id, master, self_signing_key, "self_signing"),
        user_signing=_subkey(user_id, master, user_signing_key, "user_signing"),
        master_key=master_key,
    )


def compare(known_master: str | None, now: Identity | None) -> Change:
    """What became of the master key that was known before."""
    if known_master is None:
        return Change.NONE if now is None else Change.NEW
    if now is None:
        return Change.GONE
    return Change.SAME if now.master == known_master else Change.CHANGED


def device_is_signed(identity: Identity, device_keys: Mapping[str, Any]) -> bool:
    """Whether the chain device ← self-signing key ← master key holds for a device as /keys/query
    gave it. That the device signed itself is the device list's business."""
    if identity.self_signing is None or device_keys.get("user_id") != identity.user_id:
        return False
    device_id = device_keys.get("device_id")
    if not isinstance(device_id, str) or collides(identity, [device_id]):
        return False
    signing = identity.self_signing
    return is_signed(device_keys, identity.user_id, key_id(signing), signing)


def user_is_verified(own: Identity, own_master: str, theirs: Identity) -> bool:
    """Whether our user-signing key has signed their master key.

    `own_master` is the public master key that we know to be ours (its private part is in our store,
    or it was verified): the homeserver's word for it proves nothing."""
    if own.master != own_master:
        return False
    if theirs.user_id == own.user_id:
        return theirs.master == own_master
    if own.user_signing is None:
        return False
    signing = own.user_signing
    return is_signed(theirs.master_key, own.user_id, key_id(signing), signing)


def master_is_signed_by_device(identity: Identity, device_id: str, device_key: str) -> bool:
    """Whether one of the user's own devices has signed their master key."""
    return is_signed(identity.master_key, identity.user_id, key_id(device_id), device_key)


def collides(identity: Identity, device_ids: Iterable[str]) -> bool:
    """Whether a device carries the name of a cross-signing key, as only a hostile homeserver makes
    them: such a user must not be verified."""
    names = {identity.master, identity.self_signing, identity.user_signing}
    return any(device_id in names for device_id in device_ids)


def _subkey(user_id: str, master: str, raw: object, usage: str) -> str | None:
    public = only_key(raw, user_id, usage)
    if public is None or public == master or not isinstance(raw, dict):
        return None
    return public if is_signed(raw, user_id, key_id(master), master) else None
