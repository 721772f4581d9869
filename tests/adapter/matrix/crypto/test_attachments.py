"""Encrypted attachments, against files that other clients encrypted."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.adapter.matrix.crypto.attachments import (
    FileKey,
    decrypt_attachment,
    encrypt_attachment,
    parse_encrypted_file,
)
from antiphon.errors import AttachmentError

URL = "mxc://example.org/FHyPlCeYUSFFxlgbQYZmoEoe"


def _file(k: str, iv: str, sha256: str) -> dict[str, Any]:
    key = {"kty": "oct", "alg": "A256CTR", "ext": True, "k": k, "key_ops": ["encrypt", "decrypt"]}
    return {"v": "v2", "url": URL, "key": key, "iv": iv, "hashes": {"sha256": sha256}}


ALL_ONES = "_" * 42 + "8"
VECTORS = [
    # mautrix-go, crypto/attachment/attachments_test.go.
    (
        b":6\xc7O1yR\x06\xe8\xcf]",
        _file(
            "35XNdmWKOpn6UYS82Y83wEY8LagwQZHX2X0kAFW7sdg",
            "DOtPz8bC3qgAAAAAAAAAAA",
            "rO+040ZhUxbpbmIS9GUuMSen4NPKFxMzqOUJeemM8mk",
        ),
        b"hello world",
    ),
    # matrix-rust-sdk, crates/matrix-sdk-crypto/src/file_encryption/attachments.rs.
    (
        bytes([179, 154, 118, 127, 186, 127, 110, 33, 203, 33, 33, 134, 67])
        + bytes([100, 173, 46, 235, 27, 215, 172, 36, 26, 75, 47, 33, 160]),
        _file(
            "Voq2nkPme_x8no5-Tjq_laDAdxE6iDbxnlQXxwFPgE4",
            "i0DovxYdJEcAAAAAAAAAAA",
            "ANdt819a8bZl4jKy3Z+jcqtiNICa2y0AW4BBJ/iQRAU",
        ),
        b"It's a secret to everybody",
    ),
    # matrix-encrypt-attachment, test/decrypt.Spec.js, v2TestVectors.
    (
        b"",
        _file("A" * 43, "A" * 22, "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"),
        b"",
    ),
    (
        base64.b64decode("5xJZTt5cQicm+9f4"),
        _file(ALL_ONES, "//////////8AAAAAAAAAAA", "YzF08lARDdOCzJpzuSwsjTNlQc4pHxpdHcXiD/wpK6k"),
        b"Hello, World",
    ),
    (
        base64.b64decode(
            "zhtFStAeFx0s+9L/sSQO+WQMtldqYEHqTxMduJrCIpnkyer09kxJJuA4K+adQE4w+7jZe/vR9kIcqj9rOhDR8Q=="
        ),
        _file(ALL_ONES, "//////////8AAAAAAAAAAA", "IOq7/dHHB+mfHfxlRY5XMeCWEwTPmlf4cJcgrkf6fVU"),
        b"alphanumerically" * 4,
    ),
]


@pytest.mark.parametrize(("ciphertext", "raw", "plaintext"), VECTORS)
def test_opens_what_other_clients_encrypted(
    ciphertext: bytes, raw: dict[str, Any], plaintext: bytes
) -> None:
    file = parse_encrypted_file(raw)
    assert file.url == URL
    assert decrypt_attachment(ciphertext, file.opens) == plaintext
    assert file.opens.content(URL) == raw | {
        "key": raw["key"] | {"key_ops": ["encrypt", "decrypt"]}
    }


@pytest.mark.parametrize(("ciphertext", "raw", "plaintext"), VECTORS)
def test_encrypts_as_other_clients_do(
    ciphertext: bytes, raw: dict[str, Any], plaintext: bytes
) -> None:
    opens = parse_encrypted_file(raw).opens
    chance = {32: opens.key, 8: opens.iv[:8]}
    assert encrypt_attachment(plaintext, chance.__getitem__) == (ciphertext, opens)


@given(st.binary(max_size=200))
def test_what_was_encrypted_comes_back(data: bytes) -> None:
    ciphertext, opens = encrypt_attachment(data)
    file = parse_encrypted_file(opens.content(URL))
    assert file.opens == opens
    assert opens.iv[8:] == bytes(8)
    assert decrypt_attachment(ciphertext, file.opens) == data


def test_each_file_has_a_key_of_its_own() -> None:
    keys = [encrypt_attachment(b"same")[1] for _ in range(3)]
    assert len({key.key for key in keys}) == len({key.iv for key in keys}) == 3


@given(st.binary(min_size=1, max_size=64), st.data())
def test_a_changed_file_is_refused(data: bytes, draw: st.DataObject) -> None:
    ciphertext, opens = encrypt_attachment(data)
    changed = draw.draw(st.binary(max_size=64).filter(lambda other: other != ciphertext))
    with pytest.raises(AttachmentError, match="hash differs"):
        decrypt_attachment(changed, opens)


def test_a_file_that_is_too_large_is_refused_before_its_hash_is_made() -> None:
    ciphertext, opens = encrypt_attachment(b"12345")
    assert decrypt_attachment(ciphertext, opens, most_bytes=5) == b"12345"
    with pytest.raises(AttachmentError, match="more than 4 bytes"):
        decrypt_attachment(ciphertext, opens, most_bytes=4)


def test_a_counter_that_would_run_over_is_refused() -> None:
    """There the implementations differ: some carry into the upper half, some don't."""
    ciphertext, opens = encrypt_attachment(b"x" * 17)
    end = FileKey(opens.key, opens.iv[:8] + b"\xff" * 8, opens.sha256)
    with pytest.raises(AttachmentError, match="run over"):
        decrypt_attachment(ciphertext, end)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"v": "v1"}, "another scheme"),
        ({"v": None}, "another scheme"),
        ({"url": "https://example.org/x"}, "mxc"),
        ({"url": None}, "mxc"),
        ({"key": None}, "A256CTR"),
        ({"key": {"kty": "oct", "alg": "A256GCM", "k": "A" * 43}}, "A256CTR"),
        ({"key": {"kty": "RSA", "alg": "A256CTR", "k": "A" * 43}}, "A256CTR"),
        ({"key": {"kty": "oct", "alg": "A256CTR", "k": "A" * 22}}, "malformed"),
        ({"key": {"kty": "oct", "alg": "A256CTR", "k": 5}}, "malformed"),
        ({"iv": "AAAA"}, "counter block"),
        ({"iv": "!" * 22}, "counter block"),
        ({"hashes": {}}, "SHA-256"),
        ({"hashes": {"sha256": "5/Gy1JftyyQ"}}, "SHA-256"),  # mautrix-go, TestTooShortHash
        ({"hashes": "none"}, "SHA-256"),
    ],
)
def test_a_malformed_description_is_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(AttachmentError, match=says):
        parse_encrypted_file(VECTORS[0][1] | change)


@given(st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner)))
def test_no_json_value_is_a_crash(raw: object) -> None:
    with pytest.raises(AttachmentError):
        parse_encrypted_file(raw)


def test_a_key_is_not_shown() -> None:
    assert repr(encrypt_attachment(b"")[1]) == "FileKey(…)"
