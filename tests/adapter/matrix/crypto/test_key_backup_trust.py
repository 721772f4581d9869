"""Which backup on the homeserver may have our keys: matrix-js-sdk's own values, and ours."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import vodozemac

from antiphon.adapter.matrix.crypto import cross_signing, key_backup
from antiphon.adapter.matrix.crypto.canonical import is_signed
from antiphon.adapter.matrix.crypto.key_backup import Trust

ALICE = "@alice:localhost"
# matrix-js-sdk, spec/test-utils/crypto-test-data/index.ts: BACKUP_DECRYPTION_KEY_BASE64,
# TEST_DEVICE_PUBLIC_ED25519_KEY_BASE64, SIGNED_BACKUP_DATA.
JS_PRIVATE = base64.b64decode("dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=")
JS_DEVICE = {"test_device": "YI/7vbGVLpGdYtuceQR8MSsKB/QjgfMXM1xqnn+0NWU"}
JS_VERSION: dict[str, Any] = {
    "algorithm": "m.megolm_backup.v1.curve25519-aes-sha2",
    "version": "1",
    "auth_data": {
        "public_key": "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo",
        "signatures": {
            ALICE: {
                "ed25519:test_device": "KDSNeumirTsd8piI0oVfv/wzg4J4HlEc7rs5XhODFcJ/YAcUdg65ajsZ"
                "G+rLI0TQOSSGjorJqcrSiSB1HRSCAA"
            }
        },
    },
    "etag": "",
    "count": 0,
}


def test_a_backup_of_our_own_key_is_trusted() -> None:
    held = key_backup.backup_key(JS_PRIVATE)
    assert held.public == JS_VERSION["auth_data"]["public_key"]
    assert key_backup.judge_version(JS_VERSION, ALICE, held=held) is Trust.OWN_KEY
    other = key_backup.new_backup_key()
    assert key_backup.judge_version(JS_VERSION, ALICE, held=other) is Trust.NONE


def test_a_backup_signed_by_a_trusted_device_is_trusted() -> None:
    """The signature is matrix-js-sdk's."""
    assert key_backup.judge_version(JS_VERSION, ALICE, devices=JS_DEVICE) is Trust.DEVICE
    assert key_backup.judge_version(JS_VERSION, "@bob:xyz", devices=JS_DEVICE) is Trust.NONE
    assert key_backup.judge_version(JS_VERSION, ALICE) is Trust.NONE
    assert Trust.DEVICE.trusted
    assert not Trust.NONE.trusted


def _mallorys_key() -> str:
    return key_backup.new_backup_key().public


def test_a_new_version_is_signed_by_device_and_master_key() -> None:
    account = vodozemac.Account()
    keys = cross_signing.new_cross_signing_keys(ALICE)
    backup = key_backup.new_backup_key()
    body = key_backup.version_body(
        backup, ALICE, "DEVICE", lambda message: account.sign(message).to_base64(), keys.master
    )
    assert body["algorithm"] == key_backup.ALGORITHM
    device = account.ed25519_key.to_base64()
    assert is_signed(body["auth_data"], ALICE, "ed25519:DEVICE", device)
    master = keys.master.public
    assert key_backup.judge_version(body, ALICE, own_master=master) is Trust.MASTER
    assert key_backup.judge_version(body, ALICE, devices={"DEVICE": device}) is Trust.DEVICE
    swapped = {**body, "auth_data": body["auth_data"] | {"public_key": _mallorys_key()}}
    judged = key_backup.judge_version(
        swapped, ALICE, held=backup, own_master=master, devices={"DEVICE": device}
    )
    assert judged is Trust.NONE


@pytest.mark.parametrize(
    ("version", "trust"),
    [
        (None, Trust.MALFORMED),
        ({}, Trust.UNKNOWN_ALGORITHM),
        (JS_VERSION | {"algorithm": "org.example"}, Trust.UNKNOWN_ALGORITHM),
        (JS_VERSION | {"auth_data": None}, Trust.MALFORMED),
        (JS_VERSION | {"auth_data": {"public_key": "short"}}, Trust.MALFORMED),
        (JS_VERSION | {"auth_data": {"public_key": 5}}, Trust.MALFORMED),
    ],
)
def test_an_unknown_version_is_not_trusted(version: object, trust: Trust) -> None:
    held = key_backup.backup_key(JS_PRIVATE)
    judged = key_backup.judge_version(version, ALICE, held=held, devices=JS_DEVICE)
    assert judged is trust
    assert not judged.trusted


def test_a_device_with_the_name_of_the_master_key_proves_nothing() -> None:
    """Only a hostile homeserver gives one."""
    account = vodozemac.Account()
    backup = key_backup.new_backup_key()
    master = cross_signing.new_cross_signing_keys(ALICE).master.public
    body = key_backup.version_body(
        backup, ALICE, master, lambda message: account.sign(message).to_base64(), None
    )
    devices = {master: account.ed25519_key.to_base64()}
    judged = key_backup.judge_version(body, ALICE, own_master=master, devices=devices)
    assert judged is Trust.NONE
