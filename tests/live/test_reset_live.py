"""`antiphon matrix reset` as an operator runs it, against a real homeserver and a real agent."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from antiphon.db import StateLock
from antiphon.demo.synapse import Synapse
from antiphon.testing.house import House
from antiphon.testing.live import LiveUser
from antiphon.testing.processes import Ended

WHO = "What is my name?"
KNOWN, UNKNOWN = "Your name is Ada.", "You have not told me your name."
LOCAL, SERVER = "local-only", "server-leave-forget"


@pytest.fixture
async def house(synapse: Synapse, tmp_path: Path) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        yield House(synapse, stack, tmp_path)


async def told(house: House) -> tuple[LiveUser, str]:
    """Ada, who has told the bot her name in this room."""
    house.model.gap = 0
    await house.open()
    ada, room = await house.person("ada")
    await ada.say(room, "My name is Ada.")
    await house.answered(ada, room, "END:Q-none")
    return ada, room


async def run(house: House, mode: str, *flags: str) -> Ended:
    return await house.pair.adapter.once("matrix", "reset", "--mode", mode, *flags)


async def reset(house: House, mode: str, *flags: str, code: int = 0) -> Any:
    """Plan and result of a reset that is not asked about."""
    ended = await run(house, mode, "--yes", "--json", *flags)
    assert ended.code == code, ended.err
    return json.loads(ended.out)


async def plan(house: House, mode: str, *flags: str) -> Any:
    ended = await run(house, mode, "--dry-run", "--json", *flags)
    assert ended.code == 0, ended.err
    return json.loads(ended.out)["plan"]


def threads(house: House) -> list[str]:
    """The threads that the agent still has."""
    with closing(sqlite3.connect(house.folder / "state" / "agent.db")) as connection:
        return [row[0] for row in connection.execute("SELECT thread_id FROM threads")]


@pytest.mark.slow
async def test_after_a_local_reset_it_answers_what_comes_and_remembers_nothing(
    house: House,
) -> None:
    ada, room = await told(house)
    await house.pair.adapter.stop()
    await ada.say(room, "Q-1 said before the reset")
    planned = await plan(house, LOCAL)
    done = await reset(house, LOCAL)
    assert [r["room_id"] for r in planned["rooms"]] == [room]
    assert planned["sessions"] == done["result"]["sessions"] == 1
    assert done["result"]["cursor"] == "now"
    assert (done["result"]["erased"], done["result"]["owed"]) == (1, 0)
    assert threads(house) == []
    await ada.say(room, WHO)
    report = json.loads((await house.pair.adapter.once("matrix", "reconcile", "--json")).out)
    assert report["rooms"]["adopted"] == [room]
    assert report["news"]["questions"] == 1
    assert await house.answered(ada, room, "END:Q-none", UNKNOWN) == house.answers(
        await ada.shown(room)
    )
    await house.pair.adapter.start()
    await ada.say(room, "Q-2")
    assert len(await house.answered(ada, room, "END:Q-none", UNKNOWN, "END:Q-2")) == 3


async def test_after_a_server_reset_it_is_nowhere_and_can_be_invited_anew(house: House) -> None:
    ada, room = await told(house)
    other = await ada.room(house.bot.user_id, name="Another place")
    await ada.joined_by(other, house.bot.user_id)
    await house.pair.adapter.stop()
    waiting = await ada.room(house.bot.user_id, name="An invitation")
    planned = await plan(house, SERVER)
    actions = {r["room_id"]: (r["action"], r["name"], r["members"]) for r in planned["rooms"]}
    assert actions == {
        room: ("leave", "Room", [ada.user_id]),
        other: ("leave", "Another place", [ada.user_id]),
        waiting: ("decline", "An invitation", [ada.user_id]),
    }
    done = await reset(house, SERVER)
    assert done["plan"] == planned
    assert (done["result"]["left"], done["result"]["declined"]) == (2, 1)
    assert await house.bot.client.joined_rooms() == ()
    assert (await reset(house, SERVER))["plan"]["rooms"] == []
    await house.pair.adapter.start()
    await ada.client.invite(room, house.bot.user_id)
    await ada.joined_by(room, house.bot.user_id)
    await ada.say(room, WHO)
    await house.answered(ada, room, "END:Q-none", UNKNOWN)


@pytest.mark.slow
async def test_a_reset_while_a_turn_runs_cancels_it_once_and_sends_nothing_more(
    house: House,
) -> None:
    ada, room = await told(house)
    house.model.words, house.model.gap = 400, 0.05
    await ada.say(room, "Q-1 at length")
    await ada.until(room, lambda shown: len(house.answers(shown)) == 2)
    running = await run(house, LOCAL, "--yes")
    assert running.code == 2
    assert "--stop-running" in running.err
    done = await reset(house, LOCAL, "--stop-running")
    assert await house.pair.adapter.wait() == 0
    assert done["plan"]["open_turns"] == 1
    request = house.model.requests[-1]
    assert request.ended.is_set()
    assert request.disconnected
    before = await ada.history(room)
    house.model.words, house.model.gap = 5, 0
    await house.pair.adapter.start()
    await ada.say(room, "Q-2")
    await ada.until(room, lambda shown: house.answers(shown)[-1].endswith("END:Q-2"))
    events = await ada.history(room)
    new = next(event for event in events[len(before) :] if event.sender == house.bot.user_id)
    assert "Q-1" not in new.content["body"]
    assert len(house.model.requests) == 3


@pytest.mark.slow
async def test_an_adapter_that_is_started_meanwhile_waits_for_the_reset(house: House) -> None:
    """As a supervisor does with one that was stopped: it goes on after the reset by itself."""
    ada, room = await told(house)
    await house.pair.adapter.stop()
    state = house.folder / "state"
    with StateLock.acquire(state, "matrix", what="A reset", passing=True):
        starting = asyncio.create_task(house.pair.adapter.start())
        await ada.say(room, WHO)
        log = house.pair.adapter.log
        while "waiting_for_a_command" not in log.read_text():
            assert not starting.done()
            await asyncio.sleep(0.05)
        second = await run(house, LOCAL, "--yes")
        assert second.code == 2
        assert "keeps others out until it is done" in second.err
    await starting
    await house.answered(ada, room, "END:Q-none", KNOWN)


@pytest.mark.slow
async def test_one_room_alone(house: House) -> None:
    """Its memory is gone; the other room's is not, nor what waits there."""
    ada, room = await told(house)
    other = await ada.room(house.bot.user_id)
    await ada.joined_by(other, house.bot.user_id)
    await ada.say(other, "My name is Ada.")
    await house.answered(ada, other, "END:Q-none")
    await house.pair.adapter.stop()
    await ada.say(room, "Q-1 said before the reset")
    await ada.say(other, "Q-2 said before the reset")
    done = await reset(house, LOCAL, "--room", room)
    assert [r["room_id"] for r in done["plan"]["rooms"]] == [room]
    await house.pair.adapter.start()
    await ada.say(room, WHO)
    await ada.say(other, WHO)
    assert len(await house.answered(ada, room, "END:Q-none", UNKNOWN)) == 2
    assert len(await house.answered(ada, other, "END:Q-none", "END:Q-2", KNOWN)) == 3


