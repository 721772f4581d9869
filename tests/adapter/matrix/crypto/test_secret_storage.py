"""Secret storage, against contents that other clients put on their homeservers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.adapter.matrix.crypto import secret_storage as storage
from antiphon.adapter.matrix.crypto.recovery_key import Passphrase, decode_recovery_key
from antiphon.errors import EncryptionError, RecoveryKeyError

# mautrix-go, crypto/ssss/meta_test.go and key_test.go.
GO_ID = "gEJqbfSEMnP5JXXcukpXEX1l0aI3MDs0"
GO_DESCRIPTION: dict[str, Any] = {
    "algorithm": "m.secret_storage.v1.aes-hmac-sha2",
    "passphrase": {
        "algorithm": "m.pbkdf2",
        "iterations": 500000,
        "salt": "y863BOoqOadgDp8S3FtHXikDJEalsQ7d",
    },
    "iv": "xxkTK0L4UzxgAFkQ6XPwsw",
    "mac": "MEhooO0ZhFJNxUhvRMSxBnJfL20wkLgle3ocY0ee/eA",
}
GO_RECOVERY_KEY = "EsTE s92N EtaX s2h6 VQYF 9Kao tHYL mkyL GKMh isZb KJ4E tvoC"
GO_MASTER = {
    "encrypted": {
        GO_ID: {
            "iv": "BpKP9nQJTE9jrsAssoxPqQ==",
            "ciphertext": "fNRiiiidezjerTgV+G6pUtmeF3izzj5re/mVvY0hO2kM6kYGrxLuIu2ej80=",
            "mac": "/gWGDGMyOLmbJp+aoSLh5JxCs0AdS6nAhjzpe+9G2Q0=",
        }
    }
}
GO_MASTER_KEY = bytes.fromhex("68f97fd1922eecf6b82bb890d24d0652984e7a1d703b9e867b7ebaf7feb95b6f")
GO_2_DESCRIPTION = {
    "algorithm": "m.secret_storage.v1.aes-hmac-sha2",
    "iv": "O0BOvTqiIAYjC+RMcyHfWw==",
    "mac": "7k6OruQlWg0UmQjxGZ0ad4Q6DdwkgnoI7G6X3IjBYtI=",
}
GO_2_RECOVERY_KEY = "EsUC xSxt XJgQ dz19 8WBZ rHdE GZo7 ybsn EFmG Y5HY MDAG GNWe"
# matrix-rust-sdk, crates/matrix-sdk-crypto/src/secret_storage.rs, from_account_data_and_base58 and
# …_and_passphrase.
RUST_DESCRIPTION = {
    "algorithm": "m.secret_storage.v1.aes-hmac-sha2",
    "iv": "xv5b6/p3ExEw++wTyfSHEg==",
    "mac": "ujBBbXahnTAMkmPUX2/0+VTfUh63pGyVRuBcDMgmJC8=",
}
RUST_RECOVERY_KEY = "EsTj 3yST y93F SLpB jJsz eAXc 2XzA ygD3 w69H fGaN TKBj jXEd"
RUST_PASSPHRASE = {
    "algorithm": "m.secret_storage.v1.aes-hmac-sha2",
    "iv": "gH2iNpiETFhApvW6/FFEJQ",
    "mac": "9Lw12m5SKDipNghdQXKjgpfdj1/K7HFI2brO+UWAGoM",
    "passphrase": {
        "algorithm": "m.pbkdf2",
        "salt": "IuLnH7S85YtZmkkBJKwNUKxWF42g9O1H",
        "iterations": 10,
    },
}


def _go() -> storage.StorageKey:
    return storage.open_with_recovery_key(GO_ID, GO_DESCRIPTION, GO_RECOVERY_KEY)


@pytest.mark.parametrize(
    ("description", "recovery_key"),
    [
        (GO_DESCRIPTION, GO_RECOVERY_KEY),
        (GO_2_DESCRIPTION, GO_2_RECOVERY_KEY),
        # The same test of mautrix-go: a client wrote an iv that is too long.
        (
            GO_2_DESCRIPTION | {"iv": "O0BOvTqiIAYjC+RMcyHfW2f/gdxjceTxoYtNlpPduJ8="},
            GO_2_RECOVERY_KEY,
        ),
        (RUST_DESCRIPTION, RUST_RECOVERY_KEY),
    ],
)
def test_knows_the_right_recovery_key(description: dict[str, Any], recovery_key: str) -> None:
    opened = storage.open_with_recovery_key("id", description, recovery_key)
    assert opened == storage.StorageKey("id", decode_recovery_key(recovery_key), checked=True)


def test_knows_the_right_passphrase() -> None:
    opened = storage.open_with_passphrase("id", RUST_PASSPHRASE, "It's a secret to everybody")
    assert opened.checked
    with pytest.raises(RecoveryKeyError):
        storage.open_with_passphrase("id", RUST_PASSPHRASE, "It's a secret to nobody")


def test_refuses_another_storages_key() -> None:
    with pytest.raises(RecoveryKeyError, match="not the recovery key of this account"):
        storage.open_with_recovery_key(GO_ID, GO_DESCRIPTION, GO_2_RECOVERY_KEY)


def test_a_storage_without_passphrase_says_so() -> None:
    with pytest.raises(RecoveryKeyError, match="use its recovery key"):
        storage.open_with_passphrase("id", GO_2_DESCRIPTION, "hmm")


def test_reads_a_secret_that_another_client_stored() -> None:
    assert storage.decrypt_key(_go(), storage.MASTER, GO_MASTER) == GO_MASTER_KEY


def test_writes_a_secret_as_another_client_did() -> None:
    """The same iv gives the same bytes, but for the padding that the specification does without."""
    raw = GO_MASTER["encrypted"][GO_ID]
    iv = bytes.fromhex("06928ff674094c4f63aec02cb28c4fa9")
    secret = storage.decrypt_secret(_go(), storage.MASTER, GO_MASTER)
    assert secret is not None
    content = storage.encrypt_secret(_go(), storage.MASTER, secret, lambda _size: iv)
    bare = {name: value.rstrip("=") for name, value in raw.items()}
    assert content == {"encrypted": {GO_ID: bare}}


def test_a_secret_is_good_under_its_own_name_and_key_only() -> None:
    with pytest.raises(EncryptionError, match="changed, or isn't ours"):
        storage.decrypt_key(_go(), storage.SELF_SIGNING, GO_MASTER)
    fake = storage.StorageKey(GO_ID, decode_recovery_key(GO_2_RECOVERY_KEY), checked=True)
    with pytest.raises(EncryptionError, match="changed, or isn't ours"):
        storage.decrypt_key(fake, storage.MASTER, GO_MASTER)
    other = storage.StorageKey("other", fake.key, checked=True)
    assert storage.decrypt_key(other, storage.MASTER, GO_MASTER) is None


def test_a_description_without_check_value_opens_and_encrypts_nothing() -> None:
    """The specification asks to take such a key as valid; what is new must not depend on it."""
    opened = storage.open_with_recovery_key(
        "id", {"algorithm": storage.ALGORITHM}, GO_2_RECOVERY_KEY
    )
    assert not opened.checked
    with pytest.raises(EncryptionError, match="no check value"):
        storage.encrypt_key(opened, storage.BACKUP, bytes(32))


@given(st.binary(min_size=32, max_size=32), st.text(max_size=100), st.text(max_size=40))
def test_what_was_stored_comes_back(key: bytes, secret: str, name: str) -> None:
    made = storage.new_storage_key("id", key)
    described = storage.describe(made)
    opened = storage.open_storage("id", described, key)
    assert opened == made
    content = storage.encrypt_secret(opened, name, secret)
    assert storage.decrypt_secret(opened, name, content) == secret


def test_own_description_is_what_other_clients_check() -> None:
    """The iv of mautrix-go's description gives its mac."""
    iv = bytes.fromhex("c719132b42f8533c60005910e973f0b3")
    made = storage.new_storage_key(GO_ID, decode_recovery_key(GO_RECOVERY_KEY))
    passphrase = Passphrase("y863BOoqOadgDp8S3FtHXikDJEalsQ7d", 500000)
    content = storage.describe(made, passphrase, "Antiphon", random=lambda _size: iv)
    assert content.pop("name") == "Antiphon"
    assert content["passphrase"].pop("bits") == 256
    assert content == GO_DESCRIPTION


