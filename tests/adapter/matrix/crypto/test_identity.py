"""Identities as the homeserver gives them: what is taken for one, and what became of it."""

from __future__ import annotations

from typing import Any

import pytest

from antiphon.adapter.matrix.crypto import cross_signing, identity
from antiphon.adapter.matrix.crypto.canonical import signed
from antiphon.adapter.matrix.crypto.identity import Change, Identity

ALICE = "@alice:localhost"
BOB = "@bob:example.org"
KEYS = cross_signing.new_cross_signing_keys(ALICE)
PUBLISHED = cross_signing.signing_keys_upload(KEYS)
MASTER = KEYS.master.public
SELF_SIGNING = KEYS.self_signing.public


def _found(**changes: Any) -> Identity:
    parts = PUBLISHED | changes
    read = identity.read_identity(
        ALICE, parts["master_key"], parts["self_signing_key"], parts["user_signing_key"]
    )
    assert read is not None
    return read


def test_a_changed_master_key_is_told() -> None:
    now = _found()
    assert identity.compare(None, None) is Change.NONE
    assert identity.compare(None, now) is Change.NEW
    assert identity.compare(MASTER, now) is Change.SAME
    assert identity.compare(SELF_SIGNING, now) is Change.CHANGED
    assert identity.compare(MASTER, None) is Change.GONE


@pytest.mark.parametrize(
    "master_key",
    [
        None,
        "text",
        {},
        PUBLISHED["master_key"] | {"user_id": BOB},
        PUBLISHED["master_key"] | {"usage": ["self_signing"]},
        PUBLISHED["master_key"] | {"usage": "master"},
        PUBLISHED["master_key"] | {"keys": {}},
        PUBLISHED["master_key"] | {"keys": {f"ed25519:{MASTER}": SELF_SIGNING}},
        PUBLISHED["master_key"] | {"keys": {f"ed25519:{MASTER}=": MASTER + "="}},
        PUBLISHED["master_key"] | {"keys": {"ed25519:short": "short"}},
        PUBLISHED["master_key"] | {"keys": {f"ed25519:{MASTER}": MASTER, "ed25519:x": "x"}},
    ],
)
def test_a_malformed_master_key_is_no_identity(master_key: object) -> None:
    assert identity.read_identity(ALICE, master_key, PUBLISHED["self_signing_key"]) is None


def test_one_key_can_not_play_two_parts() -> None:
    """A master key that signed itself as self-signing key is no subkey."""
    both = {"user_id": ALICE, "usage": ["self_signing"], "keys": {KEYS.master.id: MASTER}}
    mixed = _found(self_signing_key=signed(both, ALICE, KEYS.master.id, KEYS.master.sign))
    assert mixed.self_signing is None


def test_our_own_account_is_verified_by_its_master_key() -> None:
    own = _found()
    assert identity.user_is_verified(own, MASTER, own)
    assert not identity.user_is_verified(own, SELF_SIGNING, own)
