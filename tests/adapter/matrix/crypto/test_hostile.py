"""Forged, repeated, malformed and foreign messages are skipped with a reason; none is trusted, none
raises, and none stops the others."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import vodozemac
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from antiphon.adapter.matrix.crypto import pickles
from antiphon.adapter.matrix.crypto.store import olm_sessions, outbound_groups
from antiphon.adapter.matrix.crypto.values import MEGOLM, OLM, Decrypted, Received
from antiphon.testing.crypto_world import Someone, World

ROOM, OTHER = "!room:x", "!other:x"
ANN, BEN, EVE = "@ann:x", "@ben:x", "@eve:x"
ALL = [ANN, BEN, EVE]


class Scene:
    """Ann, Ben and Eve, who all have Olm sessions with each other."""

    def __init__(self, world: World, ann: Someone, ben: Someone, eve: Someone):
        self.world, self.ann, self.ben, self.eve = world, ann, ben, eve


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with World(tmp_path) as world:
        people = [await world.join(*who) for who in ((ANN, "A"), (BEN, "B"), (EVE, "E"))]
        for one in people:
            await one.ready("!before:x", ALL)
            for other in people:
                await other.sync()
        yield Scene(world, *people)


async def olm(
    writer: Someone, reader: Someone, kind: str, content: Any, /, **changes: Any
) -> dict[str, Any]:
    """An Olm message as the writer's device could make it if it lied: `changes` of its payload."""
    me, to = writer.machine.me, reader.machine.me
    payload = {
        "type": kind,
        "content": content,
        "sender": me.user_id,
        "recipient": to.user_id,
        "recipient_keys": {"ed25519": to.ed25519},
        "keys": {"ed25519": me.ed25519},
        **changes,
    }
    return await raw_olm(writer, reader, json.dumps(payload).encode())


async def raw_olm(writer: Someone, reader: Someone, plaintext: bytes) -> dict[str, Any]:
    me, to = writer.machine.me, reader.machine.me

    def encrypt(connection: Connection) -> tuple[int, bytes]:
        row = olm_sessions.newest(connection, [to.curve25519])[to.curve25519]
        session = pickles.open_session(writer.store.vault, row.pickle)
        message = session.encrypt(plaintext).to_parts()
        pickle = session.pickle(writer.store.vault.pickle_key)
        moved = olm_sessions.OlmRow(row.curve25519, row.session_id, pickle, row.rank)
        olm_sessions.save(connection, [moved])
        return message

    number, body = await writer.store.write(encrypt)
    text = base64.b64encode(body).decode().rstrip("=")
    content = {
        "algorithm": OLM,
        "sender_key": me.curve25519,
        "ciphertext": {to.curve25519: {"type": number, "body": text}},
    }
    return {"type": "m.room.encrypted", "sender": me.user_id, "content": content}


def room_key(session: vodozemac.GroupSession, **changes: Any) -> dict[str, Any]:
    return {
        "algorithm": MEGOLM,
        "room_id": ROOM,
        "session_id": session.session_id,
        "session_key": session.session_key.to_base64(),
        **changes,
    }


async def take(reader: Someone, *events: Any) -> Received:
    return await reader.machine.receive(list(events))


def codes(received: Received) -> list[str]:
    return [problem.code for problem in received.problems]


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


@pytest.mark.parametrize(
    "event",
    [
        None,
        [],
        {},
        {"type": "m.room.encrypted"},
        {"type": "m.room.encrypted", "sender": BEN, "content": None},
        {"type": 1, "sender": BEN, "content": {}},
        {"type": "m.room.encrypted", "sender": "@a\x00:x", "content": {}},
        {"type": "m.room.encrypted", "sender": "\ud800", "content": {}},
    ],
)
async def test_rubbish_is_skipped(scene: Scene, event: Any) -> None:
    assert codes(await take(scene.ann, event)) == ["malformed"]


async def test_deep_rubbish_is_skipped(scene: Scene) -> None:
    deep: Any = []
    for _ in range(50_000):
        deep = [deep]
    event = {"type": "m.room_key_request", "sender": BEN, "content": {"x": deep}}
    assert codes(await take(scene.ann, event)) == ["malformed"]


async def test_an_olm_plaintext_may_be_anything(scene: Scene) -> None:
    for text in (b"", b"\xff", b"[1]", b"{", b"NaN", b'{"type":"m.dummy"}', b"[" * 100_000):
        assert codes(await take(scene.ann, await raw_olm(scene.eve, scene.ann, text))) == [
            "malformed"
        ]


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(alphabet=st.characters(exclude_categories=[])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
kinds = st.sampled_from(
    [
        "m.room.encrypted",
        "m.room_key.withheld",
        "m.room_key_request",
        "m.key.verification.start",
        "m.secret.request",
        "m.room_key",
    ]
)
known_fields = st.fixed_dictionaries(
    {},
    optional={
        "algorithm": st.sampled_from([OLM, MEGOLM, 1]),
        "sender_key": st.sampled_from(["A" * 43, "", 5]),
        "ciphertext": json_values,
        "room_id": json_values,
        "session_id": json_values,
        "code": json_values,
    },
)


async def test_no_message_stops_the_others(tmp_path: Path) -> None:
    """Whatever is in it: one commit, no exception, and the good message after it is taken."""
    async with World(tmp_path) as world:
        ann, ben = await world.join(ANN, "A"), await world.join(BEN, "B")
        await ann.ready(ROOM, [ANN, BEN])
        await ben.sync()
        await ben.ready(ROOM, [ANN, BEN])
        await ann.sync()
        corpus: list[dict[str, Any]] = []

        @settings(max_examples=300, database=None, derandomize=True)
        @given(kind=kinds, fields=known_fields, value=json_values)
        def gather(kind: str, fields: dict[str, Any], value: Any) -> None:
            content = {**fields, "x": value}
            ours = content.get("ciphertext")
            if isinstance(ours, dict):
                ours[ann.machine.me.curve25519] = value
            corpus.append({"type": kind, "sender": BEN, "content": content})
            corpus.append({"type": value, "sender": value, "content": value})

        gather()
        good = await olm(ben, ann, "m.room_key", room_key(vodozemac.GroupSession()))
        received = await ann.machine.receive([*corpus, good])
        assert len(received.keys) == 1
        assert len(corpus) > 300
        events = [
            {"event_id": f"$r{n}", "sender": BEN, "content": event["content"]}
            for n, event in enumerate(corpus)
        ]
        for found in await ann.machine.decrypt(ROOM, events):
            assert not isinstance(found, Decrypted)
