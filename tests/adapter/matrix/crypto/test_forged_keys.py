"""Forged and false messages of devices, and forged keys in them, are refused with a reason; none is
trusted, none raises, and none stops the others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import vodozemac

from antiphon.adapter.matrix.crypto.values import MEGOLM, Decrypted
from antiphon.testing.crypto_forgery import (
    ANN,
    BEN,
    EVE,
    OTHER,
    ROOM,
    Scene,
    codes,
    olm,
    opening_scene,
    room_key,
    take,
)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with opening_scene(tmp_path) as opened:
        yield opened


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"sender": BEN}, "wrong_sender"),
        ({"recipient": BEN}, "wrong_recipient"),
        ({"recipient_keys": {"ed25519": "A" * 43}}, "wrong_recipient"),
        ({"recipient_keys": {}}, "malformed"),
        ({"keys": {"ed25519": "A" * 43}}, "wrong_sender_key"),
        ({"keys": {"ed25519": "no key"}}, "malformed"),
        ({"keys": None}, "malformed"),
        ({"content": []}, "malformed"),
        ({"type": 7}, "malformed"),
        ({"sender_device_keys": {"user_id": EVE}}, "wrong_sender_key"),
        ({"org.matrix.msc4147.device_keys": None}, "wrong_sender_key"),
    ],
)
async def test_an_olm_message_that_lies_is_refused(
    scene: Scene, changes: dict[str, Any], code: str
) -> None:
    """And brings no key."""
    session = vodozemac.GroupSession()
    message = await olm(scene.eve, scene.ann, "m.room_key", room_key(session), **changes)
    good = await olm(scene.ben, scene.ann, "m.room_key", room_key(vodozemac.GroupSession()))
    received = await take(scene.ann, message, good)
    assert codes(received) == [code]
    assert len(received.keys) == 1
    assert received.wedged == ()


async def test_an_olm_message_that_the_homeserver_gives_to_another_sender_is_refused(
    scene: Scene,
) -> None:
    """Eve can't send on Ben's message as hers, nor can the homeserver say that she wrote it."""
    message = await olm(scene.ben, scene.ann, "m.room_key", room_key(vodozemac.GroupSession()))
    received = await take(scene.ann, message | {"sender": EVE})
    assert codes(received) == ["wrong_sender"]
    assert received.keys == ()


async def test_device_keys_in_a_message_must_be_its_devices_own(scene: Scene) -> None:
    """Ben's, well signed, do not make Eve's message his."""
    keys = await scene.ben.machine.device_keys()
    message = await olm(scene.eve, scene.ann, "m.dummy", {}, sender_device_keys=keys)
    assert codes(await take(scene.ann, message)) == ["wrong_sender_key"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"algorithm": "m.megolm.v9"}, "unknown_algorithm"),
        ({"room_id": 7}, "malformed"),
        ({"room_id": "!a\x00b"}, "malformed"),
        ({"session_id": "another"}, "forged_room_key"),
        ({"session_key": "AAAA"}, "malformed"),
        ({"session_key": None}, "malformed"),
    ],
)
async def test_a_malformed_room_key_is_refused(
    scene: Scene, changes: dict[str, Any], code: str
) -> None:
    key = room_key(vodozemac.GroupSession(), **changes)
    received = await take(scene.ann, await olm(scene.eve, scene.ann, "m.room_key", key))
    assert codes(received) == [code]
    assert received.keys == ()


@pytest.mark.parametrize("kind", ["m.room_key", "m.forwarded_room_key", "m.secret.send"])
async def test_what_must_be_encrypted_is_refused_in_the_clear(scene: Scene, kind: str) -> None:
    content = room_key(vodozemac.GroupSession())
    received = await take(scene.ann, {"type": kind, "sender": BEN, "content": content})
    assert codes(received) == ["unencrypted"]
    assert (received.keys, received.messages) == ((), ())


async def test_a_key_that_nobody_asked_for_is_not_taken_forwarded(scene: Scene) -> None:
    event = await scene.ben.write(OTHER, "secret", [BEN, ANN])
    await scene.ann.sync()
    session_id = event["content"]["session_id"]
    [backup] = [
        found.key
        for found in await scene.ann.machine.to_back_up()
        if found.key.session_id == session_id
    ]
    forwarded = {
        "algorithm": MEGOLM,
        "room_id": OTHER,
        "session_id": session_id,
        "session_key": backup.session_key,
        "sender_key": backup.sender_key,
        "sender_claimed_ed25519_key": backup.claimed["ed25519"],
        "forwarding_curve25519_key_chain": [],
    }
    for asked, code in ((False, "unasked_room_key"), (True, "untrusted_room_key")):
        if asked:
            await scene.eve.crypto.ask_for_key(OTHER, session_id)
        message = await olm(scene.ann, scene.eve, "m.forwarded_room_key", {**forwarded, "n": asked})
        assert codes(await take(scene.eve, message)) == [code]
    message = await olm(scene.ben, scene.eve, "m.forwarded_room_key", forwarded)
    assert len((await take(scene.eve, message)).keys) == 1
    found = await scene.eve.crypto.decrypt(OTHER, event)
    assert isinstance(found, Decrypted)
    assert found.trust == "forwarded"


async def test_an_own_signed_device_may_forward_what_was_asked_for(scene: Scene) -> None:
    """One of our own that our identity did not sign may not."""
    second = await scene.world.join(ANN, "A2")
    await scene.ann.sync()
    await scene.ann.ready(ROOM, [ANN])
    await second.sync()
    event = await scene.ben.write(OTHER, "secret", [BEN, EVE])
    key = next(
        found.key for found in await scene.ben.machine.to_back_up() if found.key.room_id == OTHER
    )
    forwarded = {
        "algorithm": MEGOLM,
        "room_id": OTHER,
        "session_id": key.session_id,
        "session_key": key.session_key,
        "sender_key": key.sender_key,
        "sender_claimed_ed25519_key": key.claimed["ed25519"],
    }
    await second.crypto.ask_for_key(OTHER, key.session_id)
    await second.ready(ROOM, [ANN])
    message = await olm(scene.ann, second, "m.forwarded_room_key", forwarded)
    assert codes(await take(second, message)) == ["untrusted_room_key"]
    scene.world.directory.cross_sign(ANN)
    await second.sync()
    message = await olm(scene.ann, second, "m.forwarded_room_key", forwarded)
    assert len((await take(second, message)).keys) == 1
    assert await second.read(OTHER, event) == "secret"
