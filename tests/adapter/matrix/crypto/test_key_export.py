"""Sessions go to the key backup once and come back from it, and nobody is trusted for that."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from antiphon.adapter.matrix.crypto.values import Decrypted, NewKey
from antiphon.testing.crypto_world import World

ROOM = "!room:x"
ANN, BEN, CAT = "@ann:x", "@ben:x", "@cat:y"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with World(tmp_path) as made:
        yield made


async def test_what_was_backed_up_is_owed_no_more(world: World, store_url: str) -> None:
    """Until the backup is another one."""
    ann, ben = await world.join(ANN, "A", store_url), await world.join(BEN, "B")
    await ann.ready(ROOM, [ANN, BEN])
    await ben.ready(ROOM, [ANN, BEN])
    await ann.sync()
    owed = await ann.machine.to_back_up()
    assert sorted(found.verified for found in owed) == [False, True]
    assert len(await ann.machine.to_back_up(1)) == 1
    await ann.machine.backed_up([found.key for found in owed])
    assert await ann.machine.to_back_up_count() == 0
    await ann.machine.new_backup()
    assert await ann.machine.to_back_up_count() == 2
    assert await ann.machine.session_count() == 2


async def test_a_new_machine_reads_the_old_history(world: World) -> None:
    """The messages say that only the backup vouches for them."""
    ann, ben = await world.join(ANN, "A"), await world.join(BEN, "B")
    event = await ben.write(ROOM, "old", [ANN, BEN])
    await ann.sync()
    keys = [found.key for found in await ann.machine.to_back_up()]
    second = await world.join(ANN, "A2")
    assert await second.machine.restore(keys, backed_up=True) == [
        NewKey(ROOM, event["content"]["session_id"])
    ]
    assert await second.machine.restore(keys, backed_up=True) == []
    assert await second.machine.to_back_up_count() == 0
    found = await second.crypto.decrypt(ROOM, event)
    assert isinstance(found, Decrypted)
    assert found.trust == "backup"
    await second.ready(ROOM, [ANN, BEN])
    claimed = {**event, "sender": CAT}
    assert (await second.unreadable(ROOM, claimed)).reason == "wrong_sender"


async def test_a_session_known_from_later_on_is_completed_by_the_backup(world: World) -> None:
    """And is still vouched for by its device; the better one is owed to nobody but the backup."""
    ann, ben = await world.join(ANN, "A"), await world.join(BEN, "B")
    old = await ben.write(ROOM, "old", [BEN])
    new = await ben.write(ROOM, "new", [ANN, BEN])
    await ann.sync()
    await ann.ready(ROOM, [ANN, BEN])
    why = await ann.unreadable(ROOM, old)
    assert (why.reason, why.may_pass) == ("no_key", True)
    keys = [found.key for found in await ben.machine.to_back_up()]
    assert len(await ann.machine.restore(keys, backed_up=False)) == 1
    for event in (old, new):
        found = await ann.crypto.decrypt(ROOM, event)
        assert isinstance(found, Decrypted)
        assert found.trust == "unsigned"


async def test_the_device_itself_counts_more_than_a_false_backup(world: World) -> None:
    """A backup that holds another ratchet under the session's name keeps nobody from reading."""
    ann, ben = await world.join(ANN, "A"), await world.join(BEN, "B")
    event = await ben.write(ROOM, "true", [ANN, BEN])
    [other] = [found.key for found in await ben.machine.to_back_up()]
    later = await ben.write("!else:x", "x", [BEN])
    [wrong] = [f.key for f in await ben.machine.to_back_up() if f.key.room_id == "!else:x"]
    lie = msgspec.structs.replace(wrong, room_id=ROOM, session_id=other.session_id)
    assert await ann.machine.restore([lie], backed_up=True) == []
    # An export is not signed: its last 32 bytes name the session, the rest may be anything.
    ratchet, name = b64decode(wrong.session_key + "=="), b64decode(other.session_key + "==")
    forged = b64encode(ratchet[:-32] + name[-32:]).decode().rstrip("=")
    lie = msgspec.structs.replace(other, session_key=forged)
    assert len(await ann.machine.restore([lie], backed_up=True)) == 1
    why = await ann.unreadable(ROOM, event)
    assert (why.reason, why.may_pass) == ("bad_mac", True)
    assert later["content"]["session_id"] == wrong.session_id
    rubbish = msgspec.structs.replace(other, session_key="rubbish")
    nul = msgspec.structs.replace(other, room_id="!a\x00")
    assert await ann.machine.restore([rubbish, nul], backed_up=True) == []
    await ann.sync()
    assert await ann.read(ROOM, event) == "true"


async def test_one_that_became_better_meanwhile_stays_owed(world: World) -> None:
    ann, ben = await world.join(ANN, "A"), await world.join(BEN, "B")
    await ben.write(ROOM, "old", [BEN])
    await ben.write(ROOM, "new", [ANN, BEN])
    await ann.sync()
    saved = [found.key for found in await ann.machine.to_back_up()]
    better = [found.key for found in await ben.machine.to_back_up()]
    await ann.machine.restore(better, backed_up=False)
    await ann.machine.backed_up(saved)
    assert [found.key.first_index for found in await ann.machine.to_back_up()] == [0]
