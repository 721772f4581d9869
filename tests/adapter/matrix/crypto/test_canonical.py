"""Canonical JSON and its signatures are those of the specification."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from antiphon.adapter.matrix.crypto.canonical import (
    NotCanonicalError,
    canonical,
    is_signed,
    signed,
)

SEED = "YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1"
KEY = Ed25519PrivateKey.from_private_bytes(base64.b64decode(SEED + "="))
PUBLIC = base64.b64encode(KEY.public_key().public_bytes_raw()).decode().rstrip("=")


def sign(body: bytes) -> str:
    return base64.b64encode(KEY.sign(body)).decode().rstrip("=")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({}, "{}"),
        ({"one": 1, "two": "Two"}, '{"one":1,"two":"Two"}'),
        ({"b": "2", "a": "1"}, '{"a":"1","b":"2"}'),
        (
            {
                "auth": {
                    "success": True,
                    "mxid": "@john.doe:example.com",
                    "profile": {
                        "display_name": "John Doe",
                        "three_pids": [
                            {"medium": "email", "address": "john.doe@example.org"},
                            {"medium": "msisdn", "address": "123456789"},
                        ],
                    },
                }
            },
            (
                '{"auth":{"mxid":"@john.doe:example.com","profile":{"display_name":"John Doe",'
                '"three_pids":[{"address":"john.doe@example.org","medium":"email"},'
                '{"address":"123456789","medium":"msisdn"}]},"success":true}}'
            ),
        ),
        ({"a": "日本語"}, '{"a":"日本語"}'),
        ({"本": 2, "日": 1}, '{"日":1,"本":2}'),
        ({"a": "\u65e5"}, '{"a":"日"}'),
        ({"a": None}, '{"a":null}'),
        ({"a": -0}, '{"a":0}'),
        ({"a": '\x00\x1f\n"\\/\x7f\U0001f600'}, '{"a":"\\u0000\\u001f\\n\\"\\\\/\x7f😀"}'),
    ],
)
def test_the_specifications_examples(value: Any, text: str) -> None:
    assert canonical(value) == text.encode()


@pytest.mark.parametrize(
    "value",
    [
        1.0,
        {"a": [0.5]},
        1 << 53,
        -(1 << 53),
        float("nan"),
        "\ud800",
        {1: 2},
        {"a": b""},
        {"a": {2}},
    ],
)
def test_what_has_no_canonical_form_is_refused(value: Any) -> None:
    with pytest.raises(NotCanonicalError):
        canonical(value)


def test_deep_nesting_is_refused_and_does_not_end_the_process() -> None:
    value: Any = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(NotCanonicalError, match="deep"):
        canonical(value)


@pytest.mark.parametrize(
    ("value", "signature"),
    [
        (
            {},
            "K8280/U9SSy9IVtjBuVeLr+HpOB4BQFWbg+UZaADMtTdGYI7Geitb76LTrr5QV/7Xg4ahLwYGYZzuHGZKM5ZAQ",
        ),
        (
            {"one": 1, "two": "Two"},
            "KqmLSbO39/Bzb0QIYE82zqLwsA+PDzYIpIRA2sRQ4sL53+sN6/fpNSoqE7BP7vBZhG6kYdD13EIMJpvhJI+6Bw",
        ),
    ],
)
def test_the_specifications_signatures(value: dict[str, Any], signature: str) -> None:
    made = signed({**value, "unsigned": {"age": 1.5}}, "domain", "ed25519:1", sign)
    assert made["signatures"] == {"domain": {"ed25519:1": signature}}
    assert is_signed(made, "domain", "ed25519:1", PUBLIC)


@pytest.mark.parametrize(
    "change",
    [
        {"one": 2},
        {"extra": 1},
        {"float": 0.1},
        {"signatures": None},
        {"signatures": {"domain": []}},
        {"signatures": {"domain": {"ed25519:1": 7}}},
        {"signatures": {"domain": {"ed25519:1": "AAAA"}}},
        {"signatures": {"domain": {"ed25519:1": "é"}}},
        {"signatures": {"domain": {"ed25519:2": sign(b'{"one":1}')}}},
    ],
)
def test_any_change_makes_a_signature_invalid(change: dict[str, Any]) -> None:
    made = signed({"one": 1}, "domain", "ed25519:1", sign)
    assert is_signed(made, "domain", "ed25519:1", PUBLIC)
    assert not is_signed({**made, **change}, "domain", "ed25519:1", PUBLIC)
    assert not is_signed(made, "domain", "ed25519:1", "no key")


def test_a_second_signature_stands_beside_the_first() -> None:
    once = signed({"a": 1}, "@u:x", "ed25519:A", sign)
    twice = signed(once, "@u:x", "ed25519:B", sign)
    assert set(twice["signatures"]["@u:x"]) == {"ed25519:A", "ed25519:B"}
    assert set(once["signatures"]["@u:x"]) == {"ed25519:A"}
