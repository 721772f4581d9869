"""`!settings` and `!quota`: what may be set, where, and by whom."""

from __future__ import annotations

import pytest

from antiphon.core.chat_settings import SETTINGS
from antiphon.core.ids import UserId
from antiphon.core.people import UsageEntry
from antiphon.core.scopes import Scope
from antiphon.sdk.commander import Surface
from antiphon.testing.command_world import ADA, BOB, ROOM, CommandWorld, command_world, place

SCOPES = {
    "me": Scope("user", "matrix", BOB),
    "room": Scope("room", "matrix", ROOM),
    "surface": Scope("surface", "matrix"),
    "everywhere": Scope("platform"),
}


async def resolved(world: CommandWorld, key: str, who: UserId = BOB) -> object:
    chat = await world.platform.chat(place())
    return getattr(await world.platform.resolve(chat, who), key)


async def test_they_are_listed_with_where_they_come_from() -> None:
    world = command_world()
    await world.says(ADA, "!settings streaming off for everywhere")
    await world.says(ADA, "!settings language Deutsch for room")
    await world.says(BOB, "!settings language English")
    text = (await world.says(BOB, "!settings")).text
    assert "- `streaming`: `off`, everywhere" in text
    assert "- `language`: `English`, for you" in text
    assert "- `model`: as the agent has it\n" in text
    assert "- `tokens_per_day`: no limit of its own" in text
    assert text.count("\n- `") + 1 == len(SETTINGS)
    assert "`Deutsch`, for this room" in (await world.says(ADA, "!settings")).text


async def test_each_is_explained() -> None:
    world = command_world()
    for key, setting in SETTINGS.items():
        text = (await world.says(BOB, f"!settings {key}")).text
        assert setting.help in text
        assert setting.allowed in text
    text = (await world.says(BOB, "!settings model")).text
    assert "`offline`, `openai:gpt-9`, `local`" in text
    world.platform.unreachable = True
    assert "does not tell now" in (await world.says(BOB, "!settings model")).text


async def test_one_is_set_and_reset_for_oneself() -> None:
    world = command_world()
    reply = await world.says(BOB, "!settings model openai:gpt-9")
    assert reply.text == "`model` is `openai:gpt-9` for you now."
    assert await resolved(world, "model") == "openai:gpt-9"
    assert await resolved(world, "model", ADA) is None
    assert "not set for you any more" in (await world.says(BOB, "!settings model reset")).text
    assert await resolved(world, "model") is None


@pytest.mark.parametrize(
    ("where", "who", "moderator", "may"),
    [
        ("me", BOB, False, True),
        ("room", BOB, False, False),
        ("room", BOB, True, True),
        ("room", ADA, False, True),
        ("surface", BOB, True, False),
        ("surface", ADA, False, True),
        ("everywhere", BOB, True, False),
        ("everywhere", ADA, False, True),
    ],
)
@pytest.mark.parametrize("form", ["!settings streaming off for {}", "!set STREAMING for {} off"])
async def test_who_may_set_where(
    where: str, who: UserId, moderator: bool, may: bool, form: str
) -> None:
    world = command_world()
    text = (await world.says(who, form.format(where), is_moderator=moderator)).text
    found = await world.platform.settings(SCOPES[where])
    assert found == ({"streaming": False} if may else {})
    assert ("is `off`" in text) is may
    assert ("Only a" in text) is not may


async def test_what_is_the_admins_is_refused_to_moderators() -> None:
    world = command_world()
    for words in ("tools clock", "tokens_per_day 5", "tokens_per_day 5 for room"):
        text = (await world.says(BOB, f"!settings {words}", is_moderator=True)).text
        assert "Only an administrator" in text
    assert await world.platform.settings(SCOPES["me"]) == {}
    assert await world.platform.settings(SCOPES["room"]) == {}


async def test_what_is_no_ones_own_is_for_the_room() -> None:
    world = command_world()
    text = (await world.says(BOB, "!settings isolation user", is_moderator=True)).text
    assert "`isolation` is `user` for this room now. New conversations begin" in text
    assert await resolved(world, "isolation") == "user"
    text = (await world.says(BOB, "!settings isolation user for me")).text
    assert text == "`isolation` can only be set for: platform, surface, room."


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("streaming maybe", "`streaming` must be `on` or `off`."),
        ("show_tools all", "`none` or `names` or `results`"),
        ("model gpt-1", "There is no model `gpt-1` here. There are: `offline`"),
        ("modle x", "Did you mean `model`?"),
        ("nothing x", "There are: `model`"),
        ("streaming off for you", "There is no `for you`. There are: `for me`, `for room`"),
        ("streaming for", "`on` or `off`"),
        ("streaming for room", "`on` or `off`"),
        ("language " + "x" * 65, "up to 64 characters"),
        ("system_prompt " + "x" * 8001, "up to 8000 characters"),
    ],
)
async def test_a_wrong_word_is_told_what_is_allowed(words: str, told: str) -> None:
    world = command_world()
    assert told in (await world.says(ADA, f"!settings {words}")).text
    for scope in (*SCOPES.values(), Scope("user", "matrix", ADA)):
        assert await world.platform.settings(scope) == {}


async def test_a_model_is_not_set_while_nobody_can_say_whether_it_is_there() -> None:
    world = command_world()
    world.platform.unreachable = True
    assert "Nothing was set" in (await world.says(BOB, "!settings model offline")).text
    assert await resolved(world, "model") is None


