"""Keys of devices, device lists and to-device messages, on Synapse and on the
fake homeserver alike."""

from __future__ import annotations

from typing import Any

import pytest

from antiphon.errors import MatrixApiError, TokenRevokedError
from antiphon.testing.homeserver_world import (
    SIGNED_CURVE25519,
    WAIT_MS,
    DeviceKeys,
    World,
    caught_up,
    refused,
    sync,
    told,
    uncached,
)

# Keys of devices


async def test_keys_are_counted_given_and_used_up(world: World) -> None:
    ada, bot = await world.user("ada"), await world.user("bot")
    machine = DeviceKeys(bot)
    first = await sync(bot)
    assert (first.one_time_key_counts, first.unused_fallback_key_types) == (
        {SIGNED_CURVE25519: 0},
        (),
    )
    keys, fallback = machine.one_time_keys(2), machine.fallback_key()
    body = {"device_keys": machine.device_keys, "one_time_keys": keys, "fallback_keys": fallback}
    assert await bot.client.keys.upload_keys(body) == {SIGNED_CURVE25519: 2}
    assert await bot.client.keys.upload_keys(body) == {SIGNED_CURVE25519: 2}
    assert await bot.client.keys.upload_keys({}) == {SIGNED_CURVE25519: 2}
    news = await sync(bot, first.next_batch)
    assert (news.one_time_key_counts, news.unused_fallback_key_types) == (
        {SIGNED_CURVE25519: 2},
        (SIGNED_CURVE25519,),
    )
    assert first.next_batch != news.next_batch

    wanted = {bot.user_id: {bot.device_id: SIGNED_CURVE25519, "NOBODY": SIGNED_CURVE25519}}
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
    assert (news.one_time_key_counts, news.unused_fallback_key_types) == (
        {SIGNED_CURVE25519: 0},
        (),
    )
    await bot.client.keys.upload_keys({"fallback_keys": machine.fallback_key()})
    assert (await uncached(bot, news.next_batch)).unused_fallback_key_types == (SIGNED_CURVE25519,)


async def test_a_device_without_keys_gives_none(world: World) -> None:
    ada, bot = await world.user("ada"), await world.user("bot")
    wanted = {
        bot.user_id: {bot.device_id: SIGNED_CURVE25519},
        ada.user_id: {"NOBODY": SIGNED_CURVE25519},
    }
    answer = await ada.client.keys.claim_keys(wanted, 1_000)
    assert answer == {"one_time_keys": {}, "failures": {}}


async def test_a_one_time_key_of_a_known_id_keeps_its_value(world: World) -> None:
    """What a store that was rewound would do. Device keys of the same request are taken."""
    bot = await world.user("bot")
    machine = DeviceKeys(bot)
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
    assert refused(error.value) == (400, "M_UNKNOWN")
    news = await uncached(bot)
    assert (news.one_time_key_counts, news.unused_fallback_key_types) == (
        {SIGNED_CURVE25519: 1},
        (),
    )
    answer = await bot.client.keys.query_keys([bot.user_id], 1_000)
    assert list(answer["device_keys"][bot.user_id]) == [bot.device_id]


async def test_keys_of_another_device_are_refused(world: World) -> None:
    ada, bot = await world.user("ada"), await world.user("bot")
    with pytest.raises(MatrixApiError) as error:
        await bot.client.keys.upload_keys({"device_keys": DeviceKeys(ada).device_keys})
    assert refused(error.value) == (400, "M_BAD_JSON")


async def test_a_query_gives_the_devices_that_have_keys(world: World) -> None:
    ada, bot = await world.user("ada"), await world.user("bot")
    await world.another_device(bot)
    machine = DeviceKeys(bot)
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
    machine = DeviceKeys(gone)
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
    machine = DeviceKeys(bot)
    await bot.client.keys.upload_keys({"device_keys": machine.device_keys})
    response = await told(ada, since, bot.user_id)
    assert response.empty
    assert bot.user_id in (await sync(ada, since)).device_lists_changed
    assert (await sync(ada, response.next_batch)).device_lists_changed == ()
    assert (await sync(stranger, unconcerned)).device_lists_changed == ()
    changes = await ada.client.keys.keys_changes(since, response.next_batch)
    assert (changes.changed, changes.left) == ((bot.user_id,), ())
    assert (await sync(ada)).device_lists_changed == ()


async def test_a_login_and_a_logout_change_the_list_without_any_keys(world: World) -> None:
    ada, bot = await world.user("ada"), await world.user("bot")
    await world.together(ada, bot)
    since = await caught_up(ada)
    other = await world.another_device(bot)
    response = await told(ada, since, bot.user_id)
    await other.client.logout()
    await told(ada, response.next_batch, bot.user_id)


async def test_our_own_keys_are_told_to_us_too(world: World) -> None:
    bot = await world.user("bot")
    since = await caught_up(bot)
    await bot.client.keys.upload_keys({"device_keys": DeviceKeys(bot).device_keys})
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


async def test_many_messages_come_in_portions_until_an_answer_is_empty(world: World) -> None:
    """Synapse gives at most 100 with one answer, so who stops early has not all of the keys."""
    ada, bot = await world.user("ada"), await world.user("bot")
    since = await caught_up(bot)
    for number in range(120):
        to = {bot.user_id: {bot.device_id: {"n": number}}}
        await ada.client.keys.send_to_device("org.test", f"t{number}", to)
    got: list[int] = []
    portions: list[int] = []
    while not (response := await sync(bot, since)).empty:
        got += [message["content"]["n"] for message in response.to_device]
        portions.append(len(response.to_device))
        since = response.next_batch
    assert got == list(range(120))
    assert portions == [100, 20]


async def test_a_message_that_is_too_large_fails_the_whole_request(world: World) -> None:
    ada, bot = await world.user("ada"), await world.user("bot")
    at = await caught_up(bot)
    messages = {
        ada.user_id: {"*": {"text": "small"}},
        bot.user_id: {bot.device_id: {"text": "x" * 65_536}},
    }
    with pytest.raises(MatrixApiError) as error:
        await ada.client.keys.send_to_device("org.test", "t1", messages)
    assert refused(error.value) == (413, "M_TOO_LARGE")
    fits = {bot.user_id: {bot.device_id: {"text": "x" * (65_536 - len('{"text":""}'))}}}
    await ada.client.keys.send_to_device("org.test", "t1", fits)
    assert len((await sync(bot, at, WAIT_MS)).to_device) == 1
