"""Our own keys at the homeserver: enough of them, the right ones, each made once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import vodozemac

from antiphon.adapter.matrix.crypto import pickles
from antiphon.adapter.matrix.crypto.canonical import is_signed
from antiphon.adapter.matrix.crypto.own_keys import CURVE, TARGET
from antiphon.errors import HomeserverUnreachableError
from antiphon.testing.crypto_world import Someone, World

ROOM = "!room:x"
ANN, BEN = "@ann:x", "@ben:x"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with World(tmp_path) as made:
        yield made


async def test_the_first_upload_has_everything_signed(world: World) -> None:
    ann = await world.join(ANN, "A")
    me = ann.machine.me
    assert len(ann.mine.one_time) == TARGET
    assert len(ann.mine.fallback) == 1
    assert [key["fallback"] for key in ann.mine.fallback.values()] == [True]
    bodies = [ann.mine.keys, *ann.mine.one_time.values(), *ann.mine.fallback.values()]
    assert all(is_signed(body, ANN, "ed25519:A", me.ed25519) for body in bodies)
    assert ann.mine.keys["keys"] == {"curve25519:A": me.curve25519, "ed25519:A": me.ed25519}
    assert await ann.machine.upload() is None


async def test_an_upload_whose_answer_was_lost_is_repeated_the_same(world: World) -> None:
    """Also by the next process."""
    ann = Someone(world, f"sqlite:///{world.folder / 'a.db'}", ANN, "A")
    world.people.append(ann)
    await ann.open()
    first = await ann.machine.upload()
    assert first is not None
    world.directory.lose_answers.add(ANN)
    with pytest.raises(HomeserverUnreachableError):
        await ann.crypto.settle()
    await ann.open()
    second = await ann.machine.upload()
    assert {name: dict(part) for name, part in (second or {}).items() if name != "device_keys"} == {
        name: dict(part) for name, part in first.items() if name != "device_keys"
    }
    world.directory.lose_answers.clear()
    await ann.crypto.settle()
    assert await ann.machine.upload() is None


async def test_used_keys_are_replaced(world: World) -> None:
    """As the homeserver counts them; one that says nothing of them changes nothing."""
    ann = await world.join(ANN, "A")
    for _ in range(10):
        ann.mine.one_time.popitem()
    await ann.machine.receive([], counts={}, unused_fallback=None)
    assert await ann.machine.upload() is None
    await ann.sync()
    assert len(ann.mine.one_time) == TARGET


async def test_a_used_fallback_key_is_replaced_and_the_old_one_still_works(world: World) -> None:
    """Messages made with it may be under way."""
    ann, ben = await world.join(ANN, "A"), await world.join(BEN, "B")
    ben.mine.one_time.clear()
    old = dict(ben.mine.fallback)
    event = await ann.write(ROOM, "by fallback", [ANN, BEN])
    counts = {CURVE: TARGET}
    await ben.machine.receive([], counts=counts, unused_fallback=[])
    await ben.crypto.settle()
    assert ben.mine.fallback != old
    await ben.sync()
    assert await ben.read(ROOM, event) == "by fallback"


async def test_a_one_time_key_is_used_once(world: World) -> None:
    """When it has made a session it is gone, also for the next process: who records what was sent
    and takes the store later can't open it with what is left."""
    ann, ben = await world.join(ANN, "A"), await world.join(BEN, "B")
    await ann.ready(ROOM, [ANN, BEN])
    ours = ben.mine.queue[0]["content"]["ciphertext"][ben.machine.me.curve25519]
    await ben.sync()
    await ben.open()
    opened = await ben.store.read(lambda c: pickles.open_account(c, ben.store.vault))
    body = vodozemac.PreKeyMessage.from_base64(ours["body"])
    sender = vodozemac.Curve25519PublicKey.from_base64(ann.machine.me.curve25519)
    with pytest.raises(vodozemac.SessionCreationException, match="unknown one-time key"):
        opened.create_inbound_session(sender, body)


async def test_counts_and_uploads_come_to_rest(world: World) -> None:
    ann = await world.join(ANN, "A")
    for _ in range(3):
        await ann.sync()
    before = len(world.directory.requests)
    for _ in range(3):
        await ann.sync()
    assert world.directory.requests[before:] == []


async def test_keys_that_the_homeserver_has_otherwise_are_replaced(world: World) -> None:
    """It remembers keys that an older copy of the store made: without this no upload would ever
    be taken again."""
    ann = await world.join(ANN, "A")
    for _ in range(5):
        ann.mine.one_time.popitem()
    await ann.machine.receive([], counts={CURVE: len(ann.mine.one_time)})
    body: dict[str, Any] = await ann.machine.upload() or {}
    for name in body["one_time_keys"]:
        ann.mine.one_time[name] = {"key": "another"}
    settled = await ann.crypto.settle()
    assert [problem.code for problem in settled.problems] == ["keys_refused"]
    assert await ann.machine.upload() is None
    assert len([key for key in ann.mine.one_time.values() if key != {"key": "another"}]) >= TARGET


async def test_device_keys_that_were_lost_are_published_again(world: World) -> None:
    ann = await world.join(ANN, "A")
    ann.mine.keys = {}
    await ann.machine.device_keys_lost()
    await ann.crypto.settle()
    assert ann.mine.keys == await ann.machine.device_keys()
    assert len(ann.mine.one_time) <= TARGET * 2