@pytest.mark.parametrize(
    ("words", "prompt", "where"),
    [
        ("You write poems for me", "You write poems for me", "me"),
        ("for room: Be short. Reply for everywhere", "Be short. Reply for everywhere", "room"),
        ("Two\nlines", "Two\nlines", "me"),
    ],
)
async def test_a_prompt_may_end_in_anything(words: str, prompt: str, where: str) -> None:
    world = command_world()
    await world.says(BOB, f"!settings system_prompt {words}", is_moderator=True)
    assert await world.platform.settings(SCOPES[where]) == {"system_prompt": prompt}
    again = "!settings system_prompt reset for " + where
    assert "any more" in (await world.says(BOB, again, is_moderator=True)).text
    assert await world.platform.settings(SCOPES[where]) == {}


async def test_ones_own_prompt_is_not_shown_where_others_read() -> None:
    for shared in (True, False):
        world = command_world(Surface("matrix", shared=shared))
        texts = await world.all_say(
            BOB,
            [
                "!settings system_prompt my secret wish",
                "!settings",
                "!settings system_prompt",
                "!whoami",
                "!export",
            ],
        )
        assert any("secret" in text for text in texts) is not shared
        assert ("set (14 characters)" in texts[0]) is shared


async def test_all_of_ones_own_is_reset() -> None:
    world = command_world()
    await world.all_say(BOB, ["!settings streaming off", "!settings language Latin"])
    await world.says(ADA, "!quota @bob:example.org tokens_per_day 5")
    text = (await world.says(BOB, "!settings reset", request_id="r")).text
    assert "not yours to change: `tokens_per_day`" in text
    assert await world.platform.settings(SCOPES["me"]) == {"tokens_per_day": 5}
    assert (await world.says(BOB, "!settings reset", request_id="r")).text == text
    await world.says(ADA, "!settings streaming off for room")
    text = (await world.says(BOB, "!settings reset for room")).text
    assert "not yours to change: `streaming`" in text
    text = (await world.says(ADA, "!settings reset for room")).text
    assert text == "Nothing is set for this room any more."
    assert "Use it like this" in (await world.says(ADA, "!settings reset all")).text


async def test_setting_again_under_its_name_changes_nothing_again() -> None:
    world = command_world()
    await world.says(BOB, "!settings streaming off", request_id="r")
    await world.says(BOB, "!settings streaming on")
    await world.says(BOB, "!settings streaming off", request_id="r")
    assert await resolved(world, "streaming") is True


# --- !quota ---------------------------------------------------------------------------------------


async def test_limits_are_set_for_people_rooms_and_all() -> None:
    world = command_world()
    assert "No limit is set" in (await world.says(ADA, "!quota")).text
    texts = await world.all_say(
        ADA,
        [
            "!quota @bob:example.org tokens_per_day 1000",
            "!quota room turns_per_minute 30",
            "!quota surface queued_turns 3",
            "!quota everywhere tokens_per_day 50000",
        ],
    )
    assert texts == [
        "`@bob:example.org`: at most 1,000 tokens a day now.",
        "This room: at most 30 questions a minute now.",
        "Each person on this surface: at most 3 waiting questions now.",
        "Each person: at most 50,000 tokens a day now.",
    ]
    text = (await world.says(ADA, "!quota")).text
    for line in (
        "Each person: 50,000 tokens a day",
        "Each person on this surface: 3 waiting questions",
        "This room: 30 questions a minute",
        "1 person has limits of its own",
    ):
        assert line in text
    assert "@bob" not in text
    assert "1,000 tokens" in (await world.says(ADA, "!quota @bob:example.org")).text
    await world.says(ADA, "!quota @bob:example.org tokens_per_day off")
    assert "no limit" in (await world.says(ADA, "!quota @bob:example.org")).text


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("bob tokens_per_day 5", "WHO is"),
        ("@*:example.org tokens_per_day 5", "WHO is"),
        ("#room:x tokens_per_day 5", "WHO is"),
        ("room tokens 5", "LIMIT is"),
        ("room tokens_per_day", "Give it a value"),
        ("room tokens_per_day 0", "whole number"),
        ("room tokens_per_day -5", "whole number"),
        ("room tokens_per_day 1e3", "whole number"),
        ("room tokens_per_day \u0661", "whole number"),
        ("room tokens_per_day 99999999999", "whole number"),
    ],
)
async def test_a_wrong_quota_is_told_what_is_allowed(words: str, told: str) -> None:
    world = command_world()
    assert told in (await world.says(ADA, f"!quota {words}")).text
    assert (await world.platform.rules()).settings == ()


async def test_usage_tells_the_day_the_month_and_what_is_left() -> None:
    world = command_world()
    now = world.clock.now_ms()
    text = (await world.says(BOB, "!usage")).text
    assert "- You, today (UTC): 0 questions" in text
    assert "- No limit is set." in text
    await world.platform.record_usage(
        tuple(
            UsageEntry(f"r{n}", who, ROOM, at, 100, 50, 2.0)  # type: ignore[arg-type]
            for n, (who, at) in enumerate(
                ((BOB, now), (BOB, now - 40 * 86_400_000), (BOB, now - 86_400_000), (ADA, now))
            )
        )
    )
    await world.all_say(
        ADA,
        ["!quota @bob:example.org tokens_per_day 1000", "!quota room turns_per_minute 7"],
    )
    text = (await world.says(BOB, "!usage")).text
    assert "You, today (UTC): 1 question, 150 tokens (100 in, 50 out), 2.0 s" in text
    assert "You, in 30 days: 2 questions, 300 tokens" in text
    assert "This room, today: 2 questions" in text
    assert "Limit for you: 1,000 tokens a day, 850 left today." in text
    assert "Limit for this room: 7 questions a minute." in text
    assert "The day ends in 107 minutes" in text
