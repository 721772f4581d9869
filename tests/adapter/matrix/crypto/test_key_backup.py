"""The key backup, against sessions and versions that other clients uploaded."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import vodozemac
from hypothesis import given
from hypothesis import strategies as st

from antiphon.adapter.matrix.crypto import key_backup, room_key, unpadded
from antiphon.errors import EncryptionError

ROOM = "!room:id"

# mautrix-go, crypto/backup/encryptedsessiondata_test.go.
GO_PRIVATE = base64.b64decode("ReSMMZeRtDSdrwXzu2OvN0B73KUXkYPt3kaYfFIkw10=")
GO_SENDER_KEY = "JUUfV6vErSATm3rIOU9DML+IX1SlYxnAAS824xhbhC4"
GO_CLAIMED = {"ed25519": "R2UJWSfgGr64iPENthl/98WGqBtnNlYuP12d6TEuGo4"}
GO_SESSIONS: list[tuple[dict[str, str], str]] = [
    (
        {
            "ciphertext": (
                "hDCjEbyi2uMXt3RBWe9mRdeqhcoraPR84/cq5ll16LIIIICJ8ZLmiWG5IwmGqDFmd3Jw20cNo49b38LH"
                "3oBJUl5DG44VdjoI4nlgAzaMSLwMZ7JFGt0Enu1Csfgpvgt1qksTP6QB7YDwITD33iL7ucco1iOl7ABG"
                "zhyjCi2iZ3A6Xmx3RsAmHhmU5gJWE6/lIoI6/lh7dZFSfp4RTGfxQ8ToCCIsrgdx1weViv4I4ArXfcrd"
                "naprPzP4cH77Ej1Wg1/bUHtB4C8nOiX+cYnOG29NbTHbtQF14zJpA+2XM2JngiLkss+NQj96PQzgPNhA"
                "MEFOLLy5ckY1WvS4sMMeCVzAyt5dwEGDcyxLTC4oJ/RrvLcHCHW0aOygPSlNoMRyDgC0f92+mPQGAmFv"
                "4GhfDFXfaauBxBdRAPjXj7Onn2B4UdfwQXGLT3RAihba8i9usOX5hLxqQqvtA3SUuV8hPrzHhpPEeRvx"
                "+PgZsXwV+gM7Aw3Mza6hwmILdngJh7NNQTINsCRqff9Ck3Kh7aSOoHsHvz7Ot+T514ObDwWYYCBMmS/6"
                "EG4XjSya6R98ggRWGrO9l21YYUvzBTv7OLtMck0Za3151Zqi/5LRKP95QIU"
            ),
            "ephemeral": "o43y/Mck1DExWdHr0+qbPJbjzO97+RH1mw6phLhYQj0",
            "mac": "Mnt8eXwFfjw",
        },
        (
            "AQAAAABc1O9JP2/HXS22iLN1uScFv2UyL33/L3L0sysPKcovQFI0lwKTuutrVeww2SNOU9b2J62kV/QX"
            "Ew7+N2I9klrvqqr9kdo1ywqFtZOnp8DlgR2+OhOnUYmj5YmJhmApPle9xnVVwZv57Q0REsmSAovHBLH4"
            "Kf3GEHPJ9WXEEnLINT9Gzit9qjIZ1fKKacLtvsZ+hbnTPvP5Df3ENalB+03E"
        ),
    ),
    (
        {
            "ciphertext": (
                "vdLkqNTijkM1L7HmbxdZs1EHygC7GFG0wPTAaLqpOCoir3K6tNYbjIJs36vzrwawdmfPxZvA9p/k3bZI"
                "hZDP7IivGYe69+4pWiIzrwYkHCidigKXkYD8KxKWvakBquO9vWUssXC05xdkQjHMNJK3zSJgtkbMhoY2"
                "8i1VUdmIjts4xU0cIT40F52Uyx3iu1UrqywUREEE5vhoSbeWxW3Vo5lqPi6rnyvMGZhVzAOv6re2O7wP"
                "WnSp0YJUsPaEj6Q9QpLr8BB9vJ++3kwmP5vxfjJLUsXuNEHWIKP5QyhpmGCgwjNpjnU6VhCqBzqs2M/K"
                "KX8zxZMGTIRidc3gx2i8KtDwRHRzh3FsSJEaC0sfCfGijpH5g9Pa+2P6b1GxvGQ4TF5X6ayLiV6FyNil"
                "pZ4z3kYsy63fP06uinHkX0TUClMQgLLmn0BAiOxKWtLNSLxgFdSYFm5oU/rpOBXWQKbzQ3cvlJZxBtxn"
                "aAhJnt3+t/3pJahlKAOxrQbKZAPL/KbO4nF9dsHpMkfMs25pVLDoHLKEXSBhagEFDbPKL5Uv55kca1C1"
                "XGrx+8fYUDBRQtYSLBSbAtF3UMv+hIMdRnmyQntwOy2hKRRs2UxnIlExk0Q"
            ),
            "ephemeral": "24PxRUfQDyYNZcTq0HT8pS3Gq+zkfsAcXHFJ3nZ56W4",
            "mac": "T7xq9qHm4Js",
        },
        (
            "AQAAAAB6cP1PrdPeIG/B0ZRHNUc65ujvIzOxKhW1HN25efyZFaq9xsLvCngm4WO56gEuUhS16E4m0pAa"
            "9B/KyRz3AnSOVcHYh1bYxm9qf6zU5PFm255n6FR2lGN0vrgUM7Xu2GNUDCWoNI4m4QsiBor9eCj2ZJRa"
            "y75dZ4nkhNf3GxBKOkhzPCreKabLxVsseGGIkq8rf01b0CWIcp5ISQISLdza"
        ),
    ),
]

# matrix-js-sdk, spec/test-utils/crypto-test-data/index.ts: BACKUP_DECRYPTION_KEY_BASE64,
# CURVE25519_KEY_BACKUP_DATA, MEGOLM_SESSION_DATA.
JS_PRIVATE = base64.b64decode("dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=")
JS_SESSION_ID = "ipdI6Zs/7DzFTEhiA2iGaMDfHkIYCleqXT6L+5e1/co"
JS_SESSION_KEY = (
    "AQAAAABXGO+Z9jlQJhIL6ByhXrv2BwCIxkhh7MXpKLsYmXkJcWrQlirmXmD79ga1zo+I4DCtEZzyGSpD"
    "WXBC6G7ez3H4gDMBam1RE3Jm5tc+oTlIri32UkYgSL0kBkcEnttqmIXBlK8tAfJo3cJnlh7F4ltEOAqr"
    "dME6dU0zXTkqXmURqYqXSOmbP+w8xUxIYgNohmjA3x5CGApXql0+i/uXtf3K"
)
JS_SENDER_KEY = "WimPd2udAU/1S/+YBpPbmr9L+0H5H+BnAVHSwDxlPGc"
JS_CLAIMED = {"ed25519": "Bhbpt6hqMZlSH4sJV7xiEEEiPVeTWz4Vkujl1EMdIPI"}
JS_DATA: dict[str, Any] = {
    "first_message_index": 1,
    "forwarded_count": 0,
    "is_verified": False,
    "session_data": {
        "ciphertext": (
            "r6HRk2/Im2yJe5cLP8R81aVjFWjYWPHpw7TVxphiSK1cdIDZTTK57r6MfU+0i/mTPn+/PosT74OvYwCn"
            "ehy2dyqqks+Ev+uBKw3TAo0HCv7W3Rmq9XtqxikG9ts7XtcjFEkx37+qRaXtikcu0+CmUf+I5X6KStwN"
            "Xb+CPnN2CGgwpn8g5+xEgSjE904QFrte4s9ygfqymgszgF7kzNICYF5g2GTlss8pdu/GLnh52AKvtT6F"
            "cqE5LC74N07BDWUycMHMMMw43F7z5GhzEnoWOXlbz+M4eTGrCYuhvcmQGNbdgzYqEXPm1z4xFhVgs84k"
            "FCtNeUc+AHZWfC2zynZ++4tpmfCYYpYEfYwQNo9Ks7o+Mh2PtAo9/GIU4xAK/uG0vizEiNYt/1QAxwgr"
            "mDxjdRe5TH4pPUtLMktRDyZKeUHJmYZA7pcLtpVatXhXmVEQLFLDc/uusxaBxFXYkx7BQnNRoa1BE1yX"
            "Rxud94s6vMsI/auhn95TG58Z0Rz9psRT4HzgDKeHf/uVbdfKR9O3gqxlB4mzZAyTCqHhUQERmGiISC2F"
            "euKkAwVk/ZxXiFqSTUCizwXcczGbzEbC+pBJTi6jX5Pa2yI9cT5C8xaGGUzEaKdNWukcs73uvXoFl/5y"
            "0Y29PkfE8UlPWpN4kZn7hrcOllcqqV9ZMH+rBbGViIw0yZ6yQUciEJzO8Gk3yz36lIT30VhCgKXMu+kE"
            "LEPTRSVXqEQkCXBcfNOhgl3LIso"
        ),
        "ephemeral": "q+P1WdRtEiPIEtNuuGrRcueZxUbLnSKdsuTAkxewXgU",
        "mac": "OibmACbORhI",
    },
}


def _session(session_key: str) -> vodozemac.InboundGroupSession:
    return vodozemac.InboundGroupSession.import_session(vodozemac.ExportedSessionKey(session_key))


@pytest.mark.parametrize(("data", "session_key"), GO_SESSIONS)
def test_opens_what_another_client_backed_up(data: dict[str, str], session_key: str) -> None:
    session_id = _session(session_key).session_id
    backup = key_backup.backup_key(GO_PRIVATE)
    key = key_backup.decrypt_room_key(backup, ROOM, session_id, {"session_data": data})
    assert key == room_key.RoomKey(
        room_id=ROOM,
        session_id=session_id,
        session_key=session_key,
        first_index=0,
        sender_key=GO_SENDER_KEY,
        claimed=GO_CLAIMED,
    )


def test_opens_what_matrix_js_sdk_backed_up() -> None:
    backup = key_backup.backup_key(JS_PRIVATE)
    key = key_backup.decrypt_room_key(backup, ROOM, JS_SESSION_ID, JS_DATA)
    assert (key.session_key, key.sender_key) == (JS_SESSION_KEY, JS_SENDER_KEY)
    assert key.claimed == JS_CLAIMED
    assert room_key.session_of(key).session_id == JS_SESSION_ID


def test_what_was_backed_up_comes_back() -> None:
    outbound = vodozemac.GroupSession()
    inbound = vodozemac.InboundGroupSession(outbound.session_key)
    key = room_key.room_key_of(
        inbound, ROOM, JS_SENDER_KEY, JS_CLAIMED, ("x",), shared_history=True
    )
    backup = key_backup.new_backup_key()
    data = key_backup.encrypt_room_key(backup.public, key, is_verified=True)
    assert (data["first_message_index"], data["forwarded_count"]) == (0, 1)
    assert data["is_verified"] is True
    read = key_backup.decrypt_room_key(backup, ROOM, inbound.session_id, data)
    assert read == key
    message = outbound.encrypt(b"hello")
    assert room_key.session_of(read).decrypt(message).plaintext == b"hello"


def test_another_backups_key_opens_nothing() -> None:
    with pytest.raises(EncryptionError, match="can't be opened"):
        key_backup.decrypt_room_key(key_backup.backup_key(GO_PRIVATE), ROOM, JS_SESSION_ID, JS_DATA)


def test_a_session_put_under_another_id_is_refused() -> None:
    """The homeserver chooses where it puts an entry."""
    other = _session(GO_SESSIONS[0][1]).session_id
    with pytest.raises(EncryptionError, match="another session"):
        key_backup.decrypt_room_key(key_backup.backup_key(JS_PRIVATE), ROOM, other, JS_DATA)


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        {"session_data": "text"},
        {"session_data": {"ciphertext": "AAAA", "mac": "AAAA"}},
        {"session_data": {"ciphertext": "", "mac": "", "ephemeral": ""}},
        {"session_data": {"ciphertext": "AAAA", "mac": "!", "ephemeral": "A" * 43}},
        {"session_data": JS_DATA["session_data"] | {"ephemeral": "A" * 43}},
        {"session_data": JS_DATA["session_data"] | {"mac": "AAAAAAAAAAA"}},
        {"session_data": JS_DATA["session_data"] | {"ciphertext": "A" * 100_000}},
    ],
)
def test_a_malformed_entry_is_refused(data: object) -> None:
    with pytest.raises(EncryptionError):
        key_backup.decrypt_room_key(key_backup.backup_key(JS_PRIVATE), ROOM, JS_SESSION_ID, data)


@given(
    st.one_of(
        st.binary(max_size=40),
        st.just(b"[]"),
        st.just(b'{"algorithm":"m.megolm.v1.aes-sha2","session_key":"x"}'),
    )
)
def test_an_entry_that_holds_no_session_is_refused(plaintext: bytes) -> None:
    """Anybody with the public key can put in what opens well and holds anything."""
    backup = key_backup.backup_key(JS_PRIVATE)
    public = vodozemac.Curve25519PublicKey.from_base64(backup.public)
    message = vodozemac.PkEncryption.from_key(public).encrypt(plaintext)
    parts = {
        "ciphertext": message.ciphertext,
        "mac": message.mac,
        "ephemeral": message.ephemeral_key,
    }
    data = {"session_data": {name: unpadded.encode(part) for name, part in parts.items()}}
    with pytest.raises(EncryptionError, match=r"exported session|holds no JSON"):
        key_backup.decrypt_room_key(backup, ROOM, JS_SESSION_ID, data)


def test_a_key_of_another_size_is_refused() -> None:
    with pytest.raises(EncryptionError):
        key_backup.backup_key(b"short")
    with pytest.raises(EncryptionError):
        key_backup.encrypt_room_key(
            "short", room_key.room_key_of(_session(JS_SESSION_KEY), ROOM, JS_SENDER_KEY, JS_CLAIMED)
        )


def test_a_session_that_is_too_large_is_not_worked_through() -> None:
    data = {"session_data": JS_DATA["session_data"] | {"ciphertext": "A" * 100_000}}
    with pytest.raises(EncryptionError, match="too large"):
        key_backup.decrypt_room_key(key_backup.backup_key(JS_PRIVATE), ROOM, JS_SESSION_ID, data)


def test_private_keys_are_not_shown() -> None:
    assert "private" not in repr(key_backup.backup_key(JS_PRIVATE))
