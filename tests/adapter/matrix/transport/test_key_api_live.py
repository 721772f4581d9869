"""The requests about keys, on the real Synapse and on the fake homeserver alike: what is asserted
here holds for both, so that tests on the fake can be believed.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest
import vodozemac

from antiphon.adapter.matrix.transport.answers import V3
from antiphon.adapter.matrix.transport.media import is_mxc
from antiphon.adapter.matrix.transport.sync_response import SyncResponse
from antiphon.adapter.matrix.transport.values import PasswordAuth
from antiphon.demo.synapse import Synapse
from antiphon.errors import MatrixApiError, TokenRevokedError
from antiphon.settings import Secret
from antiphon.testing.homeserver import FakeHomeserver
from antiphon.testing.live import LiveUser, log_in

OLM, CURVE = "m.olm.v1.curve25519-aes-sha2", "signed_curve25519"
WAIT_MS = 5_000


class World:
    """A homeserver of either kind, with users who log in."""

    def __init__(self, server: FakeHomeserver | Synapse, stack: AsyncExitStack):
        self.server, self.stack = server, stack

    async def user(self, name: str) -> LiveUser:
        """A new user with one device."""
        localpart, password = f"{name}-{secrets.token_hex(4)}", Secret(secrets.token_hex(8))
        if isinstance(self.server, FakeHomeserver):
            user_id = self.server.account(localpart, password.reveal())
        else:
            user_id = await self.server.register_user(localpart, password)
        return await self.stack.enter_async_context(log_in(self.server.url, user_id, password))

    async def another_device(self, user: LiveUser) -> LiveUser:
        """The same user, logged in once more."""
        return await self.stack.enter_async_context(
            log_in(self.server.url, user.user_id, user.password)
        )

    async def together(self, *users: LiveUser, encrypted: bool = True) -> str:
        """A room that all of them are in."""
        state = {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.x"}}
        first, *others = users
        room_id = await first.room(
            *(user.user_id for user in others), initial_state=[state] if encrypted else []
        )
        for user in others:
            await user.client.join(room_id)
        return room_id


@pytest.fixture(params=["fake", pytest.param("synapse", marks=pytest.mark.live)])
def server(request: pytest.FixtureRequest) -> FakeHomeserver | Synapse:
    if request.param == "fake":
        return FakeHomeserver()
    found = request.getfixturevalue("synapse")
    assert isinstance(found, Synapse)
    return found


@pytest.fixture
async def world(server: FakeHomeserver | Synapse) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        if isinstance(server, FakeHomeserver):
            await stack.enter_async_context(server)
        yield World(server, stack)


def canonical(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def signed(
    thing: dict[str, Any], user_id: str, key_id: str, account: vodozemac.Account
) -> dict[str, Any]:
    """The thing with one more signature."""
    bare = {k: v for k, v in thing.items() if k not in ("signatures", "unsigned")}
    made = {k: dict(v) for k, v in thing.get("signatures", {}).items()}
    made.setdefault(user_id, {})[f"ed25519:{key_id}"] = account.sign(canonical(bare)).to_base64()
    return {**bare, "signatures": made}


class Machine:
    """The real keys of a device."""

    def __init__(self, user: LiveUser):
        self.user, self.account = user, vodozemac.Account()
        user_id, device_id = user.user_id, user.device_id
        self.device_keys = self.sign(
            {
                "user_id": user_id,
                "device_id": device_id,
                "algorithms": [OLM, "m.megolm.v1.aes-sha2"],
                "keys": {
                    f"curve25519:{device_id}": self.account.curve25519_key.to_base64(),
                    f"ed25519:{device_id}": self.account.ed25519_key.to_base64(),
                },
            }
        )

    def sign(self, thing: dict[str, Any]) -> dict[str, Any]:
        return signed(thing, self.user.user_id, self.user.device_id, self.account)

    def one_time_keys(self, number: int) -> dict[str, Any]:
        self.account.generate_one_time_keys(number)
        keys = self.account.one_time_keys
        self.account.mark_keys_as_published()
        return {
            f"{CURVE}:{key_id}": self.sign({"key": key.to_base64()}) for key_id, key in keys.items()
        }

    def fallback_key(self) -> dict[str, Any]:
        key = next(iter(self.one_time_keys(1).items()))
        return {key[0]: self.sign({"key": key[1]["key"], "fallback": True})}


class Identity:
    """The real cross-signing keys of a user."""

    def __init__(self, user: LiveUser):
        self.user = user
        self.accounts = {
            usage: vodozemac.Account() for usage in ("master", "self_signing", "user_signing")
        }
        self.body: dict[str, Any] = {}
        for usage, account in self.accounts.items():
            public = account.ed25519_key.to_base64()
            key = {
                "user_id": user.user_id,
                "usage": [usage],
                "keys": {f"ed25519:{public}": public},
            }
            self.body[f"{usage}_key"] = key if usage == "master" else self.sign(key, "master")

    def public(self, usage: str) -> str:
        return self.accounts[usage].ed25519_key.to_base64()

    def sign(self, thing: dict[str, Any], usage: str) -> dict[str, Any]:
        return signed(thing, self.user.user_id, self.public(usage), self.accounts[usage])


async def sync(user: LiveUser, since: str | None = None, wait_ms: int = 0) -> SyncResponse:
    return await user.client.sync(since, filter="{}", timeout_ms=wait_ms)


async def uncached(user: LiveUser, since: str | None = None) -> SyncResponse:
    """As `sync`, past Synapse's cache: it answers the same request for two minutes with the same
    response, to-device messages that are gone and key counts of then included."""
    other = json.dumps({"room": {"timeline": {"limit": 10 + secrets.randbelow(10**6)}}})
    return await user.client.sync(since, filter=other, timeout_ms=0)


async def caught_up(user: LiveUser) -> str:
    """The token of a sync behind which nothing waits."""
    since = (await sync(user)).next_batch
    while not (response := await sync(user, since)).empty or response.device_lists_changed:
        since = response.next_batch
    return response.next_batch


async def told(user: LiveUser, since: str, whose: str) -> SyncResponse:
    """The first answer that says that somebody's device list changed."""
    for _ in range(10):
        response = await sync(user, since, WAIT_MS)
        if whose in response.device_lists_changed:
            return response
        since = response.next_batch
    raise AssertionError(f"nobody said that the keys of {whose} changed")


