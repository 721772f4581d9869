"""Verifications between real devices: who is asked, who confirms, what it is worth, how it ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from msgspec.structs import replace

from antiphon.adapter.matrix.crypto.verifications import MOST_OF_ONE, MOST_OPEN, MOST_REQUESTS
from antiphon.errors import EncryptionError
from antiphon.testing.crypto_world import Someone, World
from antiphon.testing.verifiers import ROOM, Side, Timeline, cancels, exchange

ANN, BEN, CAT = "@ann:x", "@ben:x", "@cat:y"
REQUEST = "m.key.verification.request"
WAYS = pytest.mark.parametrize("room", [None, ROOM], ids=["to-device", "in a room"])


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with World(tmp_path) as made:
        yield made


@pytest.fixture
async def pair(world: World) -> tuple[Side, Side]:
    """Ann, who asks, and Ben, who lets her."""
    timeline = Timeline()
    ann, ben = await world.join(ANN, "A"), await world.join(BEN, "B")
    world.directory.cross_sign(BEN)
    return Side(ann, timeline, BEN), Side(ben, timeline, ANN)


async def compared(ann: Side, ben: Side, room: str | None) -> tuple[str, str]:
    """What each of the two shows for the verification that Ann asks for."""
    with structlog.testing.capture_logs() as logs:
        await ann.ask(ben.user_id, room)
        await exchange(ann, ben)
    first, second = [
        line["emoji"] + line["decimals"] for line in logs if line["event"] == "verification_compare"
    ]
    return first, second


@WAYS
async def test_only_a_persons_word_raises_trust(pair: tuple[Side, Side], room: str | None) -> None:
    """Who was asked confirms by itself, which vouches for nobody; who asked waits for a word."""
    ann, ben = pair
    ben.master = (await master_of(ann.someone, BEN)) or ""
    first, second = await compared(ann, ben, room)
    assert first == second
    assert ann.vouched == ben.vouched == []
    assert await ann.word(BEN, same=True)
    await exchange(ann, ben)
    [verified] = ann.vouched
    assert (verified.user_id, verified.device_id) == (BEN, "B")
    assert verified.device_key == ben.someone.machine.me.ed25519
    assert verified.master_key == ben.master
    assert ben.vouched == []
    assert cancels(ann) == []
    assert not await ann.word(BEN, same=True)


async def master_of(someone: Someone, user_id: str) -> str | None:
    await someone.crypto.look_up(user_id)
    user = await someone.machine.user(user_id)
    return None if user is None else user.master


@WAYS
async def test_what_they_compare_is_said_in_the_room(
    pair: tuple[Side, Side], room: str | None
) -> None:
    ann, ben = pair
    await compared(ann, ben, room)
    for side in pair:
        assert [text.startswith("Verification: I see ") for text in side.shown] == (
            [True] if room else []
        )


@WAYS
async def test_a_word_that_they_differ_ends_it(pair: tuple[Side, Side], room: str | None) -> None:
    ann, ben = pair
    await compared(ann, ben, room)
    assert await ann.word(BEN, same=False)
    await exchange(ann, ben)
    assert cancels(ann) == [("room" if room else BEN, "m.mismatched_sas")]
    assert ann.vouched == []
    assert await ann.verifier.work() is None
    assert await ben.verifier.work() is None


@WAYS
async def test_without_a_word_it_ends_in_time(pair: tuple[Side, Side], room: str | None) -> None:
    ann, ben = pair
    await compared(ann, ben, room)
    due = await ann.verifier.work()
    assert due is not None
    await ann.someone.world.clock.advance((due - ann.someone.world.clock.now_ms()) / 1000)
    assert await ann.verifier.work() is None
    assert cancels(ann) == [("room" if room else BEN, "m.timeout")]
    await exchange(ann, ben)
    assert await ben.verifier.work() is None
    assert not await ann.word(BEN, same=True)


@WAYS
async def test_a_request_that_nobody_sees_in_time_is_not_answered(
    pair: tuple[Side, Side], room: str | None
) -> None:
    ann, ben = pair
    await ann.ask(BEN, room)
    await ann.someone.world.clock.advance(601)
    await ann.verifier.work()
    await exchange(ann, ben)
    assert cancels(ann) == [("room" if room else BEN, "m.timeout")]


@WAYS
@pytest.mark.parametrize("who", [0, 1], ids=["who asked", "who was asked"])
async def test_a_restart_ends_it_at_both(
    pair: tuple[Side, Side], room: str | None, who: int
) -> None:
    """The other side hears of it at once; a later word finds nothing; another one can begin."""
    ann, ben = pair
    await compared(ann, ben, room)
    killed, other = pair[who], pair[1 - who]
    await killed.restart()
    assert cancels(ann) == [("room" if room else other.user_id, "m.user")]
    await exchange(ann, ben)
    assert await other.verifier.work() is None
    assert not await ann.word(BEN, same=True)
    await killed.restart()
    assert len(cancels(ann)) == 1
    await compared(ann, ben, room)
    assert await ann.word(BEN, same=True)
    await exchange(ann, ben)
    assert len(ann.vouched) == 1


async def test_a_request_that_came_before_a_kill_is_answered_after_it(
    pair: tuple[Side, Side],
) -> None:
    """The key store keeps it until it was dealt with."""
    ann, ben = pair
    await ann.ask(BEN)
    await ben.someone.sync()
    await ben.restart()
    await ben.verifier.work()
    await exchange(ann, ben)
    assert await ann.word(BEN, same=True)
    await exchange(ann, ben)
    assert len(ann.vouched) == 1
    assert await ben.someone.machine.waiting() == []


async def test_what_is_not_known_here_is_cancelled(pair: tuple[Side, Side]) -> None:
    """The other side goes on with something that was forgotten: it is told."""
    ann, ben = pair
    content = {"transaction_id": "gone", "key": "x", "from_device": "A"}
    api = ann.someone.crypto._api
    await api.send_to_device("m.key.verification.key", "t", {BEN: {"B": content}})
    await ben.sync()
    assert cancels(ann) == [(ANN, "m.unknown_transaction")]
    ben.allowed.clear()
    await api.send_to_device("m.key.verification.key", "u", {BEN: {"B": content | {"key": "y"}}})
    await ben.sync()
    assert len(cancels(ann)) == 1


async def test_a_stranger_gets_no_answer_and_costs_nothing(pair: tuple[Side, Side]) -> None:
    ann, ben = pair
    ben.allowed.clear()
    await ann.ask(BEN)
    await ann.ask(BEN, ROOM)
    before = list(ann.someone.world.directory.requests)
    await ben.verifier.work()
    ben.verifier.to_device(
        (await ben.someone.crypto.received(ben.someone.mine.queue, (), (), {}, None)).messages
    )
    for event in ben.timeline.events:
        ben.verifier.in_room(event)
    assert await ben.verifier.work() is None
    assert ann.someone.world.directory.requests == before
    assert await ben.someone.machine.waiting() == []


async def test_a_flood_of_requests_is_bounded(pair: tuple[Side, Side]) -> None:
    """However many a person sends, by however many devices: a few are answered, and nobody else's
    is kept from it."""
    ann, ben = pair
    world = ann.someone.world
    for number in range(30):
        extra = await world.join(ANN, f"X{number}")
        content = request(extra, f"t{number}")
        await extra.crypto._api.send_to_device(REQUEST, f"x{number}", {BEN: {"B": content}})
    await ben.sync()
    ready = [sent for sent in world.directory.sent if sent[0] == "m.key.verification.ready"]
    assert len(ready) == MOST_OF_ONE
    cat = Side(await world.join(CAT, "C"), ann.timeline, BEN)
    ben.allowed.add(CAT)
    await cat.ask(BEN)
    await exchange(cat, ben)
    assert await cat.word(BEN, same=True)
    await exchange(cat, ben)
    assert len(cat.vouched) == 1


async def test_requests_of_one_person_are_counted(pair: tuple[Side, Side]) -> None:
    """Those that end at once count too, until some time has passed."""
    ann, ben = pair
    for _ in range(MOST_REQUESTS + 3):
        await ann.ask(BEN)
        await exchange(ann, ben)
        await ann.word(BEN, same=False)
        await exchange(ann, ben)
    assert len(cancels(ann)) == MOST_REQUESTS
    await ann.someone.world.clock.advance(601)
    await ann.verifier.work()
    await compared(ann, ben, None)


async def test_many_people_at_once_are_bounded(pair: tuple[Side, Side]) -> None:
    ann, ben = pair
    world = ann.someone.world
    for number in range(MOST_OPEN + 5):
        name = f"@u{number}:x"
        ben.allowed.add(name)
        someone = await world.join(name, "D")
        content = request(someone, f"t{number}")
        await someone.crypto._api.send_to_device(REQUEST, f"x{number}", {BEN: {"B": content}})
    await ben.sync()
    ready = [sent for sent in world.directory.sent if sent[0] == "m.key.verification.ready"]
    assert len(ready) == MOST_OPEN


async def test_several_at_once_do_not_mix(pair: tuple[Side, Side]) -> None:
    """Ben is verified by Ann in the room and by Cat by devices, step by step at the same time."""
    ann, ben = pair
    cat = Side(await ann.someone.world.join(CAT, "C"), ann.timeline, BEN)
    ben.allowed.add(CAT)
    await ann.ask(BEN, ROOM)
    await cat.ask(BEN)
    await exchange(ann, ben, cat)
    for side in (ann, cat):
        assert await side.word(BEN, same=True)
    await exchange(ann, ben, cat)
    assert len(ann.vouched) == len(cat.vouched) == 1
    assert cancels(ann) == []


async def test_two_requests_of_one_device_end_each_other(pair: tuple[Side, Side]) -> None:
    """As the specification asks: somebody may want to be taken for somebody else."""
    ann, ben = pair
    await ann.ask(BEN)
    await ann.ask(BEN, ROOM)
    await exchange(ann, ben)
    assert sorted(cancels(ann)) == [(ANN, "m.unexpected_message"), ("room", "m.unexpected_message")]
    assert await ann.verifier.work() is None
    assert await ben.verifier.work() is None


async def test_events_that_are_read_again_change_nothing(pair: tuple[Side, Side]) -> None:
    """A gap that is read back brings events a second time, also of what is over."""
    ann, ben = pair
    await compared(ann, ben, ROOM)
    for event in list(ann.timeline.events):
        ann.verifier.in_room(event)
        ben.verifier.in_room(event)
    await exchange(ann, ben)
    assert await ann.word(BEN, same=True)
    await exchange(ann, ben)
    there = list(ann.timeline.events)
    for event in there:
        ann.verifier.in_room(event)
        ben.verifier.in_room(event)
    await ann.verifier.work()
    await ben.verifier.work()
    assert ann.timeline.events == there
    assert len(ann.vouched) == 1


async def test_what_is_over_when_it_is_read_is_left_alone(pair: tuple[Side, Side]) -> None:
    """Asked and withdrawn while Ben was away; or a room is read back after a restart. Only the two
    can end it so, not a third."""
    ann, ben = pair
    await ann.ask(BEN, ROOM)
    await ann.verifier.give_up(ann.asked[BEN])
    there = list(ann.timeline.events)
    assert [event.type for event in there] == ["m.room.message", "m.key.verification.cancel"]
    await ben.sync()
    await ben.restart()
    for event in there:
        ben.verifier.in_room(event)
    await ben.verifier.work()
    assert ann.timeline.events == there
    for event in (there[0], replace(there[1], sender="@cat:y")):
        ben.verifier.in_room(event)
    await ben.verifier.work()
    assert ann.timeline.events[-1].type == "m.key.verification.ready"


async def test_a_way_that_is_not_known_is_refused(pair: tuple[Side, Side]) -> None:
    ann, ben = pair
    content = request(ann.someone, "t") | {"methods": ["m.qr_code.scan.v1"]}
    await ann.someone.crypto._api.send_to_device(REQUEST, "x", {BEN: {"B": content}})
    await ben.sync()
    assert cancels(ann) == [(ANN, "m.unknown_method")]


async def test_a_room_that_takes_nothing_ends_it_here(pair: tuple[Side, Side]) -> None:
    ann, ben = pair
    await ann.ask(BEN, ROOM)
    ann.timeline.refuses = True
    await ben.sync()
    assert await ben.verifier.work() is None


async def test_nobody_to_ask_is_said(pair: tuple[Side, Side]) -> None:
    with pytest.raises(EncryptionError, match="no device"):
        await pair[0].ask("@nobody:x")


def request(someone: Someone, transaction: str) -> dict[str, Any]:
    return {
        "from_device": someone.device_id,
        "methods": ["m.sas.v1"],
        "timestamp": someone.world.clock.now_ms(),
        "transaction_id": transaction,
    }
