"""Roles given in chat, who one is, what is kept of one, and being forgotten."""

from __future__ import annotations

import pytest

from antiphon.core.ids import UserId
from antiphon.core.people import Grant, Role, UsageEntry
from antiphon.sdk.commander import Erase, Surface
from antiphon.testing.command_world import ADA, BOB, ROOM, archive, command_world, place

EVE = UserId("@eve:elsewhere.example")


async def test_a_role_is_given_listed_and_taken_back() -> None:
    world = command_world()
    assert "No role was given" in (await world.says(ADA, "!allow")).text
    assert (await world.says(ADA, f"!allow {EVE}")).text == f"`{EVE}` may talk to me now."
    await world.says(ADA, "!deny @*:spam.example")
    grants = (await world.platform.rules()).grants
    assert set(grants) == {Grant(EVE, Role.USER), Grant("@*:spam.example", Role.BLOCKED)}
    text = (await world.says(ADA, "!allow")).text
    assert f"- `{EVE}`: may talk" in text
    assert "- `@*:spam.example`: blocked" in text
    await world.says(ADA, f"!allow {EVE} reset")
    await world.says(ADA, "!deny @*:spam.example reset")
    assert (await world.platform.rules()).grants == ()


async def test_a_denied_person_is_allowed_again() -> None:
    world = command_world()
    await world.all_say(ADA, [f"!deny {EVE}", f"!allow {EVE}"])
    assert (await world.platform.rules()).grants == (Grant(EVE, Role.USER),)


async def test_it_is_said_where_something_stands_above_what_was_given() -> None:
    world = command_world()
    assert "stay blocked" in (await world.says(ADA, "!allow @filed:example.org")).text
    await world.says(ADA, "!deny @*:elsewhere.example")
    assert "stay blocked" in (await world.says(ADA, f"!allow {EVE}")).text
    assert "may talk by another rule" in (await world.says(ADA, f"!deny {BOB} reset")).text


@pytest.mark.parametrize(
    "pattern", ["eve", "elsewhere.example", "!room:x", "#alias:x", "@eve", "@", "eve:x", "@e:x:y!"]
)
async def test_what_is_no_id_is_told_the_right_form(pattern: str) -> None:
    world = command_world()
    for command in ("!allow", "!deny"):
        text = (await world.says(ADA, f"{command} {pattern}")).text
        assert "@user:server" in text, text
    assert (await world.platform.rules()).grants == ()


@pytest.mark.parametrize("pattern", [ADA, "*", "@*:example.org", "@ad?:example.org"])
async def test_nobody_blocks_themselves(pattern: str) -> None:
    world = command_world()
    assert "is you too" in (await world.says(ADA, f"!deny {pattern}")).text
    assert (await world.platform.rules()).grants == ()


async def test_a_second_word_is_reset_or_nothing() -> None:
    world = command_world()
    assert "may only stand `reset`" in (await world.says(ADA, f"!allow {EVE} please")).text
    assert (await world.platform.rules()).grants == ()


# --- !whoami --------------------------------------------------------------------------------------


async def test_whoami_tells_role_conversation_model_and_settings() -> None:
    world = command_world()
    text = (await world.says(BOB, "!whoami")).text
    assert f"You are `{BOB}`, someone who may talk to me." in text
    assert "this room, with everybody in it" in text
    assert "Conversation: 1, begun 2023-11-14" in text
    assert "Model: `offline`, a program with a few tools and no language model" in text
    assert "Settings: nothing is set." in text
    await world.all_say(
        BOB, ["!settings model openai:gpt-9", "!settings system_prompt Hush", "!rename Mine"]
    )
    text = (await world.says(BOB, "!whoami", is_moderator=True)).text
    assert "a moderator of this room" in text
    assert "Model: `gpt-9`, of the provider `openai`." in text
    assert "set are `model`, `system_prompt`" in text
    assert "Hush" not in text
    assert "Conversation: 1 (`Mine`)" in text
    assert "an administrator" in (await world.says(ADA, "!whoami")).text


async def test_whoami_works_without_the_agent() -> None:
    world = command_world()
    world.platform.unreachable = True
    assert "does not tell now" in (await world.says(BOB, "!whoami")).text


