"""Messages to devices are taken once, wait for whom they are for, and find their way again when an
Olm session has broken."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from antiphon.adapter.matrix.crypto.values import Received
from antiphon.testing.crypto_forgery import (
    ALL,
    ANN,
    BEN,
    ROOM,
    Scene,
    codes,
    olm,
    opening_scene,
    take,
)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with opening_scene(tmp_path) as opened:
        yield opened


async def test_messages_of_devices_come_twice_and_are_taken_once(scene: Scene) -> None:
    """Also in another wrapping; and that is no broken session."""
    await scene.ben.ready(ROOM, ALL)
    first = await scene.ann.sync(keep=True)
    assert len(first.keys) == 1
    again = await scene.ann.sync(keep=True)
    assert again == Received()
    wrapped = [{**event, "unsigned": {"x": 1}} for event in scene.ann.mine.queue]
    wrapped[0]["content"] = {**wrapped[0]["content"], "org.example": 1}
    assert await take(scene.ann, *wrapped) == Received()


async def test_a_broken_session_is_replaced_once_an_hour(scene: Scene) -> None:
    """And then works again, with the keys that were lost given once more."""
    me = scene.ben.machine.me

    async def garbage(text: str) -> Received:
        event = await olm(scene.ben, scene.ann, "m.dummy", {})
        ours = event["content"]["ciphertext"][scene.ann.machine.me.curve25519]
        raw = base64.b64decode(ours["body"] + "==")
        ours["body"] = base64.b64encode(raw[:-8] + text.encode()[:8]).decode().rstrip("=")
        return await take(scene.ann, event)

    first = await garbage("12345678")
    assert first.wedged == ((BEN, me.curve25519),)
    assert codes(first) == ["undecryptable"]
    assert (await garbage("23456789")).wedged == ()
    await scene.ann.ready(ROOM, ALL)
    scene.world.directory.sent.clear()
    await scene.ann.crypto.settle()
    assert [sent[1] for sent in scene.world.directory.sent] == [BEN]
    await scene.ann.crypto.settle()
    assert len(scene.world.directory.sent) == 1
    await scene.ben.sync()
    event = await scene.ben.write(ROOM, "works", ALL)
    await scene.ann.sync()
    assert await scene.ann.read(ROOM, event) == "works"
    await scene.world.clock.advance(3600)
    assert (await garbage("34567890")).wedged == ((BEN, me.curve25519),)


async def test_who_makes_a_new_session_gets_the_keys_again(scene: Scene) -> None:
    """What it was sent on the old one may be lost."""
    event = await scene.ann.write(ROOM, "lost", ALL)
    scene.ben.mine.queue.clear()
    assert (await scene.ben.unreadable(ROOM, event)).reason == "no_key"
    await take(scene.ann, await olm(scene.ben, scene.ann, "m.dummy", {}))
    after = await scene.ann.write(ROOM, "found", ALL)
    await scene.ben.sync()
    assert await scene.ben.read(ROOM, after) == "found"


async def test_a_secret_reaches_the_one_device_that_it_is_for(scene: Scene) -> None:
    """Encrypted, also to a device that we never wrote to; one that is gone is told of."""
    second = await scene.world.join(ANN, "A2")
    await scene.ann.sync()
    secret = {"request_id": "1", "secret": "s3cret"}
    to = {ANN: {"A2": secret, "gone": secret}}
    missing = await scene.ann.crypto.send_sealed("m.secret.send", to)
    assert [(p.code, p.device_id) for p in missing] == [("not_sent", "gone")]
    assert "s3cret" not in repr(second.mine.queue)
    [message] = (await second.sync()).messages
    assert (message.type, message.content, message.encrypted) == ("m.secret.send", secret, True)
    assert message.sender_ed25519 == scene.ann.machine.me.ed25519


async def test_messages_for_others_wait_until_they_are_done(scene: Scene) -> None:
    """In order, over a restart, the encrypted ones with the device that wrote them."""
    request = {"type": "m.key.verification.request", "sender": BEN, "content": {"from": "B"}}
    secret = await olm(scene.ben, scene.ann, "m.secret.send", {"secret": "s\ud800"})
    received = await take(scene.ann, request, secret)
    assert [(m.type, m.encrypted, m.device_id) for m in received.messages] == [
        ("m.key.verification.request", False, ""),
        ("m.secret.send", True, "B"),
    ]
    await scene.ann.open()
    assert tuple(await scene.ann.machine.waiting()) == received.messages
    await scene.ann.machine.done([received.messages[0].message_id])
    assert tuple(await scene.ann.machine.waiting()) == received.messages[1:]