@pytest.mark.slow
async def test_without_a_homeserver_it_forgets_what_was_said_until_the_first_contact(
    house: House,
) -> None:
    ada, room = await told(house)
    await house.pair.adapter.stop()
    adapter = house.pair.adapter
    adapter.set(ANTIPHON_MATRIX__HOMESERVER="http://127.0.0.1:9")
    refused = await run(house, SERVER, "--yes")
    assert refused.code == 1, refused.err
    planned = await plan(house, LOCAL)
    assert not planned["asked_homeserver"]
    ended = await run(house, LOCAL, "--yes")
    assert ended.code == 0, ended.err
    assert "first reaches it" in ended.out
    adapter.set(ANTIPHON_MATRIX__HOMESERVER=house.synapse.url)
    await ada.say(room, "Q-1 said before the first contact")
    await adapter.start()
    await ada.say(room, WHO)
    assert len(await house.answered(ada, room, "END:Q-none", UNKNOWN)) == 2


@pytest.mark.slow
async def test_what_a_reset_took_away_its_backup_brings_back(house: House) -> None:
    """The conversation goes on with its memory, and nothing is said twice."""
    ada, room = await told(house)
    await house.pair.adapter.stop()
    done = await reset(house, LOCAL)
    backup = Path(done["result"]["backup"])
    assert backup.stat().st_mode & 0o777 == 0o600
    await house.pair.adapter.start()
    await ada.say(room, WHO)
    await house.answered(ada, room, "END:Q-none", UNKNOWN)
    await house.pair.adapter.stop()
    restored = await house.pair.adapter.once("matrix", "restore", str(backup), "--yes")
    assert restored.code == 0, restored.err
    await house.pair.adapter.start()
    await ada.say(room, WHO)
    assert len(await house.answered(ada, room, "END:Q-none", UNKNOWN, KNOWN)) == 3


