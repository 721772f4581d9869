"""The client against the real Synapse: what the rest of the adapter relies on holds there."""

from __future__ import annotations

import asyncio

import pytest

from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.adapter.matrix.transport.login import StoredLogin, sign_in
from antiphon.demo.synapse import Synapse
from antiphon.errors import (
    HomeserverUnreachableError,
    LoginError,
    MatrixApiError,
    RateLimitedError,
    TokenRevokedError,
)
from antiphon.settings import MatrixSettings, Secret
from antiphon.testing.live import live_user, log_in

LIMIT_3 = '{"room":{"timeline":{"limit":3}}}'


def text(body: str) -> dict[str, str]:
    return {"msgtype": "m.text", "body": body}


async def test_signing_in_keeps_the_device_and_uses_the_token_again(synapse: Synapse) -> None:
    user_id = await synapse.register_user("keeper", Secret("pw"))
    settings = MatrixSettings(homeserver=synapse.url, user="keeper", password=Secret("pw"))
    async with MatrixClient(synapse.url) as client:
        first = await sign_in(client, settings, None)
        assert first.user_id == user_id
        assert await sign_in(client, settings, first) == first
        await client.logout()
        with pytest.raises(TokenRevokedError):
            await client.whoami()
        second = await sign_in(client, settings, first)
        assert second.device_id == first.device_id
        token = MatrixSettings(homeserver=synapse.url, access_token=second.access_token)
        assert (await sign_in(client, token, None)).device_id == first.device_id
        stale = StoredLogin(user_id, first.device_id, Secret("syt_nonsense"), synapse.url)
        assert (await sign_in(client, settings, stale)).device_id == first.device_id


async def test_a_wrong_password_user_or_token_is_a_login_error(synapse: Synapse) -> None:
    await synapse.register_user("locked", Secret("right"))
    async with MatrixClient(synapse.url) as client:
        for user in ("locked", "nobody", "@locked:elsewhere.org"):
            with pytest.raises(LoginError, match="user"):
                await client.login_password(
                    user, Secret("wrong"), device_id=None, device_name="Test"
                )
        with pytest.raises(LoginError, match="access_token"):
            await sign_in(client, MatrixSettings(access_token=Secret("syt_nonsense")), None)


async def test_a_send_repeated_under_its_id_is_one_event(synapse: Synapse) -> None:
    async with live_user(synapse, "sender") as user:
        room = await user.room()
        ids = {
            await user.client.send(room, "m.room.message", "turn.0.root", text(body))
            for body in ("one", "one", "other")
        }
        async with log_in(
            synapse.url, user.user_id, user.password, device_id=user.device_id
        ) as again:
            ids.add(await again.client.send(room, "m.room.message", "turn.0.root", text("one")))
            shown = await again.shown(room)
    assert len(ids) == 1
    assert [(m.body, m.txn_id) for m in shown] == [("one", "turn.0.root")]


async def test_a_sync_waits_and_the_same_since_gives_the_same_events(synapse: Synapse) -> None:
    async with live_user(synapse, "ada") as ada, live_user(synapse, "bot") as bot:
        room = await ada.room(bot.user_id)
        first = await bot.client.sync(None, filter="{}", timeout_ms=0)
        assert {e.sender for e in first.invited[room]} == {ada.user_id}
        await bot.client.join(room)
        second = await bot.client.sync(first.next_batch, filter="{}", timeout_ms=0)
        assert room in second.joined
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(
                bot.client.sync(second.next_batch, filter="{}", timeout_ms=20_000)
            )
            event_id = await ada.say(room, "hello")
        for response in (
            waiting.result(),
            await bot.client.sync(second.next_batch, filter="{}", timeout_ms=0),
        ):
            messages = [e for e in response.joined[room].timeline if e.type == "m.room.message"]
            assert [e.event_id for e in messages] == [event_id]
            assert messages[0].origin_server_ts > 0


async def test_a_gap_is_read_back_whole(synapse: Synapse) -> None:
    async with live_user(synapse, "ada") as ada:
        room = await ada.room()
        since = (await ada.client.sync(None, filter=LIMIT_3, timeout_ms=0)).next_batch
        said = [await ada.say(room, str(n)) for n in range(9)]
        news = (await ada.client.sync(since, filter=LIMIT_3, timeout_ms=0)).joined[room]
        assert news.limited
        gap: list[str] = []
        token = news.prev_batch
        while token is not None:
            page = await ada.client.messages(room, from_token=token, to_token=since, limit=4)
            gap += [e.event_id for e in page.events]
            token = page.end
    assert [*reversed(gap), *(e.event_id for e in news.timeline)] == said


