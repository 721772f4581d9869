"""The fake homeserver behaves as Synapse does where adapters rely on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.adapter.matrix.transport.sync_response import SyncResponse
from antiphon.errors import HomeserverUnreachableError, MatrixApiError, TokenRevokedError
from antiphon.settings import Secret
from antiphon.testing import homeserver_faults as faults
from antiphon.testing.history import fold
from antiphon.testing.homeserver import FakeHomeserver
from antiphon.testing.live import log_in


@pytest.fixture
async def bot(homeserver: FakeHomeserver) -> AsyncIterator[MatrixClient]:
    user_id = homeserver.account("bot")
    async with MatrixClient(homeserver.url, access_token=homeserver.token(user_id)) as client:
        yield client


BOT, ADA = "@bot:fake.localhost", "@ada:fake.localhost"


async def sync(client: MatrixClient, since: str | None = None, *, wait_ms: int = 0) -> SyncResponse:
    return await client.sync(since, filter="{}", timeout_ms=wait_ms)


async def test_the_same_since_gives_the_same_events(
    homeserver: FakeHomeserver, bot: MatrixClient
) -> None:
    room = homeserver.room(ADA, BOT)
    since = (await sync(bot)).next_batch
    first = homeserver.say(room, ADA, "one")
    again = [await sync(bot, since), await sync(bot, since)]
    assert [[e.event_id for e in r.joined[room].timeline] for r in again] == [[first], [first]]
    assert (await sync(bot, again[0].next_batch)).empty


async def test_a_waiting_sync_ends_when_something_is_said(
    homeserver: FakeHomeserver, bot: MatrixClient
) -> None:
    room = homeserver.room(ADA, BOT)
    since = (await sync(bot)).next_batch
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(sync(bot, since, wait_ms=30_000))
        await homeserver.until(lambda: len(homeserver.asked("sync")) == 2)
        event_id = homeserver.say(room, ADA, "hello")
    assert waiting.result().joined[room].timeline[0].event_id == event_id


async def test_a_gap_is_read_back_by_messages(
    homeserver: FakeHomeserver, bot: MatrixClient
) -> None:
    room = homeserver.room(ADA, BOT)
    since = (await sync(bot)).next_batch
    said = [homeserver.say(room, ADA, str(n)) for n in range(8)]
    homeserver.timeline_limit = 3
    news = (await sync(bot, since)).joined[room]
    assert news.limited
    gap = await bot.messages(room, from_token=news.prev_batch, to_token=since, limit=2)
    seen = [e.event_id for e in gap.events]
    while gap.end is not None:
        gap = await bot.messages(room, from_token=gap.end, to_token=since, limit=2)
        seen += [e.event_id for e in gap.events]
    assert [*reversed(seen), *(e.event_id for e in news.timeline)] == said


async def test_a_repeated_sync_is_the_last_one_again(
    homeserver: FakeHomeserver, bot: MatrixClient
) -> None:
    room = homeserver.room(ADA, BOT)
    first = await sync(bot)
    homeserver.say(room, ADA, "new")
    homeserver.repeat_sync(BOT)
    assert await sync(bot, first.next_batch) == first
    assert (await sync(bot, first.next_batch)).joined[room].timeline[0].content["body"] == "new"


async def test_an_event_can_be_delivered_twice(
    homeserver: FakeHomeserver, bot: MatrixClient
) -> None:
    room = homeserver.room(ADA, BOT)
    said = homeserver.say(room, ADA, "once")
    since = (await sync(bot)).next_batch
    homeserver.repeat_event(room, said)
    assert [e.event_id for e in (await sync(bot, since)).joined[room].timeline] == [said]


async def test_memberships_come_as_invite_join_and_leave(
    homeserver: FakeHomeserver, bot: MatrixClient
) -> None:
    room = homeserver.room(ADA, name="Tea")
    since = (await sync(bot)).next_batch
    homeserver.membership(room, BOT, "invite", by=ADA)
    invited = await sync(bot, since)
    assert invited.invited[room][-1].sender == ADA
    assert await bot.join(room) == room
    joined = await sync(bot, invited.next_batch)
    assert "m.room.create" in {e.type for e in joined.joined[room].timeline}
    homeserver.membership(room, BOT, "leave", by=ADA)
    assert room in (await sync(bot, joined.next_batch)).left
    with pytest.raises(MatrixApiError) as refused:
        await bot.send(room, "m.room.message", "t", {"body": "x"})
    assert refused.value.status == 403
    await bot.forget(room)
    assert room not in (await sync(bot, joined.next_batch)).left


async def test_to_device_messages_stay_until_a_later_since(
    homeserver: FakeHomeserver, bot: MatrixClient
) -> None:
    since = (await sync(bot)).next_batch
    homeserver.send_to_device(BOT, {"type": "m.x", "sender": ADA, "content": {}})
    first, second = await sync(bot, since), await sync(bot, since)
    assert len(first.to_device) == len(second.to_device) == 1
    assert (await sync(bot, first.next_batch)).to_device == ()


async def test_a_revoked_token_ends_a_waiting_sync(
    homeserver: FakeHomeserver, bot: MatrixClient
) -> None:
    since = (await sync(bot)).next_batch

    async def waits() -> None:
        with pytest.raises(TokenRevokedError):
            await sync(bot, since, wait_ms=30_000)

    async with asyncio.TaskGroup() as group:
        group.create_task(waits())
        await homeserver.until(lambda: len(homeserver.asked("sync")) == 2)
        homeserver.revoke(BOT)


async def test_a_partial_can_land_after_its_sender_gave_up(
    homeserver: FakeHomeserver, bot: MatrixClient
) -> None:
    """A request on its way outlives its client, and is stamped when it lands."""
    room = homeserver.room(ADA, BOT)
    gate = asyncio.Event()
    homeserver.fail("send", faults.landing_late(gate))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await bot.send(room, "m.room.message", "late", {"msgtype": "m.text", "body": "late"})
    await bot.send(room, "m.room.message", "next", {"msgtype": "m.text", "body": "next"})
    gate.set()
    await homeserver.until(lambda: len(homeserver.messages(room, BOT)) == 2)
    assert [m["content"]["body"] for m in homeserver.messages(room, BOT)] == ["next", "late"]


async def test_faults_are_used_in_the_order_in_which_they_were_added(
    homeserver: FakeHomeserver, bot: MatrixClient
) -> None:
    homeserver.fail("whoami", faults.html(), times=2)
    homeserver.fail("whoami", faults.error(403, "M_FORBIDDEN"))
    outcomes = []
    for _ in range(4):
        try:
            outcomes.append((await bot.whoami()).user_id)
        except (HomeserverUnreachableError, MatrixApiError) as error:
            outcomes.append(error.code)
    assert outcomes == ["homeserver_unreachable"] * 2 + ["matrix_api", BOT]


async def test_a_live_user_sees_edits_and_redactions_folded(homeserver: FakeHomeserver) -> None:
    ada = homeserver.account("ada", "pw")
    async with log_in(homeserver.url, ada, Secret("pw")) as user:
        room = await user.room(name="Tea")
        first = await user.say(room, "one")
        gone = await user.say(room, "two")
        await user.edit(room, first, "uno")
        await user.redact(room, gone)
        shown = await user.until(room, lambda messages: len(messages) == 2)
    assert [(m.body, m.edits, m.redacted) for m in shown] == [("uno", 1, False), ("", 0, True)]
    assert fold(()) == ()
