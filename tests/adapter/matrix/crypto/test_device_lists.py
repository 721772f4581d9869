"""The devices of others are who they say, or are refused; and lists are asked for when they may
have changed, whatever happens meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from antiphon.adapter.matrix.crypto.canonical import signable, signed
from antiphon.adapter.matrix.crypto.values import ChangedIdentity, Decrypted, Queried, RoomSettings
from antiphon.testing.crypto_world import Someone, World

ROOM = "!room:x"
ANN, BEN, CAT = "@ann:x", "@ben:x", "@cat:y"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with World(tmp_path) as made:
        yield made


async def ask(who: Someone) -> Queried:
    """Asks for everybody outdated and takes in the answer."""
    asked = await who.machine.outdated()
    answer = await who.crypto._api.query_keys(sorted(asked), 0)
    return await who.machine.queried(asked, answer)


async def known(who: Someone, user_id: str) -> list[str]:
    return [device.device_id for device in await who.machine.devices([user_id])]


@pytest.mark.parametrize(
    "change",
    [
        lambda k: {**k, "algorithms": []},
        lambda k: {**k, "user_id": CAT},
        lambda k: {**k, "device_id": "C"},
        lambda k: {**k, "keys": {}},
        lambda k: {**k, "keys": None},
        lambda k: {**k, "keys": {**k["keys"], "ed25519:B": "A" * 43}},
        lambda k: {**k, "keys": {**k["keys"], "curve25519:B": "A" * 43}},
        lambda k: {**k, "signatures": {}},
        lambda k: {**k, "extra": 0.5},
        lambda _: "keys",
    ],
)
async def test_keys_that_the_device_did_not_sign_are_refused(
    world: World, change: Callable[[dict[str, Any]], Any]
) -> None:
    """A good device beside it is taken."""
    ann, ben = await world.join(ANN, "A"), await world.join(BEN, "B")
    await world.join(BEN, "B2")
    ben.mine.keys = change(ben.mine.keys)
    await ann.machine.track([BEN])
    found = await ask(ann)
    assert [(p.code, p.device_id) for p in found.problems] == [("bad_device_keys", "B")]
    assert await known(ann, BEN) == ["B2"]


async def test_a_device_whose_keys_change_is_refused_and_reported(world: World) -> None:
    """The homeserver can't put another in its place: it stays as it was known."""
    ann, ben = await world.join(ANN, "A"), await world.join(BEN, "B")
    await ann.machine.track([BEN])
    await ask(ann)
    thief = Someone(world, f"sqlite:///{world.folder / 'thief.db'}", BEN, "B")
    world.people.append(thief)
    await thief.open()
    ben.mine.keys = await thief.machine.device_keys()
    await ann.machine.receive([], changed=[BEN])
    found = await ask(ann)
    assert [(p.code, p.device_id) for p in found.problems] == [("device_keys_changed", "B")]
    device = await ann.machine.device(BEN, "B")
    assert device is not None
    assert device.ed25519 == ben.machine.me.ed25519


async def test_nobody_is_taken_for_this_bot(world: World) -> None:
    """Neither another device with our keys, nor other keys under our name."""
    ann, ben = await world.join(ANN, "A"), await world.join(BEN, "B")
    ann.mine.keys = ben.mine.keys | {"user_id": ANN, "device_id": "A"}
    await ann.machine.all_outdated()
    assert [p.code for p in (await ask(ann)).problems] == ["bad_device_keys"]
    other = Someone(world, f"sqlite:///{world.folder / 'other.db'}", ANN, "A")
    world.people.append(other)
    await other.open()
    ann.mine.keys = await other.machine.device_keys()
    await ann.machine.all_outdated()
    assert [p.code for p in (await ask(ann)).problems] == ["device_keys_changed"]