def test_bit_63_of_an_iv_is_cleared() -> None:
    made = storage.new_storage_key("id", bytes(32))
    content = storage.describe(made, random=lambda size: b"\xff" * size)
    assert content["iv"] == "//////////9//////////w"


@pytest.mark.parametrize(
    "description",
    [
        None,
        {},
        GO_2_DESCRIPTION | {"algorithm": "m.secret_storage.custom"},
        GO_2_DESCRIPTION | {"iv": "MeowMeowMeow"},  # mautrix-go, key2MetaBrokenIV
        GO_2_DESCRIPTION | {"mac": GO_2_DESCRIPTION["mac"].rstrip("=") + "MeowMeowMeow"},
        GO_2_DESCRIPTION | {"iv": None},
        GO_2_DESCRIPTION | {"mac": 5},
    ],
)
def test_a_malformed_description_is_refused(description: object) -> None:
    """Half a check value is none: it must not pass for "not given"."""
    with pytest.raises(EncryptionError):
        storage.open_with_recovery_key("id", description, GO_2_RECOVERY_KEY)


@pytest.mark.parametrize(
    "raw",
    [
        "text",
        {},
        GO_MASTER["encrypted"][GO_ID] | {"iv": "bdfCwu+gZ/jWTkGrQ/A"},  # matrix-rust-sdk
        GO_MASTER["encrypted"][GO_ID] | {"mac": "NXeV1dZaOe2JLvQ6Hh6tFtgFFdaQnY0l9pruwdtE"},
        GO_MASTER["encrypted"][GO_ID] | {"ciphertext": "fNRiiiidezjer!"},
        GO_MASTER["encrypted"][GO_ID] | {"ciphertext": "A" * 100_000},
    ],
)
def test_a_malformed_secret_is_refused(raw: object) -> None:
    with pytest.raises(EncryptionError, match="malformed"):
        storage.decrypt_secret(_go(), storage.MASTER, {"encrypted": {GO_ID: raw}})


@pytest.mark.parametrize("content", [None, [], {}, {"encrypted": None}, {"encrypted": {}}])
def test_no_secret_is_none(content: object) -> None:
    assert storage.decrypt_secret(_go(), storage.MASTER, content) is None


def test_a_secret_that_is_no_key_is_refused() -> None:
    content = storage.encrypt_secret(_go(), storage.BACKUP, "no key")
    with pytest.raises(EncryptionError, match="no key"):
        storage.decrypt_key(_go(), storage.BACKUP, content)


def test_the_default_key_is_found() -> None:
    assert storage.default_key_id(storage.default_key_content("abc")) == "abc"
    assert storage.key_type("abc") == "m.secret_storage.key.abc"
    for content in (None, {}, {"key": 5}, {"key": ""}):
        assert storage.default_key_id(content) is None


def test_a_key_is_not_shown() -> None:
    assert "key=" not in repr(_go())
