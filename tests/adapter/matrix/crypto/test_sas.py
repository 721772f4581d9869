"""Short authentication strings: what other implementations compute of the same values."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.adapter.matrix.crypto import sas, unpadded
from antiphon.adapter.matrix.crypto.canonical import canonical
from antiphon.adapter.matrix.crypto.sas import Ephemeral, Side
from antiphon.adapter.matrix.crypto.sas_emoji import EMOJI
from antiphon.errors import EncryptionError
from antiphon.testing.verifying import FixedAgreement, libolm_base64

ALICE = Side("@alice:example.com", "AAAAAAAAAA")
BOB = Side("@bob:example.com", "BBBBBBBBBB")


def test_commitment() -> None:
    """matrix-rust-sdk, crates/matrix-sdk-crypto/src/verification/sas/helpers.rs,
    commitment_calculation."""
    start = {
        "from_device": "XOWLHHFSWM",
        "transaction_id": "bYxBsirjUJO9osar6ST4i2M2NjrYLA7l",
        "method": "m.sas.v1",
        "key_agreement_protocols": ["curve25519-hkdf-sha256", "curve25519"],
        "hashes": ["sha256"],
        "message_authentication_codes": ["hkdf-hmac-sha256", "hmac-sha256"],
        "short_authentication_string": ["decimal", "emoji"],
    }
    public = "Q/NmNFEUS1fS+YeEmiZkjjblKTitrKOAk7cPEumcMlg"
    made = sas.commitment(public, canonical(start))
    assert made == "CCQmB4JCdB0FW21FdAnHj/Hu8+W9+Nb0vgwPEnZZQ4g"


def test_what_a_mac_is_bound_to() -> None:
    """vodozemac, src/sas.rs, calculate_mac_vodozemac_libolm."""
    assert sas.mac_info(BOB, ALICE, "$1234567890", sas.KEY_IDS) == (
        "MATRIX_KEY_VERIFICATION_MAC"
        "@bob:example.comBBBBBBBBBB"
        "@alice:example.comAAAAAAAAAA"
        "$1234567890"
        "KEY_IDS"
    )


def test_what_a_short_string_is_bound_to() -> None:
    """The order of the specification, "SAS HKDF calculation"."""
    assert sas.short_auth_info((ALICE, "AKEY"), (BOB, "BKEY"), "txn") == (
        "MATRIX_KEY_VERIFICATION_SAS|@alice:example.com|AAAAAAAAAA|AKEY"
        "|@bob:example.com|BBBBBBBBBB|BKEY|txn"
    )


def test_the_emoji_are_those_of_the_specification() -> None:
    """data-definitions/sas-emoji.json: some by number, all different."""
    assert len(EMOJI) == len({symbol for symbol, _ in EMOJI}) == 64
    chosen = {0: "Dog", 8: "Panda", 21: "Cloud", 36: "Thumbs Up", 49: "Telephone", 63: "Pin"}
    assert {number: EMOJI[number][1] for number in chosen} == chosen
    # vodozemac, src/sas.rs, emoji_generation: all bits zero, all bits one.
    assert sas.emoji_of(bytes(7)) == (EMOJI[0],) * 7
    assert sas.emoji_of(b"\x3f" * 7) == (EMOJI[63],) * 7


def test_the_old_base64() -> None:
    """mautrix-go, crypto/verificationhelper/sas_test.go, from libolm's merge request 16."""
    mac = bytes([121, 105, 187, 19, 37, 94, 119, 248, 224, 34, 94, 29, 157, 5, 15, 230])
    mac += bytes([246, 115, 236, 217, 80, 78, 56, 200, 80, 200, 82, 158, 168, 179, 10, 230])
    assert libolm_base64(mac) == "eWm7NyVeVmXgbVhnYlZobllsWm9ibGxzV205aWJHeHo"


@given(st.binary(min_size=32, max_size=32), st.text(max_size=30), st.text(max_size=30))
def test_vodozemac_computes_what_the_specification_says(
    private: bytes, text: str, info: str
) -> None:
    ours, theirs = FixedAgreement(private), Ephemeral()
    mine, shared = ours.agree(theirs.public), theirs.agree(ours.public)
    assert mine.short_auth(info) == shared.short_auth(info)
    for method in (sas.MAC_V1, sas.MAC_V2):
        assert mine.mac(method, text, info) == shared.mac(method, text, info)


def test_an_ephemeral_key_is_good_once_and_never_for_itself() -> None:
    ephemeral = Ephemeral()
    with pytest.raises(EncryptionError):
        ephemeral.agree(ephemeral.public)
    for bad in ("", "short", "A" * 43, "!" * 43):
        with pytest.raises(EncryptionError):
            Ephemeral().agree(bad)
    ephemeral.agree(Ephemeral().public)
    with pytest.raises(EncryptionError):
        ephemeral.agree(Ephemeral().public)


def _start(**changes: Any) -> dict[str, Any]:
    return sas.offers() | changes


def test_v2_is_taken_where_it_is_offered_and_v1_only_where_it_is_not() -> None:
    for macs, chosen in (
        (["hkdf-hmac-sha256", "hkdf-hmac-sha256.v2"], "hkdf-hmac-sha256.v2"),
        (["hkdf-hmac-sha256", "hmac-sha256"], "hkdf-hmac-sha256"),
    ):
        agreed = sas.choose(_start(message_authentication_codes=macs))
        assert agreed is not None
        assert agreed.mac == chosen
    assert sas.choose(_start(message_authentication_codes=["hmac-sha256"])) is None
    assert sas.offers()["message_authentication_codes"] == ["hkdf-hmac-sha256.v2"]


def test_strings_that_both_can_show_are_chosen() -> None:
    agreed = sas.choose(_start(short_authentication_string=["emoji", "org.example", 5]))
    assert agreed == sas.Agreed("hkdf-hmac-sha256.v2", ("emoji",))


@pytest.mark.parametrize("name", sorted(sas.offers()))
@pytest.mark.parametrize("value", [None, "text", 5, [], [5], ["org.example"]])
def test_offers_that_do_not_fit_are_refused(name: str, value: object) -> None:
    assert sas.choose(_start(**{name: value})) is None


def test_base64_is_compared_whole() -> None:
    assert sas.same_text("abcd", "abcd==")
    for theirs in ("abc", "", None, 5, "abcdé", "Abcd"):
        assert not sas.same_text("abcd", theirs)


@given(st.binary(max_size=60))
def test_base64_comes_back_with_and_without_padding(data: bytes) -> None:
    text = unpadded.encode(data)
    assert unpadded.decode(text) == unpadded.decode(text + "=" * (-len(text) % 4)) == data
    assert unpadded.decode_url(unpadded.encode_url(data)) == data


@given(st.one_of(st.text(), st.integers(), st.none()))
def test_what_is_no_base64_is_none(text: object) -> None:
    data = unpadded.decode(text)
    assert data is None or json.dumps(text)
    for bad in ("A", "AA=A", "A A=", "AAAA===", "é", "--__"):
        assert unpadded.decode(bad) is None
