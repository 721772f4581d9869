"""What happens to rooms while the bot runs, done by a real homeserver."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from antiphon.demo.synapse import Synapse
from antiphon.testing.history import Shown
from antiphon.testing.house import House
from antiphon.testing.live import LiveUser, live_user

WHO = "What is my name?"
KNOWN, UNKNOWN = "Your name is Ada.", "You have not told me your name."


@pytest.fixture
async def house(synapse: Synapse, tmp_path: Path) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        yield House(synapse, stack, tmp_path)


async def told(house: House, gap: float = 0) -> tuple[LiveUser, str]:
    """Ada, who has told the bot her name in this room."""
    house.model.gap = gap
    await house.open(ALLOW="@ada-*:*,@bot-*:*")
    ada, room = await house.person("ada")
    await ada.say(room, "My name is Ada.")
    await house.answered(ada, room, "END:Q-none")
    return ada, room


async def upgrade(ada: LiveUser, room: str) -> str:
    """The room is upgraded, and the bot invited into the new one."""
    answer = await ada.client._http.ask(
        "upgrade a room",
        "POST",
        f"/_matrix/client/v3/rooms/{room}/upgrade",
        body={"new_version": "11"},
    )
    new: str = answer["replacement_room"]
    return new


async def enter(house: House, ada: LiveUser, room: str) -> None:
    """The bot is asked into a room, and comes."""
    await ada.client.invite(room, house.bot.user_id)
    await ada.joined_by(room, house.bot.user_id)


async def remembers(house: House, person: LiveUser, room: str) -> bool:
    """Whether the bot knows in this room what Ada told it in hers."""
    await person.say(room, WHO)
    shown = await person.until(
        room, lambda shown: any(b.endswith((KNOWN, UNKNOWN)) for b in house.answers(shown))
    )
    return KNOWN in house.answers(shown)[-1]


async def test_an_upgraded_room_is_followed_with_its_memory(house: House) -> None:
    ada, room = await told(house)
    new = await upgrade(ada, room)
    await enter(house, ada, new)
    assert await remembers(house, ada, new)


@pytest.mark.slow
async def test_a_room_that_claims_to_follow_ours_gets_no_memory(house: House) -> None:
    """Nobody in our room has said that it was replaced."""
    _, room = await told(house)
    bob = await house._stack.enter_async_context(live_user(house.synapse, "ada-bob"))
    theirs = await bob.room(creation_content={"predecessor": {"room_id": room}})
    await enter(house, bob, theirs)
    assert not await remembers(house, bob, theirs)


@pytest.mark.slow
async def test_a_tombstone_that_names_a_strangers_room_moves_no_memory(house: House) -> None:
    """The named room does not say that it follows ours."""
    ada, room = await told(house)
    bob = await house._stack.enter_async_context(live_user(house.synapse, "ada-bob"))
    theirs = await bob.room()
    await enter(house, bob, theirs)
    await state(ada, room, "m.room.tombstone", {"body": "moved", "replacement_room": theirs})
    assert not await remembers(house, bob, theirs)


@pytest.mark.slow
async def test_an_upgrade_by_somebody_not_allowed_is_not_followed(house: House) -> None:
    """Eve may change the room's state, but not decide for the bot."""
    ada, room = await told(house)
    eve = await house._stack.enter_async_context(live_user(house.synapse, "eve"))
    await ada.client.invite(room, eve.user_id)
    await eve.client.join(room)
    await state(ada, room, "m.room.power_levels", {"users": {eve.user_id: 150}})
    new = await upgrade(eve, room)
    await eve.client.invite(new, house.bot.user_id)
    await eve.client.invite(new, ada.user_id)
    await ada.client.join(new)
    other = await ada.room()
    await enter(house, ada, other)
    await ada.say(other, "Q-1 asked after all that")
    await house.answered(ada, other, "END:Q-1")
    assert house.bot.user_id not in await ada.client.joined_members(new)


async def test_an_answer_redacted_in_mid_stream_ends_there(house: House) -> None:
    """The run is cancelled, nothing more is sent, every edit that was made or under way is redacted
    as well (measured: their texts stay readable else), and the next question is answered."""
    ada, room = await told(house)
    house.model.words, house.model.gap = 400, 0.05
    await ada.say(room, "Q-1 at length")
    shown = await ada.until(room, lambda shown: shown[-1].edits > 1)
    root = shown[-1].event_id
    asked = house.model.requests[-1]
    await ada.redact(room, root)
    await ada.until(room, lambda _: asked.disconnected)
    house.model.words, house.model.gap = 5, 0
    await ada.say(room, "Q-2")

    def gone(shown: tuple[Shown, ...]) -> bool:
        first, *taken_back, second = (m for m in shown if m.sender == house.bot.user_id)
        return (
            first.body.endswith("END:Q-none")
            and second.body.endswith("END:Q-2")
            and root in {m.event_id for m in taken_back}
            and all(m.redacted and len(m.texts) == 1 for m in taken_back)  # no edit still stands
        )

    await ada.until(room, gone)


@pytest.mark.slow
async def test_what_is_said_while_it_is_out_is_not_answered_after_it_is_back(
    house: House,
) -> None:
    ada, room = await told(house)
    await ada.client.kick(room, house.bot.user_id)
    await ada.say(room, "Q-1 said while it is out")
    await enter(house, ada, room)
    await ada.say(room, "Q-2")
    assert len(await house.answered(ada, room, "END:Q-none", "END:Q-2")) == 2
    joins = [
        event
        for event in await ada.history(room)
        if event.type == "m.room.member"
        and event.content.get("membership") == "join"
        and event.sender == house.bot.user_id
    ]
    assert len(joins) == 2


async def state(user: LiveUser, room: str, kind: str, content: dict[str, Any]) -> None:
    """Sets state of a room."""
    await user.client._http.ask(
        "set state", "PUT", f"/_matrix/client/v3/rooms/{room}/state/{kind}/", body=content
    )
