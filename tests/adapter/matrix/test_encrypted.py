"""What the adapter does in encrypted rooms, with a cipher that hides nothing from the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from antiphon.core.ids import UserId
from antiphon.core.people import Role
from antiphon.core.scopes import Scope
from antiphon.testing.cipher import FakeCipher, hide, shown
from antiphon.testing.homeserver import FakeHomeserver
from antiphon.testing.remote_worlds import kept_by
from antiphon.testing.world import World, until

ENCRYPTION = {"algorithm": "m.megolm.v1.aes-sha2"}


class Sealed:
    """A world whose room is encrypted, and a cipher that has Ada's key."""

    def __init__(self, world: World):
        self.world = world
        self.cipher = FakeCipher("ada-1")
        world.adapter.cipher = self.cipher

    def encrypt(self) -> None:
        """Encryption is switched on."""
        self.world.server.event(
            self.world.room, "m.room.encryption", self.world.ada, ENCRYPTION, state_key=""
        )

    def ask(self, text: str, session: str = "ada-1", **more: Any) -> str:
        content = hide({"msgtype": "m.text", "body": text, **more}, session)
        return self.world.server.event(self.world.room, "m.room.encrypted", self.world.ada, content)

    def of_bot(self) -> list[dict[str, Any]]:
        """Its messages as they stand in the room, sealed or not, oldest first."""
        return [
            event
            for event in self.world.server.room_events(self.world.room)
            if event["sender"] == self.world.bot
            and event["type"] in ("m.room.message", "m.room.encrypted")
        ]

    def plain(self) -> list[dict[str, Any]]:
        """What the bot has said in the clear and not taken back."""
        return [e for e in self.of_bot() if e["type"] == "m.room.message" and e["content"]]

    def said(self) -> list[str]:
        """What a person reads of the bot in the end, message by message."""
        texts: dict[str, str] = {}
        for event in self.of_bot():
            if not event["content"]:
                continue
            content = event["content"]
            if event["type"] == "m.room.encrypted":
                content = shown(content)
            relation = content.get("m.relates_to", {})
            if relation.get("rel_type") == "m.replace":
                if relation["event_id"] in texts:
                    texts[relation["event_id"]] = content["m.new_content"]["body"]
            else:
                texts[event["event_id"]] = content["body"]
        return list(texts.values())

    async def journalled(self) -> None:
        """All that was said until now is journalled: the next sync goes on after it."""
        position = self.world.server.rooms.position

        def asked_since(since: str) -> bool:
            return since.startswith("s") and int(since[1:]) >= position

        await self.world.server.until(
            lambda: any(
                asked_since(request.query.get("since", ""))
                for request in self.world.server.asked("sync")
            )
        )

    async def reads(self, *texts: str) -> None:
        await self.world.server.until(lambda: self.said() == list(texts), timeout_s=10)


@pytest.fixture
async def sealed(kept: str, homeserver: FakeHomeserver, tmp_path: Path) -> AsyncIterator[Sealed]:
    world = World(homeserver, tmp_path)
    world.room = homeserver.room(world.ada, world.bot)
    async with kept_by(kept, world.platform, tmp_path):
        async with world.adapter.running():
            pass  # known, so that what is said from now on is answered
        yield Sealed(world)


async def test_a_sealed_question_gets_a_sealed_answer(sealed: Sealed) -> None:
    """And nothing in the clear, neither first words nor edits."""
    gate = asyncio.Event()
    sealed.world.platform.reply("one", gate, " two")
    sealed.encrypt()
    async with sealed.world.adapter.running():
        sealed.ask("hello")
        await sealed.reads("one")
        gate.set()
        await sealed.reads("one two")
    assert sealed.plain() == []
    assert [run.question[0].text for run in sealed.world.platform.runs] == ["hello"]


async def test_a_late_key_is_answered_once_in_the_order_of_readability(sealed: Sealed) -> None:
    """Also when the process has restarted meanwhile."""
    sealed.encrypt()
    async with sealed.world.adapter.running():
        sealed.ask("first", "ada-2")
        sealed.ask("second")
        await sealed.reads("You said: second")
    sealed.cipher.keys.add("ada-2")
    for _ in range(2):
        async with sealed.world.adapter.running():
            await sealed.reads("You said: second", "You said: first")
    assert len(sealed.world.platform.runs) == 2


