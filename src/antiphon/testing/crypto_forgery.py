"""A scene of three devices that know each other, and what a device could send if it lied: for tests
of what is refused."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import vodozemac
from sqlalchemy import Connection

from antiphon.adapter.matrix.crypto import pickles
from antiphon.adapter.matrix.crypto.store import olm_sessions
from antiphon.adapter.matrix.crypto.values import MEGOLM, OLM, Received
from antiphon.testing.crypto_world import Someone, World

ROOM, OTHER = "!room:x", "!other:x"
ANN, BEN, EVE = "@ann:x", "@ben:x", "@eve:x"
ALL = [ANN, BEN, EVE]


class Scene:
    """Ann, Ben and Eve, who all have Olm sessions with each other."""

    def __init__(self, world: World, ann: Someone, ben: Someone, eve: Someone):
        self.world, self.ann, self.ben, self.eve = world, ann, ben, eve


@asynccontextmanager
async def opening_scene(folder: Path) -> AsyncIterator[Scene]:
    async with World(folder) as world:
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
