"""Commands are carried out once, for whoever may, and say what came of them."""

from __future__ import annotations

import pytest

from antiphon.core.commands import STANDARD, Who
from antiphon.errors import PlatformError
from antiphon.sdk.commander import Retry, Stop, Surface
from antiphon.sdk.interface import StateHealth
from antiphon.testing.command_world import ADA, BOB, command_world


async def test_every_command_of_the_catalogue_is_carried_out() -> None:
    """Each with and without an argument; none raises, none is declared and not carried out."""
    world = command_world()
    for command in STANDARD.commands:
        for arguments in ("", " 1", " x", " @a:b.c", " x y", " yes"):
            await world.says(ADA, f"!{command.name}{arguments}")
            await world.says(BOB, f"!{command.name}{arguments}")


@pytest.mark.parametrize("name", [c.name for c in STANDARD.commands if c.who is Who.ADMIN])
async def test_admins_commands_are_refused_to_others(name: str) -> None:
    world = command_world()
    before = await world.platform.rules()
    for arguments in ("", " @x:example.org", " room turns_per_minute 1", " *"):
        reply = await world.says(BOB, f"!{name}{arguments}", is_moderator=True)
        assert "Only an administrator" in reply.text
    assert await world.platform.rules() == before


async def test_what_is_no_command_is_answered_with_a_hint() -> None:
    world = command_world()
    assert "Did you mean `!settings`?" in (await world.says(BOB, "!setings model x")).text
    assert "stands alone" in (await world.says(BOB, "!new conversation")).text
    assert "There is no command" in (await world.says(BOB, "talk")).text


async def test_help_is_of_what_this_person_may() -> None:
    world = command_world()
    assert "!quota" not in (await world.says(BOB, "!help")).text
    assert "!quota" in (await world.says(ADA, "!help")).text
    assert "There is no such command" in (await world.says(BOB, "!help quota")).text
    assert "for me|room" in (await world.says(BOB, "!help settings")).text


async def test_a_surface_leaves_out_what_means_nothing_there() -> None:
    surface = Surface(
        "matrix", catalogue=STANDARD.without("allow"), settings=frozenset({"model", "streaming"})
    )
    world = command_world(surface)
    assert "There is no command" in (await world.says(ADA, "!allow *")).text
    listed = (await world.says(ADA, "!settings")).text
    assert "`streaming`" in listed
    assert "isolation" not in listed
    assert "means nothing here" in (await world.says(ADA, "!settings isolation user")).text


async def test_what_the_surface_must_do_comes_back_as_an_effect() -> None:
    world = command_world()
    assert (await world.says(BOB, "!stop")).effect == Stop()
    assert (await world.says(BOB, "!retry")).effect == Retry()


async def test_what_a_control_plane_does_not_let_the_surface_do_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = command_world()

    async def refuse(*_: object, **__: object) -> None:
        raise PlatformError("The token lacks the scope `platform`.", code=code)

    monkeypatch.setattr(world.platform, "set_setting", refuse)
    code = "forbidden"
    reply = await world.says(ADA, "!settings streaming off for everywhere")
    assert reply.text == "The token lacks the scope `platform`."
    code = "unreachable"
    with pytest.raises(PlatformError):
        await world.says(ADA, "!settings streaming off for everywhere")


# --- !status --------------------------------------------------------------------------------------


async def test_status_says_how_it_stands() -> None:
    world = command_world()
    await world.clock.advance(3 * 3600 + 12 * 60)
    world.status_lines = ["Matrix: in 3 rooms."]
    text = (await world.says(ADA, "!status")).text
    assert "up for 3 h 12 min" in text
    assert "Agent: ok" in text
    assert "kept here: ok" in text
    assert "- Matrix: in 3 rooms." in text
    assert "wait" not in text


async def test_status_says_what_waits_and_what_was_not_taken() -> None:
    world = command_world()
    world.platform.unreachable = True
    world.platform.health = StateHealth(
        remote=True, ok=False, detail="It is [away](x).", waiting=3, conflicts=("A `b`.",) * 9
    )
    text = (await world.says(ADA, "!status")).text
    assert "Agent: NOT OK. `The agent does not answer.`" in text
    assert "by a control plane: NOT OK. `It is [away](x).`" in text
    assert "3 changes wait" in text
    assert "9 changes it did not take" in text
    assert text.count("A `b`.") == 5