def refused(error: pytest.ExceptionInfo[MatrixApiError]) -> tuple[int, str]:
    return error.value.status, error.value.errcode


# Keys of devices


async def test_keys_are_counted_given_and_used_up(world: World) -> None:
    ada, bot = await world.user("ada"), await world.user("bot")
    machine = Machine(bot)
    first = await sync(bot)
    assert (first.one_time_key_counts, first.unused_fallback_key_types) == ({CURVE: 0}, ())
    keys, fallback = machine.one_time_keys(2), machine.fallback_key()
    body = {"device_keys": machine.device_keys, "one_time_keys": keys, "fallback_keys": fallback}
    assert await bot.client.keys.upload_keys(body) == {CURVE: 2}
    assert await bot.client.keys.upload_keys(body) == {CURVE: 2}
    assert await bot.client.keys.upload_keys({}) == {CURVE: 2}
    news = await sync(bot, first.next_batch)
    assert (news.one_time_key_counts, news.unused_fallback_key_types) == ({CURVE: 2}, (CURVE,))
    assert first.next_batch != news.next_batch

    wanted = {bot.user_id: {bot.device_id: CURVE, "NOBODY": CURVE}}
    claimed: list[dict[str, Any]] = []
    for _ in range(4):
        answer = await ada.client.keys.claim_keys(wanted, 1_000)
        assert answer["failures"] == {}
        assert list(answer["one_time_keys"]) == [bot.user_id]
        assert list(answer["one_time_keys"][bot.user_id]) == [bot.device_id]
        claimed.append(answer["one_time_keys"][bot.user_id][bot.device_id])
    assert claimed[0] | claimed[1] == keys
    assert claimed[2] == claimed[3] == fallback
    news = await sync(bot, news.next_batch)
    assert (news.one_time_key_counts, news.unused_fallback_key_types) == ({CURVE: 0}, ())
    await bot.client.keys.upload_keys({"fallback_keys": machine.fallback_key()})
    assert (await uncached(bot, news.next_batch)).unused_fallback_key_types == (CURVE,)


