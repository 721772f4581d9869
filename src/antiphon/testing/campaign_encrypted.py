"""Scenarios that only encrypted rooms have: new devices, members who come and go, encryption that
is switched on. And what a trial in encrypted rooms needs before it begins.
"""

from __future__ import annotations

import secrets
import signal
from collections.abc import Sequence

from antiphon.adapter.matrix.transport import login
from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.adapter.matrix.transport.events import Event
from antiphon.core.ids import EventId, RoomId, UserId, turn_id
from antiphon.testing.campaign_people import ENCRYPTED, SealedPerson
from antiphon.testing.campaign_trial import Room, Trial
from antiphon.testing.campaign_world import pause
from antiphon.testing.checker import Violation
from antiphon.testing.checker_history import mark_of
from antiphon.testing.processes import Process

UNSEEN_MS = 5_000
"""How long after encryption was switched on something in the clear may have been under way: until
the adapter has read that by /sync, on a machine that is busy."""


async def prepare(trial: Trial) -> None:
    """Gives the bot a recovery key, if the plan wants one, by the command that people use."""
    if not trial.plan.recovery:
        return
    command = Process("recovery", (), trial.adapter_env(), trial.folder)
    ended = await command.on_terminal("matrix", "recovery-key", timeout_s=90)
    if ended.code != 0:
        raise RuntimeError(f"there is no recovery key: {ended.err[-1000:]}")
    if trial.plan.first is not None and trial.plan.first.text.startswith("identity.backup_begun"):
        await delete_backup(trial)


async def unwedge(trial: Trial) -> None:
    """Somebody's device says that it can't read the bot's Olm messages: they get a new session."""
    person = await trial.world.sealed()
    content = {
        "algorithm": "m.megolm.v1.aes-sha2",
        "code": "m.no_olm",
        "reason": "It says so.",
        "sender_key": person.js.login.curve25519,
    }
    await person.client.keys.send_to_device(
        "m.room_key.withheld", f"wedge-{secrets.token_hex(8)}", {trial.bot.user_id: {"*": content}}
    )


async def device(trial: Trial) -> None:
    """The user logs in on a new device while an answer streams; it asks, reads the answers, and
    logs out. Perhaps the adapter dies meanwhile."""
    await _mid_answer(trial)
    person = await trial.world.sealed()
    async with person.another_device() as phone:
        if trial.chance.random() < 0.5:
            trial.adapter.send(signal.SIGKILL)
        tags = []
        for room in trial.rooms:
            tags.append(await trial.ask(room, trial.how(), by=phone))
            if trial.chance.random() < 0.5:
                trial.adapter.send(signal.SIGKILL)
            tags.append(await trial.ask(room, trial.how()))
        await trial.settled()
        for room in trial.rooms:
            answers = await _answers(trial, room, tags)
            for event in await phone.opened(room.room_id, answers):
                if event.type == ENCRYPTED:
                    _broken(trial, "undecryptable", room, f"{event.event_id} by the new device")
        await phone.js.logout()
    await trial.finish()


async def members(trial: Trial) -> None:
    """Somebody comes into a room and leaves it again: they read what is answered while they are in,
    and nothing of what is answered after. The adapter dies on the way, or not."""
    await trial.start()
    await trial.open_rooms()
    await trial.ask_each(trial.chance.randint(1, 2))
    guest = await trial.world.sealed("guest")
    room = trial.rooms[0]
    person = await trial.world.sealed()
    await person.invite(room.room_id, guest.user_id)
    await guest.js.join(room.room_id)
    await person.js.joined_by(room.room_id, guest.user_id)
    while_in = await trial.ask(room, "words:30 gap:0.03")
    if trial.chance.random() < 0.5:
        await trial.streaming(while_in)
        trial.adapter.send(signal.SIGKILL)
    await trial.settled()
    for event in await guest.opened(room.room_id, await _answers(trial, room, [while_in])):
        if event.type == ENCRYPTED:
            _broken(trial, "undecryptable", room, f"{event.event_id} by a member")
    if trial.chance.random() < 0.5:
        await guest.js.leave(room.room_id)
    else:
        await person.js.kick(room.room_id, guest.user_id)
    if trial.chance.random() < 0.5:
        trial.adapter.send(signal.SIGKILL)
    after = [await trial.ask(room, trial.how()) for _ in range(2)]
    await trial.finish()
    for event in await guest.opened(room.room_id, await _answers(trial, room, after)):
        if event.type != ENCRYPTED:
            _broken(trial, "rotation", room, f"{event.event_id} is read by who has left")


async def switched_on(trial: Trial) -> None:
    """The rooms are plain, and encrypted while an answer streams."""
    trial.unseen_ms = UNSEEN_MS
    await _mid_answer(trial)
    person = await trial.world.sealed()
    dies = trial.chance.random()
    if dies < 0.3:
        await trial.adapter.end()
        trial.unseen_ms = 0  # the next life knows it before it sends anything
    for room in trial.rooms:
        await person.js.encrypt(room.room_id, rotation_messages=trial.plan.rotation or None)
        if 0.3 <= dies < 0.6:
            await pause(trial.chance.uniform(0, 0.5))
            trial.adapter.send(signal.SIGKILL)
        await trial.ask(room, trial.how())
    if dies < 0.3:
        await trial.adapter.start()
    await trial.finish()


async def _mid_answer(trial: Trial) -> None:
    await trial.start()
    await trial.open_rooms()
    await trial.ask_each(1)
    tag = await trial.ask(trial.rooms[0], "words:30 gap:0.05")
    await trial.streaming(tag)


async def _answers(trial: Trial, room: Room, tags: Sequence[str]) -> list[Event]:
    """The events of the answers to these questions as they lie on the homeserver: their marks are
    readable there."""
    asked = [one for one in trial.asked if one.room_id == room.room_id and one.tag in tags]
    turns = {
        turn_id(UserId(trial.bot.user_id), RoomId(one.room_id), EventId(one.event_id))
        for one in asked
    }
    assert isinstance(room.person, SealedPerson)
    found = []
    for event in await room.person.wire(room.room_id):
        mark = mark_of(event.content)
        if event.sender == trial.bot.user_id and mark is not None and mark.turn in turns:
            found.append(event)
    return [event for event in found if not event.redacted]


async def delete_backup(trial: Trial) -> None:
    """Somebody deletes the bot's backup of keys on the homeserver: its next life begins another."""
    stored = login.load(trial.state)
    assert stored is not None
    async with MatrixClient(trial.world.synapse.url, access_token=stored.access_token) as client:
        version = await client.key_backup.version()
        if version is not None:
            await client.key_backup.delete_version(version.version)


def _broken(trial: Trial, kind: str, room: Room, detail: str) -> None:
    trial.problems.append(Violation(kind, room.room_id, "", detail))
