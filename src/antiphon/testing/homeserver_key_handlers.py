"""What the fake homeserver does with requests about keys, key backups, account data and files."""

from __future__ import annotations

import json
from typing import Any

from antiphon.testing.homeserver_backup import Backups
from antiphon.testing.homeserver_handlers import Call, File, Handle
from antiphon.testing.homeserver_keys import MOST_TO_DEVICE_BYTES
from antiphon.testing.homeserver_refusal import RefusedError

MOST_MEDIA_BYTES = 2_000_000


async def _keys_upload(call: Call) -> Any:
    counts = call.server.keys.upload(call.user_id, call.device_id, call.body)
    return {"one_time_key_counts": counts}


async def _keys_query(call: Call) -> Any:
    asked = call.body.get("device_keys")
    if not isinstance(asked, dict):
        raise RefusedError(400, "M_INVALID_PARAM")
    return call.server.keys.query(call.user_id, asked)


async def _keys_claim(call: Call) -> Any:
    return call.server.keys.claim(call.body.get("one_time_keys", {}))


async def _keys_changes(call: Call) -> Any:
    since = call.position("from")
    if since is None:
        raise RefusedError(400, "M_MISSING_PARAM")
    return {"changed": [], "left": []} | call.server.keys.lists(call.user_id, since)


async def _send_to_device(call: Call) -> Any:
    keys = call.server.keys
    transaction = (call.user_id, call.device_id, call.path["txn_id"])
    if transaction in keys.sent:
        return {}
    messages = call.body.get("messages", {})
    for devices in messages.values():
        for content in devices.values():
            if len(json.dumps(content, separators=(",", ":"))) > MOST_TO_DEVICE_BYTES:
                raise RefusedError(413, "M_TOO_LARGE")
    keys.sent.add(transaction)
    for user_id, devices in messages.items():
        for device_id, content in devices.items():
            message = {"type": call.path["event_type"], "sender": call.user_id, "content": content}
            keys.post(user_id, device_id, message)
    return {}


async def _signing_keys(call: Call) -> Any:
    signing = call.server.keys.signing
    offered = {name: value for name, value in call.body.items() if name != "auth"}
    if not signing.differs(call.user_id, offered):
        return {}
    if "master" in signing.keys.get(call.user_id, {}):
        _authenticate(call)
    signing.upload(call.user_id, offered)
    call.server.keys.changed(call.user_id)
    return {}


def _authenticate(call: Call) -> None:
    """Refuses who did not give the account's password in a session of ours."""
    auth = call.body.get("auth")
    session = auth.get("session") if isinstance(auth, dict) else None
    wanted = {"flows": [{"stages": ["m.login.password"]}], "params": {}}
    if not isinstance(auth, dict) or "type" not in auth:
        call.server.auth_sessions += 1
        refused = RefusedError(401, "", **wanted, session=f"auth{call.server.auth_sessions}")
        del refused.body["errcode"], refused.body["error"]
        raise refused
    if call.server.passwords.get(call.user_id) != auth.get("password"):
        raise RefusedError(401, "M_FORBIDDEN", **wanted, session=session, completed=[])


async def _signatures(call: Call) -> Any:
    keys = call.server.keys
    published = {
        device_id: device.keys
        for device_id, device in keys.devices.get(call.user_id, {}).items()
        if device.keys is not None
    }
    failures, signed = keys.signing.sign(call.user_id, published, call.body)
    for user_id in sorted(signed):
        # What we sign of others, nobody but us is told.
        keys.changed(user_id, told=None if user_id == call.user_id else call.user_id)
    return {"failures": failures}


async def _devices(call: Call) -> Any:
    return {
        "devices": [
            {
                "device_id": device_id,
                "display_name": device.name,
                "last_seen_ip": "127.0.0.1",
                "last_seen_ts": call.rooms.now_ms,
                "user_id": call.user_id,
            }
            for device_id, device in call.server.keys.devices.get(call.user_id, {}).items()
        ]
    }


# Account data


async def _account_data(call: Call) -> Any:
    _self(call)
    found = call.server.account_data.get((call.user_id, call.path["event_type"]))
    if found is None:
        raise RefusedError(404, "M_NOT_FOUND")
    return found


async def _set_account_data(call: Call) -> Any:
    _self(call)
    call.server.account_data[call.user_id, call.path["event_type"]] = call.body
    return {}


def _self(call: Call) -> None:
    if call.path["user_id"] != call.user_id:
        raise RefusedError(403, "M_FORBIDDEN")


