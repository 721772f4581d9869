"""Rubbish from the homeserver or from other devices is skipped, whatever it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import vodozemac
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.adapter.matrix.crypto.values import MEGOLM, OLM, Decrypted
from antiphon.testing.crypto_forgery import (
    ANN,
    BEN,
    ROOM,
    Scene,
    codes,
    olm,
    opening_scene,
    raw_olm,
    room_key,
    take,
)
from antiphon.testing.crypto_world import World


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with opening_scene(tmp_path) as opened:
        yield opened


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