async def test_a_device_without_keys_gives_none(world: World) -> None:
    ada, bot = await world.user("ada"), await world.user("bot")
    wanted = {bot.user_id: {bot.device_id: CURVE}, ada.user_id: {"NOBODY": CURVE}}
    answer = await ada.client.keys.claim_keys(wanted, 1_000)
    assert answer == {"one_time_keys": {}, "failures": {}}


async def test_a_one_time_key_of_a_known_id_keeps_its_value(world: World) -> None:
    """What a store that was rewound would do. Device keys of the same request are taken."""
    bot = await world.user("bot")
    machine = Machine(bot)
    keys = machine.one_time_keys(1)
    await bot.client.keys.upload_keys({"one_time_keys": keys})
    [key_id] = keys
    [other] = machine.one_time_keys(1).values()
    [more] = machine.one_time_keys(1).items()
    with pytest.raises(MatrixApiError) as error:
        await bot.client.keys.upload_keys(
            {
                "device_keys": machine.device_keys,
                "one_time_keys": dict([more, (key_id, other)]),
                "fallback_keys": machine.fallback_key(),
            }
        )
    assert refused(error) == (400, "M_UNKNOWN")
    news = await uncached(bot)
    assert (news.one_time_key_counts, news.unused_fallback_key_types) == ({CURVE: 1}, ())
    answer = await bot.client.keys.query_keys([bot.user_id], 1_000)
    assert list(answer["device_keys"][bot.user_id]) == [bot.device_id]


async def test_keys_of_another_device_are_refused(world: World) -> None:
    ada, bot = await world.user("ada"), await world.user("bot")
    with pytest.raises(MatrixApiError) as error:
        await bot.client.keys.upload_keys({"device_keys": Machine(ada).device_keys})
    assert refused(error) == (400, "M_BAD_JSON")


async def test_a_query_gives_the_devices_that_have_keys(world: World) -> None:
    ada, bot = await world.user("ada"), await world.user("bot")
    await world.another_device(bot)
    machine = Machine(bot)
    await bot.client.keys.upload_keys({"device_keys": machine.device_keys})
    nobody = "@nobody" + ada.user_id[ada.user_id.index(":") :]
    answer = await ada.client.keys.query_keys([bot.user_id, ada.user_id, nobody], 1_000)
    shown = machine.device_keys | {"unsigned": {"device_display_name": "Test"}}
    assert answer == {
        "device_keys": {bot.user_id: {bot.device_id: shown}, ada.user_id: {}, nobody: {}},
        "master_keys": {},
        "self_signing_keys": {},
        "user_signing_keys": {},
        "failures": {},
    }


async def test_a_logout_ends_the_device_and_its_keys(world: World) -> None:
    ada, bot = await world.user("ada"), await world.user("bot")
    gone = await world.another_device(bot)
    await world.together(ada, bot)
    machine = Machine(gone)
    await gone.client.keys.upload_keys({"device_keys": machine.device_keys})
    since = await caught_up(ada)
    assert {d.device_id for d in await bot.client.devices()} == {bot.device_id, gone.device_id}
    assert {d.display_name for d in await bot.client.devices()} == {"Test"}
    await gone.client.logout()
    with pytest.raises(TokenRevokedError):
        await gone.client.devices()
    await told(ada, since, bot.user_id)
    answer = await ada.client.keys.query_keys([bot.user_id], 1_000)
    assert answer["device_keys"] == {bot.user_id: {}}
    assert [d.device_id for d in await bot.client.devices()] == [bot.device_id]


# Device lists


@pytest.mark.parametrize("encrypted", [True, False])
async def test_a_change_of_keys_is_told_to_who_shares_a_room(world: World, encrypted: bool) -> None:
    """Whether the room is encrypted or not. It is no news of a room: such an answer is empty."""
    ada, bot = await world.user("ada"), await world.user("bot")
    stranger = await world.user("eve")
    await world.together(ada, bot, encrypted=encrypted)
    since, unconcerned = await caught_up(ada), await caught_up(stranger)
    machine = Machine(bot)
    await bot.client.keys.upload_keys({"device_keys": machine.device_keys})
    response = await told(ada, since, bot.user_id)
    assert response.empty
    assert bot.user_id in (await sync(ada, since)).device_lists_changed
    assert (await sync(ada, response.next_batch)).device_lists_changed == ()
    assert (await sync(stranger, unconcerned)).device_lists_changed == ()
    changes = await ada.client.keys.keys_changes(since, response.next_batch)
    assert (changes.changed, changes.left) == ((bot.user_id,), ())
    assert (await sync(ada)).device_lists_changed == ()


