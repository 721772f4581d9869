"""The conversations of a chat: numbers and titles, this chat's and no other's."""

from __future__ import annotations

import pytest

from antiphon.testing.command_world import ADA, BOB, command_world, place

NO_SUCH = "There is no such conversation here."


async def test_conversations_are_listed_switched_renamed_and_archived() -> None:
    world = command_world()
    first = (await world.platform.chat(place())).session
    await world.all_say(BOB, ["!rename First  things", "!new", "!rename Second"])
    text = (await world.says(BOB, "!sessions")).text
    assert "- 1 (`First things`): begun 2023-11-14 22:13 UTC\n" in text
    assert "- 2 (`Second`): begun 2023-11-14 22:13 UTC, **current**\n" in text
    assert "Conversation 1 (`First things`) goes on" in (await world.says(BOB, "!sessions 1")).text
    assert (await world.platform.chat(place())).session.thread_id == first.thread_id
    text = (await world.says(BOB, "!archive")).text
    assert text.startswith("Conversation 1 (`First things`) is archived.")
    assert "archived" in (await world.says(BOB, "!sessions")).text
    await world.says(BOB, "!switch 1")
    assert "archived" not in (await world.says(BOB, "!sessions")).text


async def test_another_conversation_is_archived_by_its_number() -> None:
    world = command_world()
    await world.all_say(BOB, ["!whoami", "!new", "!archive 1"])
    assert (await world.platform.chat(place())).session.number == 2
    assert "- 1: begun 2023-11-14 22:13 UTC, archived" in (await world.says(BOB, "!sessions")).text


@pytest.mark.parametrize("command", ["!new", "!archive", "!sessions 1", "!rename Title"])
async def test_a_command_given_again_under_its_name_does_no_more(command: str) -> None:
    world = command_world()
    await world.all_say(BOB, ["!whoami", "!new"])
    await world.says(BOB, command, request_id="once")
    chat = await world.platform.chat(place())
    before = await world.platform.sessions(chat.chat_id)
    again = (await world.says(BOB, command, request_id="once")).text
    assert again
    assert NO_SUCH not in again
    assert await world.platform.sessions(chat.chat_id) == before
    assert await world.platform.chat(place()) == chat


async def test_another_chats_conversation_is_answered_like_one_that_is_not_there() -> None:
    world = command_world()
    other = await world.platform.chat(place("!other:example.org"))
    mine = await world.platform.chat(place())
    foreign = [other.session.session_id, other.session.thread_id, other.chat_id]
    own = [mine.session.session_id, mine.session.thread_id]
    unknown = ["7", "0", "-1", "999999999999", "x", "1.0", "\u0661", "\u00b9", "+1", "1_0"]
    for text in (*foreign, *own, *unknown):
        for command in ("!sessions", "!archive"):
            assert (await world.says(BOB, f"{command} {text}")).text.startswith(NO_SUCH), text
    assert await world.platform.chat(place()) == mine
    assert await world.platform.chat(place("!other:example.org")) == other


async def test_each_place_has_conversations_of_its_own() -> None:
    world = command_world()
    places = [
        place(),
        place("!other:example.org"),
        place(thread="$root"),
        place(user=ADA),
        place(user=BOB),
    ]
    for number, where in enumerate(places):
        await world.says(BOB, f"!rename Chat {number}", where)
    for number, where in enumerate(places):
        text = (await world.says(BOB, "!sessions", where)).text
        assert text.count("Chat ") == 1
        assert f"`Chat {number}`" in text


@pytest.mark.parametrize("title", ["x" * 201, "a\u0007b", "a\u202eb"])
async def test_a_title_that_is_none_is_refused(title: str) -> None:
    world = command_world()
    assert "one line of up to 200" in (await world.says(BOB, f"!rename {title}")).text


async def test_a_title_formats_nothing() -> None:
    world = command_world()
    await world.says(BOB, "!rename ``[x](http://evil.example) `@room")
    text = (await world.says(BOB, "!sessions")).text
    assert "- 1 (``` ``[x](http://evil.example) `@room ```): begun" in text


async def test_a_long_list_shows_the_last() -> None:
    world = command_world()
    await world.all_say(BOB, ["!new"] * 60)
    text = (await world.says(BOB, "!sessions")).text
    assert "The last 50 of 61" in text
    assert "- 11:" not in text
    assert "- 61:" in text
