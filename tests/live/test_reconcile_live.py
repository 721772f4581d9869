"""`antiphon matrix reconcile` as an operator runs it, against a real homeserver."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from antiphon.demo.synapse import Synapse
from antiphon.settings import Secret
from antiphon.testing.live import LiveUser, live_user
from antiphon.testing.processes import Ended, Pair

NO_AGENT = "ws://127.0.0.1:9/agent_ws/"


class Place:
    """A bot, not running, and a person in a room with it."""

    def __init__(self, pair: Pair, bot: LiveUser, ada: LiveUser, room: str):
        self.pair = pair
        self.bot = bot
        self.ada = ada
        self.room = room

    async def reconcile(self, *flags: str) -> Ended:
        return await self.pair.adapter.once("matrix", "reconcile", *flags)

    async def report(self, *flags: str) -> Any:
        ended = await self.reconcile("--json", *flags)
        assert ended.code == 0, ended.err
        return json.loads(ended.out)

    async def answers(self) -> list[str]:
        shown = await self.ada.shown(self.room)
        return [message.body for message in shown if message.sender == self.bot.user_id]

    async def devices(self) -> set[str]:
        """The bot's devices, as the homeserver has them."""
        answer = await self.bot.client._http.ask("devices", "GET", "/_matrix/client/v3/devices")
        return {device["device_id"] for device in answer["devices"]}


@pytest.fixture
async def place(synapse: Synapse, tmp_path: Path) -> AsyncIterator[Place]:
    async with AsyncExitStack() as stack:
        bot = await stack.enter_async_context(live_user(synapse, "bot"))
        ada = await stack.enter_async_context(live_user(synapse, "ada"))
        pair = Pair(
            tmp_path,
            homeserver=synapse.url,
            user=bot.user_id,
            password=bot.password.reveal(),
        )
        await pair.start_agent()
        stack.push_async_callback(pair.agent.stop)
        pair.adapter.set(ANTIPHON_AGENT__URL=pair.agent.url)
        room = await ada.room(bot.user_id)
        yield Place(pair, bot, ada, room)


async def test_what_came_while_nothing_ran_is_done_once(place: Place) -> None:
    """Invite, question and answer; then nothing is left, and a second run changes nothing."""
    await place.ada.say(place.room, "What is 6 * 7?")
    first = await place.report()
    assert [i["allowed"] for i in first["invites"]] == [True]
    assert first["left"]["queued"] == 0
    assert len(await place.answers()) == 1
    history = [event.event_id for event in await place.ada.history(place.room)]
    second = await place.report()
    assert second["nothing_to_do"] is True, second
    assert second["ended"] == {}
    assert [event.event_id for event in await place.ada.history(place.room)] == history
    said = await place.reconcile()
    assert said.out.splitlines()[-1] == "Nothing to do: all is as it should be."


@pytest.mark.slow
async def test_a_dry_run_says_it_and_changes_nothing(place: Place) -> None:
    """Nor does a stale answer from the homeserver's cache hide what is new."""
    refused = await place.reconcile("--dry-run")
    assert refused.code == 2
    assert "dry run" in refused.said
    await place.report()
    await place.ada.say(place.room, "hello")
    assert (await place.report("--dry-run"))["nothing_to_do"] is True
    other = await place.ada.room(place.bot.user_id)
    devices = await place.devices()
    for _ in range(2):
        report = await place.report("--dry-run")
        assert [i["room_id"] for i in report["invites"]] == [other]
    assert await place.devices() == devices
    assert await place.answers() == []
    assert set(await place.ada.client.joined_members(other)) == {place.ada.user_id}
    await place.report()
    assert len(await place.answers()) == 1
    assert (await place.report("--dry-run"))["invites"] == []


@pytest.mark.slow
async def test_it_refuses_while_an_adapter_runs_and_a_dry_run_does_not(place: Place) -> None:
    await place.pair.adapter.start()
    refused = await place.reconcile()
    assert (refused.code, refused.out) == (2, "")
    assert f"(process {place.pair.adapter.pid})" in refused.said
    await place.report("--dry-run")
    await place.ada.say(place.room, "hello")
    await place.ada.until(
        place.room, lambda shown: any(m.sender == place.bot.user_id for m in shown)
    )
    assert await place.pair.adapter.stop() == 0


@pytest.mark.slow
async def test_without_an_agent_it_says_what_waits(place: Place) -> None:
    await place.report()
    await place.ada.say(place.room, "hello")
    place.pair.adapter.set(ANTIPHON_AGENT__URL=NO_AGENT)
    waiting = await place.reconcile()
    assert waiting.code == 1
    assert "Left:\n  questions " in waiting.out
    assert NO_AGENT in waiting.out
    place.pair.adapter.set(ANTIPHON_AGENT__URL=place.pair.agent.url)
    assert (await place.report())["ended"] == {"delivered": 1}
    assert len(await place.answers()) == 1


@pytest.mark.slow
async def test_a_lost_login_is_made_anew_on_the_same_device(place: Place) -> None:
    """So the homeserver still knows the transaction ids of what was sent."""
    device = (await place.report())["device_id"]
    devices = await place.devices()
    (place.pair.state / "matrix-login.json").unlink()
    again = await place.report()
    assert (again["device_id"], again["device_changed"]) == (device, False)
    assert await place.devices() == devices


@pytest.mark.slow
async def test_another_device_is_a_warning_and_another_user_is_refused(place: Place) -> None:
    await place.report()
    token = place.bot.client._http.token
    assert token is not None
    place.pair.adapter.set(ANTIPHON_MATRIX__ACCESS_TOKEN=token.reveal())
    looked = await place.reconcile("--dry-run")
    assert "Warning: this is another device" in looked.out
    report = await place.report()
    assert (report["device_changed"], report["device_id"]) == (True, place.bot.device_id)
    theirs = place.ada.client._http.token
    assert theirs is not None
    place.pair.adapter.set(ANTIPHON_MATRIX__ACCESS_TOKEN=theirs.reveal())
    for flags in ((), ("--dry-run",)):
        refused = await place.reconcile(*flags)
        assert refused.code == 2
        assert f"belongs to {place.ada.user_id}" in refused.said
    place.pair.adapter.set(ANTIPHON_MATRIX__USER="")
    for flags in ((), ("--dry-run",)):
        refused = await place.reconcile(*flags)
        assert refused.code == 2
        assert f"belongs to {place.bot.user_id}" in refused.said


@pytest.mark.slow
async def test_a_revoked_token_and_a_homeserver_that_is_away_are_errors(place: Place) -> None:
    await place.report()
    login = json.loads((place.pair.state / "matrix-login.json").read_text())
    place.pair.adapter.set(
        ANTIPHON_MATRIX__PASSWORD="",
        ANTIPHON_MATRIX__ACCESS_TOKEN=login["access_token"],
    )
    await place.report()
    place.bot.client.use_token(Secret(login["access_token"]))
    await place.bot.client.logout()
    for flags in ((), ("--dry-run",)):
        refused = await place.reconcile(*flags)
        assert refused.code == 2
        assert "does not accept [matrix] access_token" in refused.said
    place.pair.adapter.set(ANTIPHON_MATRIX__HOMESERVER="http://127.0.0.1:9")
    # One that never worked with this state is a wrong setting; a dry run has no way to know.
    for code, flags in ((2, ()), (1, ("--dry-run",))):
        refused = await place.reconcile(*flags)
        assert refused.code == code
        assert "can't be reached" in refused.said
