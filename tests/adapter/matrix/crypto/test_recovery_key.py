"""The recovery key's form, and keys from passphrases, against what other clients wrote."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.adapter.matrix.crypto.recovery_key import (
    MOST_ITERATIONS,
    Passphrase,
    decode_recovery_key,
    encode_recovery_key,
    key_from_passphrase,
    new_key,
    new_passphrase,
    parse_passphrase,
)
from antiphon.errors import RecoveryKeyError

# matrix-rust-sdk, crates/matrix-sdk-crypto/src/secret_storage.rs, test base58_parsing.
RUST_TEXT = "EsT           pRvZTnjck8    YrhRAtw XLS84Nr2r9S9LGAWDaExVAPBvLRK   "
RUST_KEY = bytes.fromhex("9fbd46bb345171c6f6022c9a25d5681ba54eec6a6c4953f3adc0b96e9d91ada3")
# matrix-js-sdk, spec/test-utils/crypto-test-data/index.ts: BACKUP_DECRYPTION_KEY_BASE58 and its
# …_BASE64 (the same as libolm's and matrix-rust-sdk's TEST_KEY).
JS_TEXT = "EsTc LW2K PGiF wKEA 3As5 g5c4 BXwk qeeJ ZJV8 Q9fu gUMN UE4d"
JS_KEY = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
# mautrix-go, crypto/ssss/meta_test.go: key1Meta, key1Passphrase, key1RecoveryKey.
GO_PASSPHRASE = {
    "algorithm": "m.pbkdf2",
    "iterations": 500000,
    "salt": "y863BOoqOadgDp8S3FtHXikDJEalsQ7d",
}
GO_PHRASE = "correct horse battery staple"
GO_TEXT = "EsTE s92N EtaX s2h6 VQYF 9Kao tHYL mkyL GKMh isZb KJ4E tvoC"


def test_reads_what_other_clients_show() -> None:
    assert decode_recovery_key(RUST_TEXT) == RUST_KEY
    assert decode_recovery_key(JS_TEXT) == JS_KEY


def test_shows_what_other_clients_show() -> None:
    assert encode_recovery_key(JS_KEY) == JS_TEXT
    assert encode_recovery_key(RUST_KEY).replace(" ", "") == "".join(RUST_TEXT.split())


def test_a_passphrase_gives_the_key_of_other_clients() -> None:
    key = key_from_passphrase(GO_PHRASE, parse_passphrase(GO_PASSPHRASE))
    assert encode_recovery_key(key) == GO_TEXT


@given(st.binary(min_size=32, max_size=32))
def test_every_key_comes_back(key: bytes) -> None:
    text = encode_recovery_key(key)
    assert len(text.replace(" ", "")) == 48
    assert decode_recovery_key(f"\t{text.replace(' ', chr(0xA0))}\r\n") == key


@given(st.binary(min_size=32, max_size=32), st.integers(0, 47), st.text(min_size=1, max_size=1))
def test_a_typing_mistake_gives_no_other_key_without_its_parity(
    key: bytes, place: int, letter: str
) -> None:
    """One wrong letter is refused, but for the one case in 256 that parity can't see."""
    letters = encode_recovery_key(key).replace(" ", "")
    typed = letters[:place] + letter + letters[place + 1 :]
    with contextlib.suppress(RecoveryKeyError):
        read = decode_recovery_key(typed)
        assert encode_recovery_key(read).replace(" ", "") == "".join(typed.split())


# The first three: matrix-rust-sdk, the same test (parity, prefix, length).
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("EsTpRvZTnjck8YrhRAtwXLS84Nr2r9S9LGAWDaExVAPBvLRk", "typing mistake"),
        ("AATpRvZTnjck8YrhRAtwXLS84Nr2r9S9LGAWDaExVAPBvLRk", 'begin with "Es"'),
        ("AATpRvZTnjck8YrhRAtwXLS84Nr2r9S9", "32 characters where 48"),
        ("AATpRvZTnjck8YrhRAtwXLS84Nr0OIl", "Character 28 "),
        ("", "0 characters"),
        ("1" * 48, "48 characters where 48"),
        ("z" * 100_000, "100000 characters"),
        ("EsTc-LW2K", "Character 5 "),
    ],
)
def test_says_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(RecoveryKeyError, match=says) as caught:
        decode_recovery_key(text)
    assert caught.value.exit_code == 2
    assert len(text) < 9 or text not in caught.value.message


def test_new_keys_come_from_the_source_of_chance() -> None:
    assert new_key(lambda size: b"x" * size) == b"x" * 32
    assert len(new_key()) == 32


def test_own_parameters_come_back() -> None:
    parameters = new_passphrase("salt")
    assert parameters.iterations >= 100_000
    assert parse_passphrase(parameters.content()) == parameters


def test_bits_default_to_256() -> None:
    assert parse_passphrase(GO_PASSPHRASE) == Passphrase(str(GO_PASSPHRASE["salt"]), 500000, 256)


@pytest.mark.parametrize(
    "raw",
    [
        None,
        "m.pbkdf2",
        {},
        {"algorithm": "org.example", "salt": "s", "iterations": 1},
        {"algorithm": "m.pbkdf2", "salt": 1, "iterations": 1},
        {"algorithm": "m.pbkdf2", "salt": "s" * 1025, "iterations": 1},
        {"algorithm": "m.pbkdf2", "salt": "s", "iterations": 0},
        {"algorithm": "m.pbkdf2", "salt": "s", "iterations": True},
        {"algorithm": "m.pbkdf2", "salt": "s", "iterations": "1"},
        {"algorithm": "m.pbkdf2", "salt": "s", "iterations": MOST_ITERATIONS + 1},
        {"algorithm": "m.pbkdf2", "salt": "s", "iterations": 1, "bits": 128},
        {"algorithm": "m.pbkdf2", "salt": "s", "iterations": 1, "bits": 256.0},
    ],
)
def test_refuses_parameters_that_would_weaken_or_stop_us(raw: object) -> None:
    with pytest.raises(RecoveryKeyError):
        parse_passphrase(raw)


def test_a_key_of_another_size_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        encode_recovery_key(b"short")
