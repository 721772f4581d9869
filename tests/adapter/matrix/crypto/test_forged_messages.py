"""Forged, repeated and moved messages of rooms are refused with a reason, and take nothing from the
true ones."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import vodozemac
from sqlalchemy import Connection

from antiphon.adapter.matrix.crypto import pickles
from antiphon.adapter.matrix.crypto.store import outbound_groups
from antiphon.adapter.matrix.crypto.values import Decrypted
from antiphon.testing.crypto_forgery import (
    ALL,
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


async def test_a_strangers_copy_of_a_session_takes_nothing_from_its_owner(scene: Scene) -> None:
    """Eve, who has it rightly, gives Ann Ben's session as hers before Ben does: what Ben writes is
    Ben's, and what Eve repeats is never taken for Ben's."""
    await scene.ben.ready(ROOM, ALL)

    def key(connection: Connection) -> vodozemac.GroupSession:
        row = outbound_groups.of(connection, ROOM)
        assert row is not None
        return pickles.open_outbound(scene.ben.store.vault, row.pickle)

    stolen = room_key(await scene.ben.store.read(key))
    event = await scene.ben.encrypted(ROOM, "from Ben")
    as_eve = {**event, "event_id": "$stolen", "sender": EVE}
    received = await take(scene.ann, await olm(scene.eve, scene.ann, "m.room_key", stolen))
    assert len(received.keys) == 1
    why = await scene.ann.unreadable(ROOM, event)
    assert (why.reason, why.may_pass) == ("wrong_sender", True)
    found = await scene.ann.crypto.decrypt(ROOM, as_eve)
    assert isinstance(found, Decrypted)
    assert (found.sender, found.device_id) == (EVE, "E")
    await scene.ann.sync()
    found = await scene.ann.crypto.decrypt(ROOM, event)
    assert isinstance(found, Decrypted)
    assert (found.sender, found.device_id) == (BEN, "B")


async def test_another_ratchet_under_a_sessions_name_is_refused(scene: Scene) -> None:
    """A session key is signed by its session: nobody makes another of the same name."""
    event = await scene.ben.write(ROOM, "from Ben", ALL)
    forged = room_key(vodozemac.GroupSession(), session_id=event["content"]["session_id"])
    received = await take(scene.ann, await olm(scene.ben, scene.ann, "m.room_key", forged))
    assert codes(received) == ["forged_room_key"]
    await scene.ann.sync()
    assert await scene.ann.read(ROOM, event) == "from Ben"


async def test_a_message_repeated_as_another_event_is_refused(scene: Scene) -> None:
    """The same event can be read as often as one likes, also after a restart."""
    event = await scene.ben.write(ROOM, "once", ALL)
    await scene.ann.sync()
    assert await scene.ann.read(ROOM, event) == "once"
    again = {**event, "event_id": "$another"}
    assert (await scene.ann.unreadable(ROOM, again)).reason == "replay"
    await scene.ann.open()
    assert (await scene.ann.unreadable(ROOM, again)).reason == "replay"
    assert await scene.ann.read(ROOM, event) == "once"


async def test_a_message_moved_to_another_room_is_refused(scene: Scene) -> None:
    event = await scene.ben.write(ROOM, "here", ALL)
    await scene.ann.sync()
    assert (await scene.ann.unreadable(OTHER, event)).reason == "wrong_room"
    # Also where the session is given for the other room as well.
    key = next(
        found.key for found in await scene.ben.machine.to_back_up() if found.key.room_id == ROOM
    )
    import msgspec

    moved = msgspec.structs.replace(key, room_id=OTHER)
    assert len(await scene.ann.machine.restore([moved], backed_up=True)) == 1
    assert (await scene.ann.unreadable(OTHER, event)).reason == "wrong_room"


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda c: {**c, "algorithm": "m.megolm.v9"}, "unknown_algorithm"),
        (lambda c: {**c, "algorithm": None}, "unknown_algorithm"),
        (lambda c: {k: v for k, v in c.items() if k != "session_id"}, "malformed"),
        (lambda c: {**c, "session_id": "a\x00"}, "malformed"),
        (lambda c: {**c, "ciphertext": {}}, "malformed"),
        (lambda c: {**c, "ciphertext": "AwgA"}, "malformed"),
        (lambda c: {**c, "ciphertext": c["ciphertext"][:-12] + "AAAAAAAAAAAA"}, "bad_mac"),
        (lambda c: {**c, "session_id": "unknown"}, "no_key"),
    ],
)
async def test_a_spoilt_message_is_unreadable_and_says_why(
    scene: Scene, spoil: Callable[[dict[str, Any]], dict[str, Any]], reason: str
) -> None:
    event = await scene.ben.write(ROOM, "x", ALL)
    await scene.ann.sync()
    spoilt = {**event, "content": spoil(event["content"])}
    assert (await scene.ann.unreadable(ROOM, spoilt)).reason == reason
    assert await scene.ann.read(ROOM, event) == "x"


async def test_what_the_clear_part_says_of_the_sender_is_not_believed(scene: Scene) -> None:
    """`sender_key` and `device_id` in the event are anybody's words."""
    event = await scene.ben.write(ROOM, "x", ALL)
    await scene.ann.sync()
    lies = {**event["content"], "sender_key": "A" * 43, "device_id": "E"}
    found = await scene.ann.crypto.decrypt(ROOM, {**event, "content": lies})
    assert isinstance(found, Decrypted)
    assert (found.device_id, found.sender_key) == ("B", scene.ben.machine.me.curve25519)
