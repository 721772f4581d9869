"""A recovery key brings back on one machine what another has stored."""

from __future__ import annotations

import pytest

from antiphon.adapter.matrix.crypto import cross_signing, key_backup, recovery, secret_storage
from antiphon.adapter.matrix.crypto.recovery_key import encode_recovery_key, new_key
from antiphon.errors import EncryptionError, RecoveryKeyError

BOT = "@bot:example.org"


def test_another_machine_gets_everything_from_the_recovery_key() -> None:
    made = secret_storage.new_storage_key("id", new_key())
    keys = cross_signing.new_cross_signing_keys(BOT)
    backup = key_backup.new_backup_key()
    contents = recovery.to_store(made, keys, backup, new=True)
    shown = encode_recovery_key(made.key)

    key_id = secret_storage.default_key_id(contents[secret_storage.DEFAULT_KEY_TYPE])
    assert key_id is not None
    description = contents[secret_storage.key_type(key_id)]
    opened = secret_storage.open_with_recovery_key(key_id, description, shown)
    assert opened == made
    assert recovery.recover(opened, BOT, contents) == recovery.Recovered(keys, backup)
    with pytest.raises(RecoveryKeyError):
        secret_storage.open_with_recovery_key(key_id, description, encode_recovery_key(new_key()))


def test_a_new_storage_becomes_the_default_last() -> None:
    """Cut off anywhere before, it has changed nothing for other clients."""
    made = secret_storage.new_storage_key("id", new_key())
    keys = cross_signing.new_cross_signing_keys(BOT)
    contents = recovery.to_store(made, keys, key_backup.new_backup_key(), new=True)
    assert list(contents) == [
        "m.secret_storage.key.id",
        *recovery.SECRETS,
        "m.secret_storage.default_key",
    ]


def test_a_new_backup_goes_into_the_storage_that_is_there() -> None:
    made = secret_storage.new_storage_key("id", new_key())
    backup = key_backup.new_backup_key()
    contents = recovery.to_store(made, None, backup, new=False)
    assert list(contents) == ["m.megolm_backup.v1"]
    assert recovery.recover(made, BOT, contents) == recovery.Recovered(None, backup)


def test_half_of_the_cross_signing_keys_are_none() -> None:
    made = secret_storage.new_storage_key("id", new_key())
    keys = cross_signing.new_cross_signing_keys(BOT)
    contents = recovery.to_store(made, keys, None, new=False)
    del contents["m.cross_signing.self_signing"]
    assert recovery.recover(made, BOT, contents) == recovery.Recovered(None, None)


def test_secrets_can_not_be_exchanged_for_one_another() -> None:
    """Each is bound to its name."""
    made = secret_storage.new_storage_key("id", new_key())
    keys = cross_signing.new_cross_signing_keys(BOT)
    contents = recovery.to_store(made, keys, None, new=False)
    contents["m.cross_signing.master"] = contents["m.cross_signing.user_signing"]
    with pytest.raises(EncryptionError):
        recovery.recover(made, BOT, contents)