async def test_switched_on_in_mid_answer_the_whole_is_said_anew_and_the_clear_part_goes(
    sealed: Sealed,
) -> None:
    gate = asyncio.Event()
    sealed.world.platform.reply("it begins", gate, " and ends")
    async with sealed.world.adapter.running():
        sealed.world.ask("hello")
        await sealed.reads("it begins")
        before = len(sealed.of_bot())
        sealed.encrypt()
        sealed.ask("next")
        await sealed.journalled()
        gate.set()
        await sealed.reads("it begins and ends", "You said: next")
        await until(lambda: sealed.plain() == [])
    assert all(event["type"] == "m.room.encrypted" for event in sealed.of_bot()[before:])


async def test_nobody_who_may_not_talk_waits_for_a_key(sealed: Sealed) -> None:
    sealed.encrypt()
    eve = sealed.world.server.account("eve")
    async with sealed.world.adapter.running():
        sealed.world.server.event(
            sealed.world.room, "m.room.encrypted", eve, hide({"body": "x"}, "eve-1")
        )
        sealed.ask("second")
        await sealed.reads("You said: second")


def edit_of(event: str, text: str) -> dict[str, Any]:
    return {
        "m.new_content": {"msgtype": "m.text", "body": text},
        "m.relates_to": {"rel_type": "m.replace", "event_id": event},
    }


async def test_a_command_in_an_encrypted_edit_is_none(sealed: Sealed) -> None:
    """Also where its key comes late."""
    sealed.encrypt()
    async with sealed.world.adapter.running():
        question = sealed.ask("hello")
        await sealed.reads("You said: hello")
        sealed.ask("* !new", **edit_of(question, "!new"))
        sealed.ask("* !new", "ada-2", **edit_of(question, "!new"))
        sealed.cipher.keys.add("ada-2")
        sealed.cipher.wake()
        sealed.ask("next")
        await sealed.reads("You said: hello", "You said: next")
    assert len({run.thread_id for run in sealed.world.platform.runs}) == 1


async def test_what_becomes_readable_is_answered_only_if_it_is_meant_for_the_bot(
    sealed: Sealed,
) -> None:
    """Decided when it can be read; until then nobody is told that it can't."""
    world = sealed.world
    sealed.encrypt()
    await world.platform.set_setting(
        Scope("room", "matrix", world.room),
        "answer_when",
        "addressed",
        by=UserId(world.ada),
        request_id="a",
    )
    async with world.adapter.running():
        sealed.ask("for others", "ada-2")
        sealed.ask("for you", "ada-2", **{"m.mentions": {"user_ids": [world.bot]}})
        await sealed.journalled()
        sealed.cipher.keys.add("ada-2")
        sealed.cipher.wake()
        await sealed.reads("You said: for you")
    assert [run.question[0].text for run in world.platform.runs] == ["for you"]


async def test_the_limits_of_an_encrypted_room_are_those_of_any(sealed: Sealed) -> None:
    """Whoever keeps keys back does not ask more by that."""
    world = sealed.world
    sealed.encrypt()
    await world.platform.set_setting(
        Scope("surface", "matrix"), "turns_per_minute", 2, by=UserId(world.ada), request_id="a"
    )
    async with world.adapter.running():
        for number in range(5):
            sealed.ask(f"q{number}", "ada-2")
        await sealed.journalled()
        sealed.cipher.keys.add("ada-2")
        sealed.cipher.wake()
        await until(lambda: len(sealed.said()) == 3)
    assert len(world.platform.runs) == 2
    assert sealed.plain() == []


async def test_given_and_taken_roles_count_for_verification_too(sealed: Sealed) -> None:
    """The cipher asks the same rules as every message: what the file says, and what was said
    while running."""
    world, eve = sealed.world, UserId("@eve:elsewhere.example")
    bob, ada = UserId(world.server.account("bob")), UserId(world.ada)
    async with world.adapter.running():
        known = [sealed.cipher.may_talk(someone) for someone in (ada, bob, eve)]
        assert known == [True, True, False]
        await world.platform.set_role(eve, Role.USER, by=ada, request_id="allow")
        await world.platform.set_role(bob, Role.BLOCKED, by=ada, request_id="block")
        await until(
            lambda: (
                [sealed.cipher.may_talk(someone) for someone in (ada, bob, eve)]
                == [True, False, True]
            )
        )
