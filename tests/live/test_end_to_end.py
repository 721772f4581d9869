"""The main job on real parts: a real homeserver, agent and adapter as processes, a model server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from antiphon.demo.synapse import Synapse
from antiphon.settings import Secret
from antiphon.testing.house import House
from antiphon.testing.live import live_user
from antiphon.testing.processes import Pair


@pytest.fixture
async def house(synapse: Synapse, tmp_path: Path) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        yield House(synapse, stack, tmp_path)


async def test_two_people_in_two_rooms_are_each_remembered_alone(house: House) -> None:
    """Also after both processes were restarted."""
    pair = await house.open()
    (ada, ada_room), (bob, bob_room) = await house.person("ada"), await house.person("bob")
    await asyncio.gather(ada.say(ada_room, "My name is Ada."), bob.say(bob_room, "My name is Bob."))
    await asyncio.gather(
        house.answered(ada, ada_room, "END:Q-none"), house.answered(bob, bob_room, "END:Q-none")
    )

    async def ask(*before: str) -> None:
        await asyncio.gather(
            ada.say(ada_room, "What is my name?"), bob.say(bob_room, "What is my name?")
        )
        await asyncio.gather(
            house.answered(ada, ada_room, "END:Q-none", *before, "Your name is Ada."),
            house.answered(bob, bob_room, "END:Q-none", *before, "Your name is Bob."),
        )

    await ask()
    await pair.stop()
    await pair.start()
    await ask("")


async def test_killed_in_mid_answer_the_same_message_is_finished_once(house: House) -> None:
    """kill -9 of the adapter: one message, one model call, no second answer."""
    house.model.words, house.model.gap = 60, 0.05
    pair = await house.open()
    ada, room = await house.person("ada")
    await ada.say(room, "Q-1 please")
    begun = await ada.until(room, lambda shown: bool(house.answers(shown)))
    await pair.adapter.kill()
    root = next(m.event_id for m in begun if m.sender == house.bot.user_id)
    await pair.adapter.start()
    await house.answered(ada, room, "END:Q-1")
    finished = await ada.shown(room)
    assert [m.event_id for m in finished if m.sender == house.bot.user_id] == [root]
    assert len(house.model.requests) == 1
    await ada.say(room, "Q-2 please")
    assert len(await house.answered(ada, room, "END:Q-1", "END:Q-2")) == 2


async def test_the_agent_killed_in_mid_answer_resumes_in_the_same_message(house: House) -> None:
    house.model.words, house.model.gap = 40, 0.05
    pair = await house.open()
    ada, room = await house.person("ada")
    await ada.say(room, "Q-1 please")
    await ada.until(room, lambda shown: bool(house.answers(shown)))
    await pair.agent.kill()
    await pair.start_agent()
    bodies = await house.answered(ada, room, "END:Q-1")
    assert len(bodies) == 1
    assert bodies[0].count("A:Q-1") == 1


async def test_messages_sent_while_down_are_answered_in_order(house: House) -> None:
    house.model.gap = 0
    pair = await house.open()
    ada, room = await house.person("ada")
    await ada.say(room, "Q-0")
    await house.answered(ada, room, "END:Q-0")
    await pair.adapter.kill()
    for number in range(1, 6):
        await ada.say(room, f"Q-{number}")
    await pair.adapter.start()
    ends = [f"END:Q-{number}" for number in range(6)]
    assert len(await house.answered(ada, room, *ends)) == 6


async def test_stop_ends_the_models_own_request(house: House) -> None:
    house.model.words, house.model.gap = 400, 0.05
    await house.open()
    ada, room = await house.person("ada")
    await ada.say(room, "Q-1 at length")
    await ada.until(room, lambda shown: bool(house.answers(shown)))
    await ada.say(room, "!stop")
    await ada.until(room, lambda shown: any("(stopped)" in b for b in house.answers(shown)))
    await asyncio.wait_for(house.model.requests[0].ended.wait(), 5)
    assert house.model.requests[0].disconnected


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["disconnect@3", "malformed@3", "500", "401"])
async def test_a_failing_model_becomes_one_sentence_and_the_chat_goes_on(
    house: House, fault: str
) -> None:
    house.model.gap = 0
    await house.open()
    ada, room = await house.person("ada")
    await ada.say(room, f"Q-1 fault:{fault}")
    shown = await ada.until(
        room, lambda shown: any("(error " in body for body in house.answers(shown)), 40
    )
    assert len(house.answers(shown)) == 1
    await ada.say(room, "Q-2")
    await ada.until(room, lambda shown: any("END:Q-2" in b for b in house.answers(shown)))


@pytest.mark.slow
async def test_a_second_adapter_on_the_same_state_refuses(house: House) -> None:
    pair = await house.open()
    second = Pair(
        house.folder,
        homeserver=house.synapse.url,
        user=house.bot.user_id,
        password=house.bot.password.reveal(),
    ).adapter
    second.log = house.folder / "second.log"
    second.set(ANTIPHON_AGENT__URL=pair.agent.url)
    with pytest.raises(RuntimeError, match=r"ended with 2:[\s\S]*already runs"):
        await second.start()
    await pair.adapter.kill()
    await second.start()
    await second.stop()


@pytest.mark.slow
async def test_sigterm_stops_both_cleanly(house: House) -> None:
    pair = await house.open()
    assert await pair.adapter.stop() == 0
    assert await pair.agent.stop() == 0


@pytest.mark.slow
async def test_a_revoked_token_ends_the_adapter_with_a_clear_error(house: House) -> None:
    pair = await house.open()
    token = (house.folder / "state" / "matrix-login.json").read_text().split('"access_token":"')[1]
    async with live_user(house.synapse, "x") as user:
        user.client.use_token(Secret(token.split('"')[0]))
        await user.client.logout()
    assert await pair.adapter.wait() == 2
    assert "antiphon: " in pair.adapter.log.read_text().splitlines()[-1]


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("HOMESERVER", "http://127.0.0.1:9", "homeserver"),
        ("HOMESERVER", "matrix", "https://"),
        ("PASSWORD", "wrong", "password"),
        ("ALLOW", "bob", "allow"),
        ("PORT", "70000", "port"),
    ],
)
async def test_bad_settings_end_the_start_with_a_sentence(
    house: House, name: str, value: str, says: str
) -> None:
    async with live_user(house.synapse, "bot") as bot:
        adapter = Pair(
            house.folder,
            homeserver=house.synapse.url,
            user=bot.user_id,
            password=bot.password.reveal(),
            matrix={name: value},
        ).adapter
        adapter.set(ANTIPHON_AGENT__URL="ws://127.0.0.1:9/agent_ws/")
        with pytest.raises(RuntimeError, match="ended with 2") as raised:
            await adapter.start()
    assert says.lower() in str(raised.value).splitlines()[-1].lower()