async def test_our_own_keys_are_told_to_us_too(world: World) -> None:
    bot = await world.user("bot")
    since = await caught_up(bot)
    await bot.client.keys.upload_keys({"device_keys": Machine(bot).device_keys})
    await told(bot, since, bot.user_id)


async def test_who_comes_near_has_changed_and_who_goes_has_left(world: World) -> None:
    ada, bot, eve = await world.user("ada"), await world.user("bot"), await world.user("eve")
    room_id = await world.together(ada, bot)
    since = await caught_up(bot)
    await ada.client.invite(room_id, eve.user_id)
    invited = await told(bot, since, eve.user_id)
    await eve.client.join(room_id)
    at = await caught_up(bot)
    await eve.client.leave(room_id)
    response = await sync(bot, at, WAIT_MS)
    assert response.device_lists_left == (eve.user_id,)
    changes = await bot.client.keys.keys_changes(at, response.next_batch)
    assert changes.left == (eve.user_id,)
    assert invited.device_lists_left == ()
    at = await caught_up(bot)
    await bot.client.leave(room_id)
    assert (await sync(bot, at, WAIT_MS)).device_lists_left == (ada.user_id,)


async def test_joining_a_room_tells_of_all_who_are_in_it(world: World) -> None:
    ada, bot = await world.user("ada"), await world.user("bot")
    room_id = await ada.room(bot.user_id)
    since = await caught_up(bot)
    await bot.client.join(room_id)
    response = await told(bot, since, ada.user_id)
    assert set(response.device_lists_changed) == {ada.user_id, bot.user_id}
    assert not response.empty


# To-device messages


async def test_a_message_reaches_the_devices_it_is_for_once(world: World) -> None:
    ada, bot = await world.user("ada"), await world.user("bot")
    other = await world.another_device(bot)
    at, other_at = await caught_up(bot), await caught_up(other)
    send = ada.client.keys.send_to_device
    for _ in range(2):
        await send("org.test", "t1", {bot.user_id: {bot.device_id: {"n": 1}, "NOBODY": {"n": 0}}})
    await send("org.test", "t2", {bot.user_id: {"*": {"n": 2}}})
    await send("org.test", "t1", {bot.user_id: {bot.device_id: {"n": 3}}})

    def message(number: int) -> dict[str, Any]:
        return {"type": "org.test", "sender": ada.user_id, "content": {"n": number}}

    first, again = await sync(bot, at, WAIT_MS), await sync(bot, at)
    assert first.to_device == again.to_device == (message(1), message(2))
    assert (await sync(other, other_at)).to_device == (message(2),)
    assert (await sync(bot, first.next_batch)).to_device == ()
    assert (await uncached(bot, at)).to_device == ()


async def test_a_message_that_is_too_large_fails_the_whole_request(world: World) -> None:
    ada, bot = await world.user("ada"), await world.user("bot")
    at = await caught_up(bot)
    messages = {
        ada.user_id: {"*": {"text": "small"}},
        bot.user_id: {bot.device_id: {"text": "x" * 65_536}},
    }
    with pytest.raises(MatrixApiError) as error:
        await ada.client.keys.send_to_device("org.test", "t1", messages)
    assert refused(error) == (413, "M_TOO_LARGE")
    fits = {bot.user_id: {bot.device_id: {"text": "x" * (65_536 - len('{"text":""}'))}}}
    await ada.client.keys.send_to_device("org.test", "t1", fits)
    assert len((await sync(bot, at, WAIT_MS)).to_device) == 1


# Cross-signing


