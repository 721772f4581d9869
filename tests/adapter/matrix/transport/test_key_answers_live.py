"""The answers about keys, field by field, on Synapse and on the fake homeserver alike: what the
client's parsing could hide.
"""

from __future__ import annotations

from typing import Any

import aiohttp

from antiphon.adapter.matrix.transport.answers import V3
from antiphon.adapter.matrix.transport.media import is_mxc
from antiphon.testing.homeserver_world import (
    SIGNED_CURVE25519,
    DeviceKeys,
    SigningKeys,
    World,
)
from antiphon.testing.live import LiveUser

ALGORITHM = "m.megolm_backup.v1.curve25519-aes-sha2"
KEY = {
    "first_message_index": 3,
    "forwarded_count": 0,
    "is_verified": False,
    "session_data": {"ciphertext": "c", "ephemeral": "e", "mac": "m"},
}


async def asked(user: LiveUser, method: str, below: str, body: Any = None) -> tuple[int, Any]:
    """Status and body of an answer, as they came."""
    headers = {"Authorization": f"Bearer {user.client._http.token.reveal()}"}  # type: ignore[union-attr]
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, user.client.homeserver + below, json=body, headers=headers) as got,
    ):
        return got.status, await got.json()


async def test_the_answers_have_the_same_fields(world: World) -> None:
    bot = await world.user("bot")
    machine, identity = DeviceKeys(bot), SigningKeys(bot)
    status, answer = await asked(bot, "GET", f"{V3}/sync")
    assert (status, answer["device_one_time_keys_count"]) == (200, {SIGNED_CURVE25519: 0})
    assert answer["device_unused_fallback_key_types"] == []
    assert "device_lists" not in answer
    body = {"device_keys": machine.device_keys}
    since = answer["next_batch"]
    assert await asked(bot, "POST", f"{V3}/keys/upload", body) == (
        200,
        {"one_time_key_counts": {SIGNED_CURVE25519: 0}},
    )
    status, answer = await asked(bot, "GET", f"{V3}/sync?since={since}")
    assert answer["device_lists"] == {"changed": [bot.user_id]}
    status, answer = await asked(bot, "GET", f"{V3}/keys/changes?from={since}&to={since}")
    assert answer == {"changed": [bot.user_id], "left": []}
    query: dict[str, Any] = {"device_keys": {"@a:nowhere.invalid": []}}
    status, answer = await asked(bot, "POST", f"{V3}/keys/query", query)
    assert (status, set(answer)) == (
        200,
        {"device_keys", "master_keys", "self_signing_keys", "user_signing_keys", "failures"},
    )
    # Neither federates with anybody. A server that is away would be a 503 without errcode.
    assert answer["failures"]["nowhere.invalid"] == {
        "status": 403,
        "errcode": "M_FORBIDDEN",
        "message": "403: Federation denied with nowhere.invalid.",
    }
    claim = {"one_time_keys": {bot.user_id: {bot.device_id: SIGNED_CURVE25519}}}
    assert await asked(bot, "POST", f"{V3}/keys/claim", claim) == (
        200,
        {"one_time_keys": {}, "failures": {}},
    )
    status, answer = await asked(bot, "GET", f"{V3}/devices")
    assert set(answer["devices"][0]) == {
        "device_id", "display_name", "last_seen_ip", "last_seen_ts", "user_id",
    }  # fmt: skip

    where = f"{V3}/keys/device_signing/upload"
    assert await asked(bot, "POST", where, identity.body) == (200, {})
    status, answer = await asked(bot, "POST", where, SigningKeys(bot).body)
    assert (status, set(answer)) == (401, {"session", "flows", "params"})
    assert answer["flows"] == [{"stages": ["m.login.password"]}]
    auth = {
        "type": "m.login.password",
        "session": answer["session"],
        "identifier": {"type": "m.id.user", "user": bot.user_id},
        "password": "wrong",
    }
    status, answer = await asked(bot, "POST", where, SigningKeys(bot).body | {"auth": auth})
    assert (status, answer["errcode"], answer["completed"]) == (401, "M_FORBIDDEN", [])
    assert set(answer) == {"session", "flows", "params", "completed", "errcode", "error"}
    assert await asked(bot, "POST", f"{V3}/keys/signatures/upload", {}) == (200, {"failures": {}})

    where = f"{V3}/room_keys/version"
    status, answer = await asked(bot, "GET", where)
    assert (status, answer["errcode"], set(answer)) == (404, "M_NOT_FOUND", {"errcode", "error"})
    made = {"algorithm": ALGORITHM, "auth_data": {"public_key": "p"}}
    status, answer = await asked(bot, "POST", where, made)
    assert answer == {"version": "1"}
    assert await asked(bot, "GET", where) == (
        200,
        made | {"version": "1", "count": 0, "etag": "0"},
    )
    where = f"{V3}/room_keys/keys?version=1"
    key = {"rooms": {"!r:x": {"sessions": {"s": KEY}}}}
    assert await asked(bot, "PUT", where, key) == (200, {"count": 1, "etag": "1"})
    assert await asked(bot, "GET", where) == (200, key)
    status, answer = await asked(bot, "PUT", f"{V3}/room_keys/keys", key)
    assert (status, answer["errcode"]) == (400, "M_MISSING_PARAM")
    assert await asked(bot, "PUT", f"{V3}/room_keys/version/1", made) == (200, {})
    assert await asked(bot, "DELETE", f"{V3}/room_keys/version/1") == (200, {})
    where = f"{V3}/user/{bot.user_id}/account_data/m.x"
    assert await asked(bot, "PUT", where, {"a": 1}) == (200, {})
    assert await asked(bot, "GET", where) == (200, {"a": 1})
    assert await asked(bot, "PUT", f"{V3}/sendToDevice/m.x/t", {"messages": {}}) == (200, {})
    status, answer = await asked(bot, "POST", "/_matrix/media/v3/upload", "text")
    assert set(answer) == {"content_uri"}
    assert is_mxc(answer["content_uri"])
