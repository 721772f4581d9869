"""Sessions as they travel, against those that matrix-js-sdk exported."""

from __future__ import annotations

import pytest
import vodozemac

from antiphon.adapter.matrix.crypto import key_backup, room_key
from antiphon.errors import EncryptionError

ROOM = "!room:id"
# matrix-js-sdk, spec/test-utils/crypto-test-data/index.ts: MEGOLM_SESSION_DATA and
# RATCHTED_MEGOLM_SESSION_DATA.
JS_SESSION_ID = "ipdI6Zs/7DzFTEhiA2iGaMDfHkIYCleqXT6L+5e1/co"
JS_SESSION_KEY = (
    "AQAAAABXGO+Z9jlQJhIL6ByhXrv2BwCIxkhh7MXpKLsYmXkJcWrQlirmXmD79ga1zo+I4DCtEZzyGSpD"
    "WXBC6G7ez3H4gDMBam1RE3Jm5tc+oTlIri32UkYgSL0kBkcEnttqmIXBlK8tAfJo3cJnlh7F4ltEOAqr"
    "dME6dU0zXTkqXmURqYqXSOmbP+w8xUxIYgNohmjA3x5CGApXql0+i/uXtf3K"
)
JS_RATCHETED_SESSION_KEY = (
    "AQAAAAFXGO+Z9jlQJhIL6ByhXrv2BwCIxkhh7MXpKLsYmXkJcWrQlirmXmD79ga1zo+I4DCtEZzyGSpD"
    "WXBC6G7ez3H4gDMBam1RE3Jm5tc+oTlIri32UkYgSL0kBkcEnttqmIUWvpwC7by/yg231+gyzu9lDHAU"
    "4ivCj48pt7WGiORWmIqXSOmbP+w8xUxIYgNohmjA3x5CGApXql0+i/uXtf3K"
)
JS_SENDER_KEY = "WimPd2udAU/1S/+YBpPbmr9L+0H5H+BnAVHSwDxlPGc"
JS_CLAIMED = {"ed25519": "Bhbpt6hqMZlSH4sJV7xiEEEiPVeTWz4Vkujl1EMdIPI"}


def _session(session_key: str) -> vodozemac.InboundGroupSession:
    return vodozemac.InboundGroupSession.import_session(vodozemac.ExportedSessionKey(session_key))


def _exported() -> room_key.RoomKey:
    return room_key.room_key_of(_session(JS_SESSION_KEY), ROOM, JS_SENDER_KEY, JS_CLAIMED)


def test_exported_keys_come_back_and_what_is_unusable_is_counted() -> None:
    """`m.shared_history` is matrix-js-sdk's name in MEGOLM_SESSION_DATA."""
    good = _exported().export_content() | {"m.shared_history": True}
    keys, unusable = room_key.parse_exported_keys(
        [good, "text", {}, good | {"algorithm": "x"}, good | {"session_id": "other"}]
    )
    assert (len(keys), unusable) == (1, 4)
    assert keys[0].shared_history
    del good["m.shared_history"]
    assert keys[0].export_content() == good | {"shared_history": True}
    with pytest.raises(EncryptionError):
        room_key.parse_exported_keys({})


def test_a_session_that_opens_later_messages_only_says_so() -> None:
    key = room_key.parse_room_key(
        {
            "algorithm": room_key.MEGOLM,
            "sender_key": JS_SENDER_KEY,
            "session_key": JS_RATCHETED_SESSION_KEY,
        },
        room_id=ROOM,
        session_id=JS_SESSION_ID,
    )
    assert key.first_index == 1
    backup = key_backup.new_backup_key()
    assert key_backup.encrypt_room_key(backup.public, key)["first_message_index"] == 1


@pytest.mark.parametrize("change", [{"room_id": "!other:id"}, {"session_id": "other"}])
def test_a_session_that_names_another_room_is_refused(change: dict[str, str]) -> None:
    with pytest.raises(EncryptionError, match="another room or another session"):
        room_key.parse_room_key(
            _exported().export_content() | change, room_id=ROOM, session_id=JS_SESSION_ID
        )


def test_a_session_key_is_not_shown() -> None:
    assert "session_key" not in repr(_exported())