async def test_signing_keys_are_set_freely_once_and_replaced_with_the_password(
    world: World,
) -> None:
    ada, bot = await world.user("ada"), await world.user("bot")
    first, second = Identity(bot), Identity(bot)
    upload = bot.client.keys.upload_signing_keys
    assert await upload(first.body) is None
    assert await upload(first.body) is None
    own = await bot.client.keys.query_keys([bot.user_id], 1_000)
    for usage in ("master", "self_signing", "user_signing"):
        assert own[f"{usage}_keys"] == {bot.user_id: first.body[f"{usage}_key"]}
    others = await ada.client.keys.query_keys([bot.user_id], 1_000)
    assert others["master_keys"] == own["master_keys"]
    assert others["self_signing_keys"] == own["self_signing_keys"]
    assert others["user_signing_keys"] == {}

    wanted = await upload(second.body)
    assert wanted is not None
    assert wanted.session
    assert (wanted.takes_password, wanted.refused, wanted.url) == (True, False, None)
    wrong = await upload(second.body, PasswordAuth(wanted.session, bot.user_id, Secret("wrong")))
    assert wrong is not None
    assert (wrong.refused, wrong.session, wrong.takes_password) == (True, wanted.session, True)
    auth = PasswordAuth(wanted.session, bot.user_id, bot.password)
    assert await upload(second.body, auth) is None
    own = await bot.client.keys.query_keys([bot.user_id], 1_000)
    assert own["master_keys"] == {bot.user_id: second.body["master_key"]}


async def test_signing_keys_must_be_whole_and_signed(world: World) -> None:
    bot = await world.user("bot")
    upload = bot.client.keys.upload_signing_keys
    identity, foreign = Identity(bot), Identity(bot)
    with pytest.raises(MatrixApiError) as error:
        await upload({"self_signing_key": identity.body["self_signing_key"]})
    assert refused(error) == (400, "M_MISSING_PARAM")
    with pytest.raises(MatrixApiError) as error:
        await upload(identity.body | {"self_signing_key": foreign.body["self_signing_key"]})
    assert refused(error) == (400, "M_INVALID_SIGNATURE")
    with pytest.raises(MatrixApiError) as error:
        await upload({"master_key": identity.body["self_signing_key"]})
    assert refused(error) == (400, "M_INVALID_PARAM")
    assert (await bot.client.keys.query_keys([bot.user_id], 1_000))["master_keys"] == {}


async def test_signatures_are_merged_into_what_others_are_given(world: World) -> None:
    """Those of devices by the self-signing key; what devices signed of the master key is given to
    their own user alone."""
    ada, bot = await world.user("ada"), await world.user("bot")
    await world.together(ada, bot)
    machine, identity = Machine(bot), Identity(bot)
    await bot.client.keys.upload_keys({"device_keys": machine.device_keys})
    await bot.client.keys.upload_signing_keys(identity.body)
    since = await caught_up(ada)
    device = identity.sign(machine.device_keys, "self_signing")
    master = machine.sign(identity.body["master_key"])
    body = {bot.user_id: {bot.device_id: device, identity.public("master"): master}}
    assert await bot.client.keys.upload_signatures(body) == {}
    assert await bot.client.keys.upload_signatures(body) == {}
    await told(ada, since, bot.user_id)
    answer = await ada.client.keys.query_keys([bot.user_id], 1_000)
    shown = answer["device_keys"][bot.user_id][bot.device_id]
    assert shown["signatures"] == device["signatures"]
    assert answer["master_keys"] == {bot.user_id: identity.body["master_key"]}
    answer = await bot.client.keys.query_keys([bot.user_id], 1_000)
    assert answer["master_keys"] == {bot.user_id: master}


async def test_what_somebody_signed_of_others_only_they_see(world: World) -> None:
    ada, bot = await world.user("ada"), await world.user("bot")
    await world.together(ada, bot)
    identities = {user.user_id: Identity(user) for user in (ada, bot)}
    for user in (ada, bot):
        await user.client.keys.upload_signing_keys(identities[user.user_id].body)
    target = identities[bot.user_id]
    mine = identities[ada.user_id].sign(target.body["master_key"], "user_signing")
    ada_at, bot_at = await caught_up(ada), await caught_up(bot)
    body = {bot.user_id: {target.public("master"): mine}}
    assert await ada.client.keys.upload_signatures(body) == {}
    await told(ada, ada_at, bot.user_id)
    assert (await sync(bot, bot_at)).device_lists_changed == ()
    for user, expected in ((ada, mine), (bot, target.body["master_key"])):
        answer = await user.client.keys.query_keys([bot.user_id], 1_000)
        assert answer["master_keys"] == {bot.user_id: expected}


