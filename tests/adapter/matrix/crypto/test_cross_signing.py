"""Cross-signing: our own keys, and what signatures of others prove.

The values are from matrix-js-sdk, spec/test-utils/crypto-test-data/index.ts (TEST_USER_ID's keys);
Ed25519 signatures are deterministic, so ours must be the same.
"""

from __future__ import annotations

import base64
from typing import Any

import pytest
import vodozemac
from hypothesis import given
from hypothesis import strategies as st

from antiphon.adapter.matrix.crypto import cross_signing, identity
from antiphon.adapter.matrix.crypto.canonical import is_signed, signed
from antiphon.adapter.matrix.crypto.cross_signing import CrossSigningKeys
from antiphon.adapter.matrix.crypto.identity import Identity
from antiphon.errors import EncryptionError

ALICE = "@alice:localhost"
BOB = "@bob:example.org"
MASTER = "J+5An10v1vzZpAXTYFokD1/PEVccFnLC61EfRXit0UY"
SELF_SIGNING = "aU2+2CyXQTCuDcmWW0EL2bhJ6PdjFW2LbAsbHqf02AY"
USER_SIGNING = "g5TC/zjQXyZYuDLZv7a41z5fFVrXpYPypG//AFQj8hY"
SEEDS = [
    base64.b64decode(seed + "=")
    for seed in (
        "ZG95b3VzcGVha3doYWFhYWFhYWFhYWFhYWFhYWFhbGU",
        "c2VsZnNlbGZzZWxmc2VsZnNlbGZzZWxmc2VsZnNlbGY",
        "dXNlcnVzZXJ1c2VydXNlcnVzZXJ1c2VydXNlcnVzZXI",
    )
]
PUBLISHED: dict[str, Any] = {
    "master_key": {
        "keys": {f"ed25519:{MASTER}": MASTER},
        "user_id": ALICE,
        "usage": ["master"],
    },
    "self_signing_key": {
        "keys": {f"ed25519:{SELF_SIGNING}": SELF_SIGNING},
        "user_id": ALICE,
        "usage": ["self_signing"],
        "signatures": {
            ALICE: {
                f"ed25519:{MASTER}": "XfhYEhZmOs8BJdb3viatILBZ/bElsHXEW28V4tIaY5CxrBR0YOym3yZHWmRm"
                "ypXessHZAKOhZn3yBMXzdajyCw"
            }
        },
    },
    "user_signing_key": {
        "keys": {f"ed25519:{USER_SIGNING}": USER_SIGNING},
        "user_id": ALICE,
        "usage": ["user_signing"],
        "signatures": {
            ALICE: {
                f"ed25519:{MASTER}": "6AkD1XM2H0/ebgP9oBdMKNeft7uxsrb0XN1CsjjHgeZCvCTMmv3BHlLiT/Hz"
                "y4fe8H+S1tr484dcXN/PIdnfDA"
            }
        },
    },
}
DEVICE_KEY = "YI/7vbGVLpGdYtuceQR8MSsKB/QjgfMXM1xqnn+0NWU"
DEVICE: dict[str, Any] = {
    "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
    "device_id": "test_device",
    "keys": {
        "curve25519:test_device": "F4uCNNlcbRvc7CfBz95ZGWBvY1ALniG1J8+6rhVoKS0",
        "ed25519:test_device": DEVICE_KEY,
    },
    "user_id": ALICE,
    "signatures": {
        ALICE: {
            "ed25519:test_device": "LmQC/yAUZJmkxZ+3L0nEwvtVWOzjqQqADWBhk+C47SPaFYHeV+E291mgXaSCJV"
            "eGltX+HC49Aw7nb6ga7sw0Aw"
        }
    },
}


def _alice() -> CrossSigningKeys:
    return cross_signing.from_seeds(ALICE, *SEEDS)


def _read(keys: CrossSigningKeys, **changes: Any) -> Identity | None:
    """The identity as the homeserver gives it, some parts exchanged."""
    parts = cross_signing.signing_keys_upload(keys) | changes
    return identity.read_identity(
        keys.user_id, parts["master_key"], parts["self_signing_key"], parts["user_signing_key"]
    )


def _found(keys: CrossSigningKeys, **changes: Any) -> Identity:
    read = _read(keys, **changes)
    assert read is not None
    return read


def _bob() -> CrossSigningKeys:
    return cross_signing.new_cross_signing_keys(BOB)


def test_seeds_give_the_public_keys_of_other_clients() -> None:
    keys = _alice()
    assert keys.master.public == MASTER
    assert keys.self_signing.public == SELF_SIGNING
    assert keys.user_signing.public == USER_SIGNING


def test_publishes_what_other_clients_publish() -> None:
    assert cross_signing.signing_keys_upload(_alice()) == PUBLISHED


def test_the_own_device_may_sign_the_master_key() -> None:
    account = vodozemac.Account()
    body = cross_signing.signing_keys_upload(
        _alice(), "DEVICE", lambda message: account.sign(message).to_base64()
    )
    own = identity.read_identity(ALICE, body["master_key"], None)
    assert own is not None
    device_key = account.ed25519_key.to_base64()
    assert identity.master_is_signed_by_device(own, "DEVICE", device_key)
    assert not identity.master_is_signed_by_device(own, "OTHER", device_key)
    assert not identity.master_is_signed_by_device(own, "DEVICE", DEVICE_KEY)
    later = cross_signing.sign_own_master(
        _alice(),
        PUBLISHED["master_key"],
        "DEVICE",
        lambda message: account.sign(message).to_base64(),
    )
    assert later == {ALICE: {MASTER: body["master_key"]}}
    with pytest.raises(EncryptionError):
        cross_signing.sign_own_master(_bob(), PUBLISHED["master_key"], "DEVICE", lambda _: "")


