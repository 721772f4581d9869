"""The key backup, account data and files, on Synapse and on the
fake homeserver alike."""

from __future__ import annotations

import secrets
from typing import Any

import pytest
import vodozemac

from antiphon.errors import MatrixApiError
from antiphon.testing.homeserver_world import (
    World,
    refused,
)

# Account data, backup, files


async def test_account_data_is_kept_for_its_own_user(world: World) -> None:
    ada, bot = await world.user("ada"), await world.user("bot")
    kind = "m.secret_storage.key.abc/1"
    assert await bot.client.account_data(bot.user_id, kind) is None
    for content in ({"algorithm": "m.secret_storage.v1.aes-hmac-sha2"}, {}):
        await bot.client.set_account_data(bot.user_id, kind, content)
        assert await bot.client.account_data(bot.user_id, kind) == content
    with pytest.raises(MatrixApiError) as error:
        await ada.client.account_data(bot.user_id, kind)
    assert refused(error.value) == (403, "M_FORBIDDEN")
    with pytest.raises(MatrixApiError) as error:
        await ada.client.set_account_data(bot.user_id, kind, {})
    assert refused(error.value) == (403, "M_FORBIDDEN")


ALGORITHM = "m.megolm_backup.v1.curve25519-aes-sha2"
ROOM, SESSION = "!a/b:x", "ab/c+d"


def backed_up(index: int = 3, *, verified: bool = False, forwards: int = 0) -> dict[str, Any]:
    return {
        "first_message_index": index,
        "forwarded_count": forwards,
        "is_verified": verified,
        "session_data": {"ciphertext": "c", "ephemeral": "e", "mac": "m"},
    }


async def test_the_newest_backup_takes_keys_and_all_give_them(world: World) -> None:
    backup = (await world.user("bot")).client.key_backup
    assert await backup.version() is None
    auth_data = {"public_key": vodozemac.Account().curve25519_key.to_base64()}
    first = await backup.create_version(ALGORITHM, auth_data)
    info = await backup.version()
    assert info is not None
    assert (info.version, info.algorithm, info.auth_data) == (first, ALGORITHM, auth_data)
    assert info.count == 0
    assert await backup.all(first) == {}
    assert await backup.room(first, ROOM) == {}
    assert await backup.session(first, ROOM, SESSION) is None

    keys = {ROOM: {SESSION: backed_up(), "s2": backed_up()}, "!c:x": {"s3": backed_up()}}
    state = await backup.put(first, keys)
    assert (state.count, state.etag != info.etag) == (3, True)
    assert await backup.put(first, keys) == state
    assert await backup.all(first) == keys
    assert await backup.room(first, ROOM) == keys[ROOM]
    assert await backup.session(first, ROOM, SESSION) == backed_up()
    info = await backup.version(first)
    assert info is not None
    assert (info.count, info.etag) == (state.count, state.etag)

    await backup.update_version(first, ALGORITHM, auth_data | {"signatures": {}})
    changed = await backup.version()
    assert changed is not None
    assert changed.auth_data == auth_data | {"signatures": {}}
    with pytest.raises(MatrixApiError) as error:
        await backup.update_version(first, "org.other", auth_data)
    assert refused(error.value) == (400, "M_INVALID_PARAM")


async def test_only_a_better_key_replaces_a_key(world: World) -> None:
    """The last row is Synapse's own: by the specification a verified key is never replaced by one
    that is not."""
    backup = (await world.user("bot")).client.key_backup
    version = await backup.create_version(ALGORITHM, {"public_key": "p"})
    for key, stays in (
        (backed_up(3), True),
        (backed_up(5), False),
        (backed_up(2), True),
        (backed_up(2, forwards=1), False),
        (backed_up(9, verified=True, forwards=4), True),
        (backed_up(9, forwards=4), False),
        (backed_up(8, forwards=4), True),
    ):
        await backup.put(version, {ROOM: {SESSION: key}})
        assert (await backup.session(version, ROOM, SESSION) == key) is stays


async def test_an_older_backup_takes_no_keys_until_the_newer_is_deleted(world: World) -> None:
    backup = (await world.user("bot")).client.key_backup
    keys = {ROOM: {SESSION: backed_up()}}
    with pytest.raises(MatrixApiError) as error:
        await backup.put("1", keys)
    assert refused(error.value) == (404, "M_NOT_FOUND")
    first = await backup.create_version(ALGORITHM, {"public_key": "p"})
    await backup.put(first, keys)
    second = await backup.create_version(ALGORITHM, {"public_key": "q"})
    with pytest.raises(MatrixApiError) as error:
        await backup.put(first, keys)
    assert refused(error.value) == (403, "M_WRONG_ROOM_KEYS_VERSION")
    assert await backup.all(first) == keys
    for version in (second, second, "99"):
        await backup.delete_version(version)
    assert await backup.version(second) is None
    newest = await backup.version()
    assert newest is not None
    assert newest.version == first
    assert (await backup.put(first, {ROOM: {"s2": backed_up()}})).count == 2
    assert await backup.create_version(ALGORITHM, {"public_key": "r"}) not in (first, second)
    with pytest.raises(MatrixApiError) as error:
        await backup.all("99")
    assert refused(error.value) == (404, "M_NOT_FOUND")
    assert await backup.session("99", ROOM, SESSION) is None


async def test_a_file_comes_back_as_it_was(world: World) -> None:
    ada, bot = await world.user("ada"), await world.user("bot")
    body = secrets.token_bytes(100_000)
    address = await ada.client.media.upload(body, "image/png", "a b/ü.png")
    assert await bot.client.media.download(address, len(body)) == body
    with pytest.raises(MatrixApiError) as error:
        await bot.client.media.download(address, len(body) - 1)
    assert error.value.errcode == "M_TOO_LARGE"
    plain = await ada.client.media.upload(b'{"not": "json')
    assert await ada.client.media.download(plain, 1_000) == b'{"not": "json'
    missing = address[: address.rindex("/")] + "/nothing"
    with pytest.raises(MatrixApiError) as error:
        await bot.client.media.download(missing, 1)
    assert refused(error.value) == (404, "M_NOT_FOUND")