async def test_signatures_that_do_not_hold_are_named_one_by_one(world: World) -> None:
    bot = await world.user("bot")
    machine, identity, foreign = Machine(bot), Identity(bot), Identity(bot)
    body = {bot.user_id: {bot.device_id: identity.sign(machine.device_keys, "self_signing")}}

    async def why(thing: dict[str, Any], device_id: str = bot.device_id) -> tuple[int, str]:
        failures = await bot.client.keys.upload_signatures({bot.user_id: {device_id: thing}})
        assert list(failures) == [bot.user_id]
        assert list(failures[bot.user_id]) == [device_id]
        failure = failures[bot.user_id][device_id]
        assert set(failure) == {"status", "errcode", "message"}
        return failure["status"], failure["errcode"]

    good = body[bot.user_id][bot.device_id]
    assert await why(good) == (404, "M_NOT_FOUND")
    await bot.client.keys.upload_signing_keys(identity.body)
    assert await why(good) == (404, "M_NOT_FOUND")
    await bot.client.keys.upload_keys({"device_keys": machine.device_keys})
    assert await why(good, "NOBODY") == (404, "M_NOT_FOUND")
    assert await why(foreign.sign(machine.device_keys, "self_signing")) == (
        400,
        "M_INVALID_SIGNATURE",
    )
    key_id = f"ed25519:{identity.public('self_signing')}"
    forged = {**good, "signatures": {bot.user_id: {key_id: "A" * 86}}}
    assert await why(forged) == (400, "M_INVALID_SIGNATURE")
    altered = identity.sign(machine.device_keys | {"algorithms": []}, "self_signing")
    assert await why(altered) == (400, "M_UNKNOWN")
    assert await bot.client.keys.upload_signatures(body) == {}


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
    assert refused(error) == (403, "M_FORBIDDEN")
    with pytest.raises(MatrixApiError) as error:
        await ada.client.set_account_data(bot.user_id, kind, {})
    assert refused(error) == (403, "M_FORBIDDEN")


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
    assert refused(error) == (400, "M_INVALID_PARAM")


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
    assert refused(error) == (404, "M_NOT_FOUND")
    first = await backup.create_version(ALGORITHM, {"public_key": "p"})
    await backup.put(first, keys)
    second = await backup.create_version(ALGORITHM, {"public_key": "q"})
    with pytest.raises(MatrixApiError) as error:
        await backup.put(first, keys)
    assert refused(error) == (403, "M_WRONG_ROOM_KEYS_VERSION")
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
    assert refused(error) == (404, "M_NOT_FOUND")
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
    assert refused(error) == (404, "M_NOT_FOUND")


# The answers themselves


async def asked(user: LiveUser, method: str, below: str, body: Any = None) -> tuple[int, Any]:
    """Status and body of an answer, as they came."""
    headers = {"Authorization": f"Bearer {user.client._http.token.reveal()}"}  # type: ignore[union-attr]
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, user.client.homeserver + below, json=body, headers=headers) as got,
    ):
        return got.status, await got.json()


async def test_the_answers_have_the_same_fields(world: World) -> None:
    """What the client's parsing could hide."""
    bot = await world.user("bot")
    machine, identity = Machine(bot), Identity(bot)
    status, answer = await asked(bot, "GET", f"{V3}/sync")
    assert (status, answer["device_one_time_keys_count"]) == (200, {CURVE: 0})
    assert answer["device_unused_fallback_key_types"] == []
    assert "device_lists" not in answer
    body = {"device_keys": machine.device_keys}
    since = answer["next_batch"]
    assert await asked(bot, "POST", f"{V3}/keys/upload", body) == (
        200,
        {"one_time_key_counts": {CURVE: 0}},
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
    claim = {"one_time_keys": {bot.user_id: {bot.device_id: CURVE}}}
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
    status, answer = await asked(bot, "POST", where, Identity(bot).body)
    assert (status, set(answer)) == (401, {"session", "flows", "params"})
    assert answer["flows"] == [{"stages": ["m.login.password"]}]
    auth = {
        "type": "m.login.password",
        "session": answer["session"],
        "identifier": {"type": "m.id.user", "user": bot.user_id},
        "password": "wrong",
    }
    status, answer = await asked(bot, "POST", where, Identity(bot).body | {"auth": auth})
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
    key = {"rooms": {"!r:x": {"sessions": {"s": backed_up()}}}}
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