async def test_whoami_says_what_the_chat_is() -> None:
    world = command_world()
    assert "this thread" in (await world.says(BOB, "!whoami", place(thread="$r"))).text
    assert "you alone" in (await world.says(BOB, "!whoami", place(user=BOB))).text


# --- !export --------------------------------------------------------------------------------------


async def test_export_tells_this_conversation_and_counts_of_oneself() -> None:
    world = command_world()
    chat = await world.platform.chat(place())
    world.platform.memories[chat.session.thread_id] = archive(
        (BOB, "What is\nthe time?", "It is *late*."), (ADA, "Really?", "")
    )
    await world.platform.record_usage(
        (UsageEntry("r1", BOB, ROOM, world.clock.now_ms(), 1, 1, 1.0),)  # type: ignore[arg-type]
    )
    await world.says(BOB, "!settings language Klingon")
    text = (await world.says(BOB, "!export")).text
    assert text.startswith("Everybody in this room can read this. ")
    assert f"**`{BOB}`**, 2023-11-14 22:13 UTC:\n\n> What is\n> the time?" in text
    assert "**Answer**:\n\n> It is *late*." in text
    assert "> (nothing)" in text
    assert "1 setting of your own" in text
    assert "1 question whose use is counted" in text
    assert "Klingon" not in text


async def test_export_tells_nothing_of_another_chat_or_conversation() -> None:
    world = command_world()
    old = await world.platform.chat(place())
    other = await world.platform.chat(place(user=ADA))
    for chat in (old, other):
        world.platform.memories[chat.session.thread_id] = archive((ADA, "canary", "canary"))
    await world.says(BOB, "!new")
    for where in (place(), place("!other:example.org"), place(user=BOB)):
        text = (await world.says(BOB, "!export", where)).text
        assert "Nothing was said" in text
        assert "canary" not in text


async def test_a_long_export_keeps_the_newest() -> None:
    world = command_world(Surface("matrix", longest=3_000))
    chat = await world.platform.chat(place())
    runs = [(BOB, f"question {n}.", "word " * 60) for n in range(40)]
    world.platform.memories[chat.session.thread_id] = archive(*runs)
    text = (await world.says(BOB, "!export")).text
    assert len(text) <= 3_000
    assert "question 39." in text
    assert "question 1." not in text
    assert "older questions left out" in text
    world.platform.memories[chat.session.thread_id] = archive((BOB, "x" * 9_000, "y"))
    text = (await world.says(BOB, "!export")).text
    assert len(text) <= 3_000
    assert "left out" in text


async def test_an_export_without_the_agent_says_so() -> None:
    world = command_world()
    world.platform.unreachable = True
    assert "does not answer" in (await world.says(BOB, "!export")).text


# --- !forget-me -----------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["", " no", " now", " yes?"])
async def test_nobody_is_forgotten_without_a_yes(word: str) -> None:
    world = command_world()
    await world.says(BOB, "!settings language Latin")
    reply = await world.says(BOB, f"!forget-me{word}")
    assert "`!forget-me yes`" in reply.text
    assert "1 setting of your own" in reply.text
    assert reply.effect is None
    assert (await world.platform.export_user(BOB))["settings"] == {"language": "Latin"}


async def test_who_says_yes_is_forgotten_and_the_surface_is_told_what_is_owed() -> None:
    world = command_world()
    mine = await world.platform.chat(place(user=BOB))
    shared = await world.platform.chat(place("!shared:example.org"))
    adas = await world.platform.chat(place(user=ADA))
    await world.says(BOB, "!settings language Latin")
    await world.says(ADA, "!settings language Greek")
    reply = await world.says(BOB, "!forget-me yes", place("!shared:example.org"), request_id="f")
    assert isinstance(reply.effect, Erase)
    assert reply.effect.user_id == BOB
    assert reply.effect.forgotten.threads == (mine.session.thread_id,)
    assert shared.session.thread_id in reply.effect.forgotten.shared
    assert adas.session.thread_id not in reply.effect.forgotten.threads
    assert "Erased: 1 chat of yours alone, 1 setting, 0 counts" in reply.text
    assert (await world.platform.export_user(BOB))["settings"] == {}
    assert (await world.platform.export_user(ADA))["settings"] == {"language": "Greek"}
    again = await world.says(BOB, "!forget-me yes", request_id="f")
    assert again == reply, "asked for again it is the same"
