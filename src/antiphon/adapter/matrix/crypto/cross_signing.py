"""Our own cross-signing keys: made, published, and what they sign (specification, "Cross-signing").
No I/O; other people's keys are judged in `identity.py`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from antiphon.adapter.matrix.crypto import unpadded
from antiphon.adapter.matrix.crypto.canonical import NotCanonicalError, signable, signed
from antiphon.adapter.matrix.crypto.identity import Identity, key_id, only_key
from antiphon.adapter.matrix.crypto.recovery_key import KEY_BYTES, RandomBytes
from antiphon.errors import EncryptionError

Sign = Callable[[bytes], str]
"""Gives the unpadded base64 of a signature of bytes."""


class SigningKey(msgspec.Struct, frozen=True):
    """An Ed25519 key pair from its 32-byte `seed`, which is what is kept and stored."""

    seed: bytes
    public: str

    def __repr__(self) -> str:
        return f"SigningKey(public={self.public!r})"

    @property
    def id(self) -> str:
        """Its key id: a cross-signing key is named by itself."""
        return key_id(self.public)

    def sign(self, message: bytes) -> str:
        """The signature of `message`, in unpadded base64."""
        return unpadded.encode(Ed25519PrivateKey.from_private_bytes(self.seed).sign(message))


def signing_key(seed: bytes) -> SigningKey:
    """The key pair of `seed`.

    Raises:
        EncryptionError: it has not 32 bytes.
    """
    if len(seed) != KEY_BYTES:
        raise EncryptionError(f"A cross-signing key has {KEY_BYTES} bytes.")
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    return SigningKey(seed, unpadded.encode(public))


class CrossSigningKeys(msgspec.Struct, frozen=True):
    """All three key pairs of `user_id`."""

    user_id: str
    master: SigningKey
    self_signing: SigningKey
    user_signing: SigningKey


def new_cross_signing_keys(
    user_id: str, random: RandomBytes = secrets.token_bytes
) -> CrossSigningKeys:
    """New keys at random: made once for an account, and for a reset that somebody asked for."""
    master, self_signing, user_signing = (signing_key(random(KEY_BYTES)) for _ in range(3))
    return CrossSigningKeys(user_id, master, self_signing, user_signing)


def from_seeds(
    user_id: str, master: bytes, self_signing: bytes, user_signing: bytes
) -> CrossSigningKeys:
    """The keys of seeds that come from the store or from secret storage.

    Whether they are the published ones is asked by `are_published`.

    Raises:
        EncryptionError: a seed has not 32 bytes.
    """
    return CrossSigningKeys(
        user_id, signing_key(master), signing_key(self_signing), signing_key(user_signing)
    )


def are_published(keys: CrossSigningKeys, identity: Identity | None) -> bool:
    """Whether `identity`, our own as the homeserver gives it, is of these very keys."""
    if identity is None or identity.user_id != keys.user_id:
        return False
    return (identity.master, identity.self_signing, identity.user_signing) == (
        keys.master.public,
        keys.self_signing.public,
        keys.user_signing.public,
    )


def signing_keys_upload(
    keys: CrossSigningKeys, device_id: str | None = None, sign: Sign | None = None
) -> dict[str, Any]:
    """Body of POST /keys/device_signing/upload: what it publishes for the first time needs no
    password again on most homeservers (MSC3967; FACTS: Synapse).

    With `device_id` and its `sign`, the device signs the master key too, which tells our own other
    devices that had verified this one."""
    master = _public(keys, keys.master, "master")
    if device_id is not None and sign is not None:
        master = signed(master, keys.user_id, key_id(device_id), sign)
    body: dict[str, Any] = {"master_key": master}
    for usage, key in (("self_signing", keys.self_signing), ("user_signing", keys.user_signing)):
        public = _public(keys, key, usage)
        body[f"{usage}_key"] = signed(public, keys.user_id, keys.master.id, keys.master.sign)
    return body


def sign_device(
    keys: CrossSigningKeys, device_keys: Mapping[str, Any], device_key: str | None = None
) -> dict[str, Any]:
    """Body of POST /keys/signatures/upload by which our self-signing key signs one of our own
    devices.

    Args:
        keys: our keys.
        device_keys: as this process made them for its own device, or as /keys/query gave them.
        device_key: the Ed25519 key that was verified; needed wherever the homeserver gave the keys.

    Raises:
        EncryptionError: it is somebody else's device, one with another key, or malformed.
    """
    device_id, public = device_keys.get("device_id"), device_keys.get("keys")
    if device_keys.get("user_id") != keys.user_id or not isinstance(device_id, str):
        raise EncryptionError("A device is signed only by its own account.")
    given = public.get(key_id(device_id)) if isinstance(public, dict) else None
    if given is None or device_key not in (None, given):
        raise EncryptionError("The device has another key than the one that is to be signed.")
    return _upload(keys.user_id, device_id, device_keys, keys.user_id, keys.self_signing)


def sign_user(
    keys: CrossSigningKeys, their_master_key: Mapping[str, Any], verified: str
) -> dict[str, Any]:
    """Body of POST /keys/signatures/upload by which our user-signing key signs another person's
    master key.

    Args:
        keys: our keys.
        their_master_key: as /keys/query gave it.
        verified: the public master key that was verified (`Verified.master_key`).

    Raises:
        EncryptionError: it is no other person's master key, or another one than was verified.
    """
    user_id = their_master_key.get("user_id")
    if not isinstance(user_id, str) or user_id == keys.user_id:
        raise EncryptionError("This is no master key of another person.")
    public = only_key(their_master_key, user_id, "master")
    if public is None or public != verified:
        raise EncryptionError("This is no master key of another person.")
    return _upload(user_id, public, their_master_key, keys.user_id, keys.user_signing)


def sign_own_master(
    keys: CrossSigningKeys, master_key: Mapping[str, Any], device_id: str, sign: Sign
) -> dict[str, Any]:
    """Body of POST /keys/signatures/upload by which the own device signs our master key.

    Raises:
        EncryptionError: it is not our master key.
    """
    if only_key(master_key, keys.user_id, "master") != keys.master.public:
        raise EncryptionError("This is not the account's own master key.")
    bare = {name: value for name, value in master_key.items() if name != "signatures"}
    return {keys.user_id: {keys.master.public: signed(bare, keys.user_id, key_id(device_id), sign)}}


def _public(keys: CrossSigningKeys, key: SigningKey, usage: str) -> dict[str, Any]:
    return {"user_id": keys.user_id, "usage": [usage], "keys": {key.id: key.public}}


def _upload(
    user_id: str, name: str, value: Mapping[str, Any], signer: str, key: SigningKey
) -> dict[str, Any]:
    """The object with this one signature: the homeserver adds it to those it has."""
    try:
        signature = key.sign(signable(value))
    except NotCanonicalError as error:
        raise EncryptionError(f"The keys of {user_id} can't be signed: {error}.") from error
    bare = {key: item for key, item in value.items() if key not in ("signatures", "unsigned")}
    return {user_id: {name: bare | {"signatures": {signer: {key.id: signature}}}}}