# Key backup


def _backups(call: Call) -> Backups:
    return call.server.backups.setdefault(call.user_id, Backups())


def _version(call: Call) -> str:
    if "version" not in call.query:
        raise RefusedError(400, "M_MISSING_PARAM")
    return call.query["version"]


async def _backup_version(call: Call) -> Any:
    return _backups(call).find(call.path.get("version")).info()


async def _create_backup(call: Call) -> Any:
    return {"version": _backups(call).create(call.body["algorithm"], call.body["auth_data"])}


async def _update_backup(call: Call) -> Any:
    version = call.path["version"]
    backup = _backups(call).find(version)
    if (call.body.get("version", version), call.body.get("algorithm")) != (
        version,
        backup.algorithm,
    ):
        raise RefusedError(400, "M_INVALID_PARAM")
    backup.auth_data = call.body["auth_data"]
    return {}


async def _delete_backup(call: Call) -> Any:
    _backups(call).delete(call.path["version"])
    return {}


async def _put_backup_keys(call: Call) -> Any:
    return _backups(call).put(_version(call), call.body["rooms"])


async def _backup_keys(call: Call) -> Any:
    rooms = _backups(call).find(_version(call)).keys
    room_id, session_id = call.path.get("room_id"), call.path.get("session_id")
    if room_id is None:
        return {"rooms": {name: {"sessions": keys} for name, keys in rooms.items()}}
    sessions = rooms.get(room_id, {})
    if session_id is None:
        return {"sessions": sessions}
    if session_id not in sessions:
        raise RefusedError(404, "M_NOT_FOUND")
    return sessions[session_id]


# Files


async def _media_upload(call: Call) -> Any:
    if len(call.raw) > MOST_MEDIA_BYTES:
        raise RefusedError(413, "M_TOO_LARGE")
    address = f"mxc://{call.server.name}/file{len(call.server.files) + 1}"
    call.server.files[address] = File(call.raw, call.mime)
    return {"content_uri": address}


async def _media_download(call: Call) -> Any:
    file = call.server.files.get(f"mxc://{call.path['server']}/{call.path['media_id']}")
    if file is None:
        raise RefusedError(404, "M_NOT_FOUND")
    return file


_V3 = "/_matrix/client/v3"
_DATA = _V3 + "/user/{user_id}/account_data/{event_type}"
_VERSION = _V3 + "/room_keys/version"
_ROOM_KEYS = _V3 + "/room_keys/keys"
ROUTES: list[tuple[str, str, str, Handle]] = [
    ("keys_upload", "POST", f"{_V3}/keys/upload", _keys_upload),
    ("keys_query", "POST", f"{_V3}/keys/query", _keys_query),
    ("keys_claim", "POST", f"{_V3}/keys/claim", _keys_claim),
    ("keys_changes", "GET", f"{_V3}/keys/changes", _keys_changes),
    ("send_to_device", "PUT", _V3 + "/sendToDevice/{event_type}/{txn_id}", _send_to_device),
    ("signing_keys", "POST", f"{_V3}/keys/device_signing/upload", _signing_keys),
    ("signatures", "POST", f"{_V3}/keys/signatures/upload", _signatures),
    ("devices", "GET", f"{_V3}/devices", _devices),
    ("account_data", "GET", _DATA, _account_data),
    ("set_account_data", "PUT", _DATA, _set_account_data),
    ("backup_version", "GET", _VERSION, _backup_version),
    ("backup_version", "GET", _VERSION + "/{version}", _backup_version),
    ("create_backup", "POST", _VERSION, _create_backup),
    ("update_backup", "PUT", _VERSION + "/{version}", _update_backup),
    ("delete_backup", "DELETE", _VERSION + "/{version}", _delete_backup),
    ("put_backup_keys", "PUT", _ROOM_KEYS, _put_backup_keys),
    ("backup_keys", "GET", _ROOM_KEYS, _backup_keys),
    ("backup_keys", "GET", _ROOM_KEYS + "/{room_id}", _backup_keys),
    ("backup_keys", "GET", _ROOM_KEYS + "/{room_id}/{session_id}", _backup_keys),
    ("media_upload", "POST", "/_matrix/media/v3/upload", _media_upload),
    (
        "media_download",
        "GET",
        "/_matrix/client/v1/media/download/{server}/{media_id}",
        _media_download,
    ),
]
"""As `homeserver_handlers.ROUTES`."""