@pytest.mark.slow
async def test_memory_can_stay_for_inspection_and_never_returns(house: House) -> None:
    ada, room = await told(house)
    kept = threads(house)
    await house.pair.adapter.stop()
    done = await reset(house, LOCAL, "--keep-memory")
    assert (done["plan"]["kept_threads"], done["plan"]["erased_threads"]) == (1, 0)
    assert threads(house) == kept
    await house.pair.adapter.start()
    await ada.say(room, WHO)
    await house.answered(ada, room, "END:Q-none", UNKNOWN)


@pytest.mark.slow
async def test_an_agent_that_is_away_is_told_later(house: House) -> None:
    ada, room = await told(house)
    await house.pair.adapter.stop()
    await house.pair.agent.stop()
    refused = await run(house, LOCAL, "--yes")
    assert refused.code == 1
    assert "--no-backup" in refused.err
    done = await reset(house, LOCAL, "--no-backup")
    assert (done["result"]["erased"], done["result"]["owed"]) == (0, 1)
    await house.pair.start_agent()
    await house.pair.adapter.start()
    await ada.say(room, WHO)
    await house.answered(ada, room, "END:Q-none", UNKNOWN)
    assert len(threads(house)) == 1


@pytest.mark.slow
async def test_with_the_device_the_next_start_is_a_new_one(house: House) -> None:
    ada, room = await told(house)
    await house.pair.adapter.stop()
    done = await reset(house, LOCAL, "--include-device")
    assert done["result"]["logged_out"]
    removed = {Path(name).name for name in done["plan"]["removed_files"]}
    assert {"matrix-login.json", "matrix-keys.db"} <= removed
    assert not any((house.folder / "state" / name).exists() for name in removed)
    await house.pair.adapter.start()
    await ada.say(room, WHO)
    assert len(await house.answered(ada, room, "END:Q-none", UNKNOWN)) == 2


@pytest.mark.slow
async def test_a_dry_run_changes_nothing_while_the_adapter_runs(house: House) -> None:
    ada, room = await told(house)
    devices = await house.bot.client._http.ask("devices", "GET", "/_matrix/client/v3/devices")
    for mode in (LOCAL, SERVER):
        planned = await plan(house, mode)
        assert planned["rows"]["turns"] == 1
    assert (
        await house.bot.client._http.ask("devices", "GET", "/_matrix/client/v3/devices") == devices
    )
    assert sorted(p.name for p in (house.folder / "state").glob("*.backup")) == []
    await ada.say(room, WHO)
    await house.answered(ada, room, "END:Q-none", KNOWN)


@pytest.mark.slow
async def test_it_refuses_without_a_terminal_and_without_yes(house: House) -> None:
    await told(house)
    await house.pair.adapter.stop()
    ended = await run(house, LOCAL)
    assert ended.code == 2
    assert "--dry-run" in ended.err
    ended = await run(house, "all", "--yes")
    assert ended.code == 2
    ended = await run(house, LOCAL, "--yes", "--room", "!nowhere:x")
    assert ended.code == 2
    assert "knows no such room" in ended.err