async def test_edits_relations_and_redactions(synapse: Synapse) -> None:
    async with live_user(synapse, "ada") as ada:
        room = await ada.room()
        root = await ada.say(room, "one")
        edits = [await ada.edit(room, root, body) for body in ("two", "three")]
        page = await ada.client.relations(room, root, "m.replace")
        assert [e.event_id for e in page.events] == edits[::-1]
        assert [(m.body, m.edits) for m in await ada.shown(room)] == [("three", 2)]
        once = {await ada.client.redact(room, edits[1], "r1", "outdated") for _ in range(2)}
        assert len(once) == 1
        assert (await ada.shown(room))[0].body == "two"
        event = await ada.client.event(room, edits[1])
        assert event is not None
        assert event.redacted


async def test_typing_receipts_names_and_members(synapse: Synapse) -> None:
    async with live_user(synapse, "ada") as ada, live_user(synapse, "bot") as bot:
        room = await ada.room(bot.user_id, name="Tea")
        await bot.client.join(room)
        event_id = await ada.say(room, "hello")
        await bot.client.typing(room, bot.user_id, True, 5_000)
        await bot.client.receipt(room, event_id)
        await bot.client.typing(room, bot.user_id, False, 0)
        await bot.client.set_displayname(bot.user_id, "Antiphon")
        assert await ada.client.displayname(bot.user_id) == "Antiphon"
        assert set(await ada.client.joined_members(room)) == {ada.user_id, bot.user_id}
        assert await bot.client.joined_rooms() == (room,)
        assert await bot.client.state_event(room, "m.room.name") == {"name": "Tea"}
        assert await bot.client.state_event(room, "m.room.topic") is None
        assert await bot.client.event(room, "$nothing") is None


async def test_leaving_forgetting_being_removed_and_upgraded(synapse: Synapse) -> None:
    async with live_user(synapse, "ada") as ada, live_user(synapse, "bot") as bot:
        rooms = [await ada.room(bot.user_id) for _ in range(2)]
        for room in rooms:
            await bot.client.join(room)
            await bot.client.join(room)
        since = (await bot.client.sync(None, filter="{}", timeout_ms=0)).next_batch
        await ada.client.kick(rooms[0], bot.user_id)
        response = await bot.client.sync(since, filter="{}", timeout_ms=0)
        assert response.left[rooms[0]].timeline[-1].sender == ada.user_id
        with pytest.raises(MatrixApiError) as refused:
            await bot.say(rooms[0], "still here?")
        assert (refused.value.status, refused.value.errcode) == (403, "M_FORBIDDEN")
        for _ in range(2):
            await bot.client.leave(rooms[1])
            await bot.client.forget(rooms[1])
        assert await bot.client.joined_rooms() == ()
        upgraded = await ada.client.upgrade_room(rooms[0], "10")
        create = await ada.client.state_event(upgraded, "m.room.create")
        assert create is not None
        assert create["predecessor"]["room_id"] == rooms[0]


async def test_the_real_limit_says_how_long_and_spares_what_was_accepted(
    synapse_limited: Synapse,
) -> None:
    async with live_user(synapse_limited, "busy") as user:
        room = await user.room()

        async def send(number: int) -> str:
            return await user.client.send(room, "m.room.message", f"t{number}", text("x"))

        async def send_many() -> None:
            for number in range(1, 30):
                await send(number)

        accepted = await send(0)
        with pytest.raises(RateLimitedError) as limited:
            await send_many()
        assert 0 < limited.value.retry_after_ms <= 10_000
        assert await send(0) == accepted
        await user.client.typing(room, user.user_id, True, 1_000)
        await synapse_limited.lift_rate_limit(user.user_id)
        for number in range(30, 50):
            await send(number)


@pytest.mark.live
async def test_a_stopped_homeserver_is_unreachable_and_the_login_survives_it(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Killed in mid-send and started again, it still knows the transaction id."""
    async with (
        Synapse(tmp_path_factory.mktemp("killed"), rate_limits="lifted") as synapse,
        live_user(synapse, "ada") as ada,
    ):
        room = await ada.room()
        sent = await ada.client.send(room, "m.room.message", "t1", text("one"))
        await synapse.kill()
        with pytest.raises(HomeserverUnreachableError):
            await ada.client.send(room, "m.room.message", "t1", text("one"))
        port = synapse.port
        await synapse.start()
        assert synapse.port == port
        assert await ada.client.send(room, "m.room.message", "t1", text("one")) == sent
        assert len(await ada.shown(room)) == 1
