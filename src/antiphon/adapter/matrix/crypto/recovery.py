"""What a recovery key opens: our cross-signing keys and the backup's key, as account data on the
homeserver. No I/O: contents in and out; `secret_storage.py` knows the encryption.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import msgspec

from antiphon.adapter.matrix.crypto import secret_storage as storage
from antiphon.adapter.matrix.crypto.cross_signing import (
    CrossSigningKeys,
    SigningKey,
    from_seeds,
)
from antiphon.adapter.matrix.crypto.key_backup import BackupKey, backup_key
from antiphon.adapter.matrix.crypto.recovery_key import RandomBytes
from antiphon.adapter.matrix.crypto.secret_storage import StorageKey

SECRETS = (*storage.CROSS_SIGNING, storage.BACKUP)
"""The account data that is read before `recover`, beside the default key and its description."""


class Recovered(msgspec.Struct, frozen=True):
    """What was found; None for what is not kept there (all three cross-signing keys or none)."""

    keys: CrossSigningKeys | None
    backup: BackupKey | None


def to_store(
    key: StorageKey,
    keys: CrossSigningKeys | None,
    backup: BackupKey | None,
    *,
    new: bool,
    random: RandomBytes = secrets.token_bytes,
) -> dict[str, dict[str, Any]]:
    """Account data type → content, to be put in this order.

    With `new`, the storage itself too; it becomes the default at last, so that one that was cut off
    half way is nobody's.

    Raises:
        EncryptionError: no check value proved the key of a storage that others made.
    """
    contents: dict[str, dict[str, Any]] = {}
    if new:
        contents[storage.key_type(key.key_id)] = storage.describe(key, random=random)
    for name, value in _named(keys, backup).items():
        contents[name] = storage.encrypt_key(key, name, value, random)
    if new:
        contents[storage.DEFAULT_KEY_TYPE] = storage.default_key_content(key.key_id)
    return contents


def recover(key: StorageKey, user_id: str, contents: Mapping[str, object]) -> Recovered:
    """What `contents` (account data type → content, of `SECRETS`) keep under `key`.

    Whether the cross-signing keys are the published ones is asked by `are_published`, whether the
    backup's key is its, by `judge_version`.

    Raises:
        EncryptionError: one of them is malformed or was changed.
    """
    found = {name: storage.decrypt_key(key, name, contents.get(name)) for name in SECRETS}
    seeds = [seed for name in storage.CROSS_SIGNING if (seed := found[name]) is not None]
    backup = found[storage.BACKUP]
    return Recovered(
        keys=from_seeds(user_id, *seeds) if len(seeds) == len(storage.CROSS_SIGNING) else None,
        backup=None if backup is None else backup_key(backup),
    )


def _named(keys: CrossSigningKeys | None, backup: BackupKey | None) -> dict[str, bytes]:
    named: dict[str, bytes] = {}
    if keys is not None:
        pairs: tuple[SigningKey, ...] = (keys.master, keys.self_signing, keys.user_signing)
        named = {name: pair.seed for name, pair in zip(storage.CROSS_SIGNING, pairs, strict=True)}
    if backup is not None:
        named[storage.BACKUP] = backup.private
    return named