def test_keys_made_here_are_known_as_the_published_ones() -> None:
    keys = _alice()
    assert cross_signing.are_published(keys, _read(keys))
    assert not cross_signing.are_published(keys, None)
    other = cross_signing.new_cross_signing_keys(ALICE)
    assert not cross_signing.are_published(keys, _read(other))


def test_signs_the_own_device_and_the_chain_holds() -> None:
    body = cross_signing.sign_device(
        _alice(), DEVICE | {"unsigned": {"device_display_name": "x"}}, DEVICE_KEY
    )
    signed_device = body[ALICE]["test_device"]
    assert list(signed_device["signatures"][ALICE]) == [f"ed25519:{SELF_SIGNING}"]
    assert "unsigned" not in signed_device
    assert identity.device_is_signed(_found(_alice()), signed_device)
    assert not identity.device_is_signed(_found(_alice()), DEVICE)


def test_a_device_of_somebody_else_is_not_signed() -> None:
    with pytest.raises(EncryptionError):
        cross_signing.sign_device(_bob(), DEVICE, DEVICE_KEY)


def test_a_chain_with_a_foreign_link_does_not_hold() -> None:
    """A self-signing key that the master key has not signed proves no device."""
    mallory = cross_signing.new_cross_signing_keys(ALICE)
    device = cross_signing.sign_device(mallory, DEVICE, DEVICE_KEY)[ALICE]["test_device"]
    theirs = cross_signing.signing_keys_upload(mallory)
    mixed = _found(_alice(), self_signing_key=theirs["self_signing_key"])
    assert mixed.self_signing is None
    assert not identity.device_is_signed(mixed, device)
    assert not identity.device_is_signed(_found(_alice()), device)


def test_a_device_that_was_changed_after_it_was_signed_is_not_trusted() -> None:
    device = cross_signing.sign_device(_alice(), DEVICE, DEVICE_KEY)[ALICE]["test_device"]
    changed = device | {"keys": device["keys"] | {"ed25519:test_device": MASTER}}
    assert not identity.device_is_signed(_found(_alice()), changed)
    assert not identity.device_is_signed(_found(_alice()), device | {"user_id": BOB})
    assert not identity.device_is_signed(_found(_alice()), device | {"device_id": 5})
    keys = _alice().self_signing
    foreign = signed(DEVICE | {"user_id": BOB}, ALICE, keys.id, keys.sign)
    assert not identity.device_is_signed(_found(_alice()), foreign)


def test_a_device_with_the_name_of_a_cross_signing_key_is_refused() -> None:
    own = _found(_alice())
    assert identity.collides(own, ["DEVICE", SELF_SIGNING])
    assert not identity.collides(own, ["DEVICE"])
    named = DEVICE | {"device_id": MASTER, "keys": {f"ed25519:{MASTER}": DEVICE_KEY}}
    device = cross_signing.sign_device(_alice(), named, DEVICE_KEY)[ALICE][MASTER]
    assert not identity.device_is_signed(own, device)


def test_a_user_is_verified_by_our_user_signing_key_alone() -> None:
    alice, bob = _alice(), _bob()
    own, theirs = _found(alice), _found(bob)
    assert not identity.user_is_verified(own, MASTER, theirs)
    body = cross_signing.sign_user(alice, theirs.master_key, theirs.master)
    verified = _found(bob, master_key=body[BOB][bob.master.public])
    assert identity.user_is_verified(own, MASTER, verified)
    assert not identity.user_is_verified(own, bob.master.public, verified)
    no_user_signing = _found(alice, user_signing_key=None)
    assert not identity.user_is_verified(no_user_signing, MASTER, verified)
    # Signed by the self-signing key instead (mautrix-go, crypto/cross_sign_test.go).
    wrong = signed(theirs.master_key, ALICE, alice.self_signing.id, alice.self_signing.sign)
    assert not identity.user_is_verified(own, MASTER, _found(bob, master_key=wrong))


def test_only_another_persons_master_key_is_signed() -> None:
    for master_key in (
        PUBLISHED["master_key"],
        {"user_id": BOB},
        {},
        PUBLISHED["self_signing_key"],
    ):
        with pytest.raises(EncryptionError):
            cross_signing.sign_user(_alice(), master_key, MASTER)


def test_only_the_key_that_was_verified_is_signed() -> None:
    """The homeserver may have exchanged it since."""
    bob, other = _found(_bob()), _found(_bob())
    with pytest.raises(EncryptionError):
        cross_signing.sign_user(_alice(), bob.master_key, other.master)
    with pytest.raises(EncryptionError, match="another key"):
        cross_signing.sign_device(_alice(), DEVICE, MASTER)


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=64))
def test_signatures_are_those_that_vodozemac_checks(seed: bytes, text: bytes) -> None:
    key = cross_signing.signing_key(seed)
    value = {"text": base64.b64encode(text).decode()}
    made = signed(value, ALICE, key.id, key.sign)
    assert is_signed(made, ALICE, key.id, key.public)
    assert not is_signed(made | {"text": "other!"}, ALICE, key.id, key.public)


def test_a_seed_of_another_size_is_refused() -> None:
    with pytest.raises(EncryptionError):
        cross_signing.signing_key(b"short")


def test_what_has_no_canonical_form_is_not_signed() -> None:
    with pytest.raises(EncryptionError, match="can't be signed"):
        cross_signing.sign_device(_alice(), DEVICE | {"algorithms": [0.5]}, DEVICE_KEY)


def test_seeds_are_not_shown() -> None:
    assert "seed" not in repr(_alice())
