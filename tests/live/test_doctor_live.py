"""`antiphon matrix doctor` as an operator runs it, against a real homeserver and a real agent."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.demo.synapse import Synapse
from antiphon.settings import Secret
from antiphon.testing.live import LiveUser, live_user
from antiphon.testing.processes import Ended, Pair

NO_AGENT = "ws://127.0.0.1:9/agent_ws/"
QUESTION = b"a test of the connection"
ALLOW_NOTHING = '{"room":{"timeline":{"limit":1}}}'


class Place:
    """A bot that has answered once and was stopped, and a person in a room with it."""

    def __init__(self, pair: Pair, bot: LiveUser, ada: LiveUser, room: str):
        self.pair = pair
        self.bot = bot
        self.ada = ada
        self.room = room

    async def doctor(self, *flags: str) -> tuple[Ended, dict[str, Any]]:
        """How it ended, and its findings by id."""
        ended = await self.pair.adapter.once("matrix", "doctor", "--json", *flags)
        found = json.loads(ended.out)
        assert ended.code == ("ok", "warning", "failure").index(found["worst"])
        assert ended.err == ""
        return ended, {finding["id"]: finding for finding in found["findings"]}

    @property
    def login(self) -> dict[str, str]:
        """The adapter's own, as it lies in the state folder."""
        stored: dict[str, str] = json.loads((self.pair.state / "matrix-login.json").read_text())
        return stored

    async def devices(self) -> list[str]:
        answer = await self.bot.client._http.ask("devices", "GET", "/_matrix/client/v3/devices")
        return sorted(device["device_id"] for device in answer["devices"])

    async def events(self) -> list[str]:
        return [event.event_id for event in await self.ada.history(self.room)]


async def place_on(synapse: Synapse, folder: Path, stack: AsyncExitStack) -> Place:
    """The pair's agent runs; its adapter does not."""
    bot = await stack.enter_async_context(live_user(synapse, "bot"))
    ada = await stack.enter_async_context(live_user(synapse, "ada"))
    pair = Pair(folder, homeserver=synapse.url, user=bot.user_id, password=bot.password.reveal())
    await pair.start_agent()
    stack.push_async_callback(pair.agent.stop)
    pair.adapter.set(ANTIPHON_AGENT__URL=pair.agent.url)
    place = Place(pair, bot, ada, await ada.room(bot.user_id))
    await ada.say(place.room, "What is 6 * 7?")
    ended = await pair.adapter.once("matrix", "reconcile")
    assert ended.code == 0, ended.err
    return place


@pytest.fixture
async def place(synapse: Synapse, tmp_path: Path) -> AsyncIterator[Place]:
    async with AsyncExitStack() as stack:
        yield await place_on(synapse, tmp_path, stack)


def failures(found: dict[str, Any]) -> list[str]:
    return [id_ for id_, finding in found.items() if finding["level"] == "failure"]


async def test_where_all_is_well_it_says_so_and_changes_nothing(place: Place) -> None:
    """No device, no event, no receipt of a to-device message, no thread at the agent."""
    token = Secret(place.login["access_token"])
    letter = {"messages": {place.bot.user_id: {place.login["device_id"]: {"x": 1}}}}
    await place.ada.client._http.ask(
        "write", "PUT", "/_matrix/client/v3/sendToDevice/org.test/1", body=letter
    )
    devices, events = await place.devices(), await place.events()
    files = {f.name: f.read_bytes() for f in place.pair.state.iterdir() if "agent" not in f.name}
    ended, found = await place.doctor()
    assert ended.code == 0, ended.out
    assert "Synapse 1." in found["homeserver"]["detail"]
    assert found["rooms"]["detail"] == "1 joined, as the journal has them."
    assert "first text after" in found["model"]["detail"]
    # The limits of this Synapse are lifted for everybody, in its settings.
    assert found["limits"]["detail"] == "12 sends at once were let through."
    assert await place.devices() == devices
    assert await place.events() == events
    after = {f.name: f.read_bytes() for f in place.pair.state.iterdir() if "agent" not in f.name}
    assert after == files
    async with MatrixClient(place.pair.adapter._env["ANTIPHON_MATRIX__HOMESERVER"]) as client:
        client.use_token(token)
        response = await client.sync(None, filter=ALLOW_NOTHING, timeout_ms=1)
    assert [message["type"] for message in response.to_device] == ["org.test"]
    kept = b"".join(f.read_bytes() for f in place.pair.state.glob("agent.db*"))
    assert b"6 * 7" in kept
    assert QUESTION not in kept