async def test_two_devices_with_one_identity_key_are_not_both_believed(world: World) -> None:
    """Else one could write in the other's name."""
    ann, ben = await world.join(ANN, "A"), await world.join(BEN, "B")
    evil = await world.join(BEN, "C")
    keys = {k: v for k, v in evil.mine.keys.items() if k != "signatures"}
    keys["keys"] = {**keys["keys"], "curve25519:C": ben.machine.me.curve25519}
    text = await evil.machine.sign(signable(keys))
    evil.mine.keys = signed(keys, BEN, "ed25519:C", lambda _: text)
    await ann.machine.track([BEN])
    found = await ask(ann)
    assert [(p.code, p.device_id) for p in found.problems] == [("device_keys_changed", "C")]
    assert await known(ann, BEN) == ["B"]


async def test_a_deleted_device_may_come_back_with_other_keys(world: World) -> None:
    """Its name is free again; what the old one said stays the old one's."""
    ann, ben = await world.join(ANN, "A"), await world.join(BEN, "B")
    event = await ben.write(ROOM, "old", [ANN, BEN])
    await ann.sync()
    await ann.ready(ROOM, [ANN, BEN])
    world.directory.log_out(BEN, "B")
    await ann.sync()
    assert await known(ann, BEN) == []
    found = await ann.crypto.decrypt(ROOM, event)
    assert isinstance(found, Decrypted)
    assert (found.trust, found.device_id) == ("unsigned", "B")
    new = Someone(world, f"sqlite:///{world.folder / 'new.db'}", BEN, "B")
    world.people.append(new)
    await new.open()
    await new.crypto.settle()
    await ann.sync()
    assert await known(ann, BEN) == ["B"]
    found = await ann.crypto.decrypt(ROOM, event)
    assert isinstance(found, Decrypted)
    assert found.trust == "unknown-device"


async def test_a_change_that_comes_while_the_answer_is_under_way_is_not_lost(
    world: World,
) -> None:
    """The answer may be older than the change."""
    ann, _ = await world.join(ANN, "A"), await world.join(BEN, "B")
    await ann.machine.track([BEN])
    asked = await ann.machine.outdated()
    answer = await ann.crypto._api.query_keys(sorted(asked), 0)
    await world.join(BEN, "B2")
    await ann.machine.receive([], changed=[BEN])
    await ann.machine.queried(asked, answer)
    assert set(await ann.machine.outdated()) == {BEN}
    await ask(ann)
    assert await known(ann, BEN) == ["B", "B2"]
    assert await ann.machine.outdated() == {}


async def test_who_is_outdated_stays_so_over_a_restart(world: World, store_url: str) -> None:
    ann = await world.join(ANN, "A", store_url)
    await ann.sync()
    await ann.machine.track([BEN, CAT])
    await ann.open()
    assert set(await ann.machine.outdated()) == {BEN, CAT}
    assert set(await ann.machine.outdated([CAT])) == {CAT}
    await ann.machine.receive([], left=[BEN])
    assert set(await ann.machine.outdated()) == {CAT}
    await ask(ann)
    assert await ann.machine.outdated() == {}
    await ann.machine.all_outdated()
    await ann.machine.track([BEN])
    assert set(await ann.machine.outdated()) == {ANN, BEN, CAT}


async def test_a_server_that_fails_stops_nobody_else_and_is_asked_later(world: World) -> None:
    ann, ben, cat = [await world.join(*w) for w in ((ANN, "A"), (BEN, "B"), (CAT, "C"))]
    world.directory.failing.add("y")
    event = await ann.write(ROOM, "x", [ANN, BEN, CAT])
    await ben.sync()
    assert await ben.read(ROOM, event) == "x"
    world.directory.requests.clear()
    await ann.write(ROOM, "x", [ANN, BEN, CAT])
    assert "query" not in world.directory.requests
    world.directory.failing.clear()
    await world.clock.advance(61)
    event = await ann.write(ROOM, "y", [ANN, BEN, CAT])
    await cat.sync()
    assert await cat.read(ROOM, event) == "y"