@pytest.mark.slow
async def test_for_people_it_is_a_line_each(place: Place) -> None:
    ended = await place.pair.adapter.once("matrix", "doctor")
    lines = ended.out.splitlines()
    assert (ended.code, len(lines)) == (0, 16), ended.out
    assert all(line.startswith("ok ") for line in lines[:-1])
    assert lines[-1] == "All 15 checks are ok."


@pytest.mark.slow
async def test_beside_a_running_adapter_it_works_and_disturbs_nothing(place: Place) -> None:
    await place.pair.adapter.start()
    ended, found = await place.doctor()
    assert ended.code == 0, ended.out
    assert str(place.pair.adapter.pid) in found["running"]["detail"]
    await place.ada.say(place.room, "hello")
    await place.ada.until(
        place.room, lambda shown: sum(m.sender == place.bot.user_id for m in shown) == 2
    )
    assert await place.pair.adapter.stop() == 0


@pytest.mark.slow
async def test_an_agent_that_is_away_or_refuses_the_token_is_one_failure(place: Place) -> None:
    place.pair.adapter.set(ANTIPHON_AGENT__TOKEN="wrong-token-hush")
    ended, found = await place.doctor()
    assert (ended.code, failures(found)) == (2, ["agent"])
    assert "does not accept our token" in found["agent"]["detail"]
    assert "hush" not in ended.out
    await place.pair.agent.stop()
    ended, found = await place.doctor()
    assert (ended.code, failures(found)) == (2, ["agent"])
    assert "can't be reached" in found["agent"]["detail"]
    assert found["model"]["level"] == "warning"
    await place.pair.agent.start()


@pytest.mark.slow
async def test_a_revoked_login_is_one_failure_and_none_is_made(place: Place) -> None:
    async with MatrixClient(place.pair.adapter._env["ANTIPHON_MATRIX__HOMESERVER"]) as client:
        client.use_token(Secret(place.login["access_token"]))
        await client.logout()
    devices = await place.devices()
    ended, found = await place.doctor("--no-model")
    assert (ended.code, failures(found)) == (2, ["login"])
    assert "Start the adapter again" in found["login"]["todo"]
    assert await place.devices() == devices


async def test_a_damaged_database_is_one_failure(place: Place) -> None:
    for name, id_ in (("state.db", "chats"), ("matrix.db", "journal")):
        file = place.pair.state / name
        whole = file.read_bytes()
        file.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
        ended, found = await place.doctor("--no-model")
        assert (ended.code, failures(found)) == (2, [id_]), ended.out
        assert "backup" in found[id_]["todo"]
        file.write_bytes(whole)


@pytest.mark.slow
async def test_a_homeserver_that_was_stopped_and_default_limits(tmp_path: Path) -> None:
    """Measured without a trace: twice the budget is used up, and no event is in the room."""
    async with AsyncExitStack() as stack:
        synapse = await stack.enter_async_context(
            Synapse(tmp_path / "synapse", rate_limits="default")
        )
        place = await place_on(synapse, tmp_path, stack)
        events = await place.events()
        for _ in range(2):
            ended, found = await place.doctor("--no-model")
            assert (ended.code, found["limits"]["level"]) == (1, "warning"), ended.out
            assert "HTTP 429" in found["limits"]["detail"]
            assert "provision" in found["limits"]["todo"]
        assert await place.events() == events
        await synapse.lift_rate_limit(place.bot.user_id)
        ended, found = await place.doctor("--no-model")
        assert ended.code == 0, ended.out
        assert found["limits"]["detail"] == f"Lifted for {place.bot.user_id}."
        await synapse.stop()
        ended, found = await place.doctor("--no-model")
        assert (ended.code, failures(found)) == (2, ["homeserver"])
        assert "can't be reached" in found["homeserver"]["detail"]
        assert found["agent"]["level"] == "ok"