async def test_a_device_without_keys_is_told_and_asked_later(world: World) -> None:
    """The others are not kept waiting, and it is not asked at every message."""
    ann, ben, cat = [await world.join(*w) for w in ((ANN, "A"), (BEN, "B"), (CAT, "C"))]
    one_time, fallback = cat.mine.one_time, cat.mine.fallback
    cat.mine.one_time, cat.mine.fallback = {}, {}
    ready = await ann.ready(ROOM, [ANN, BEN, CAT])
    assert [(p.code, p.user_id) for p in ready.missing] == [("m.no_olm", CAT)]
    event = await ann.encrypted(ROOM, "x")
    await ben.sync()
    assert await ben.read(ROOM, event) == "x"
    world.directory.requests.clear()
    await ann.write(ROOM, "x", [ANN, BEN, CAT])
    assert world.directory.requests == []
    assert [s[0] for s in world.directory.sent if s[1] == CAT] == ["m.room_key.withheld"]
    cat.mine.one_time, cat.mine.fallback = one_time, fallback
    await world.clock.advance(301)
    event = await ann.write(ROOM, "y", [ANN, BEN, CAT])
    await cat.sync(settle=False)
    assert await cat.read(ROOM, event) == "y"


async def test_a_one_time_key_that_the_device_did_not_sign_is_refused(world: World) -> None:
    """The homeserver can't read along by giving keys of its own."""
    ann, ben = await world.join(ANN, "A"), await world.join(BEN, "B")
    ben.mine.one_time = {
        name: {**key, "key": "A" * 42 + "E"} for name, key in ben.mine.one_time.items()
    }
    ready = await ann.ready(ROOM, [ANN, BEN])
    assert [(p.code, p.device_id) for p in ready.problems] == [("bad_one_time_key", "B")]
    assert ben.mine.queue[0]["type"] == "m.room_key.withheld"


async def test_a_new_identity_is_reported_until_people_were_told(world: World) -> None:
    """Once by the answer that brought it, and by the list for as long as nobody said so."""
    ann, _ = await world.join(ANN, "A"), await world.join(BEN, "B")
    world.directory.cross_sign(BEN)
    await ann.machine.track([BEN])
    assert (await ask(ann)).changed == ()
    first = await ann.machine.user(BEN)
    assert first is not None
    world.directory.cross_sign(BEN, b"j" * 32)
    await ann.machine.receive([], changed=[BEN])
    [changed] = (await ask(ann)).changed
    now = await ann.machine.user(BEN)
    assert now is not None
    assert changed == ChangedIdentity(BEN, first.master or "", now.master or "")
    await ann.open()
    assert await ann.machine.changed_identities() == [changed]
    await ann.machine.accept_identity(BEN, changed.master)
    assert await ann.machine.changed_identities() == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda i: {**i, "self_signing": {**i["self_signing"], "signatures": {}}},
        lambda i: {"self_signing": i["self_signing"]},
        lambda i: {**i, "master": {**i["master"], "user_id": CAT}},
        lambda i: {**i, "master": {**i["master"], "usage": ["self_signing"]}},
    ],
)
async def test_an_identity_that_is_not_signed_makes_no_device_trusted(
    world: World, spoil: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    ann, ben = await world.join(ANN, "A"), await world.join(BEN, "B")
    world.directory.cross_sign(BEN)
    world.directory.identities[BEN] = spoil(world.directory.identities[BEN])
    ready = await ann.ready(ROOM, [ANN, BEN], RoomSettings(only_cross_signed=True))
    assert [p.code for p in ready.missing] == ["m.unverified"]
    assert {p.code for p in ready.problems} == {"bad_identity"}
    event = await ann.encrypted(ROOM, "x")
    await ben.sync()
    assert (await ben.unreadable(ROOM, event)).reason == "withheld"


@pytest.mark.parametrize("answer", [{}, {"device_keys": []}, {"device_keys": {BEN: []}}])
async def test_an_answer_that_holds_nothing_is_borne(world: World, answer: dict[str, Any]) -> None:
    ann = await world.join(ANN, "A")
    await ann.machine.track([BEN])
    asked = await ann.machine.outdated()
    assert (await ann.machine.queried(asked, answer)).added == ()
    assert await known(ann, BEN) == []
