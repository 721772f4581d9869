"""Tells the control plane what it has not been told: one change after the other, each under its
request's name until it is taken. What it does not take as it is becomes a sentence, and what is
kept there wins; a session that was begun here stays a session of its chat. Keeps no time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from sqlalchemy import Connection

from antiphon.clock import Clock
from antiphon.core.chats import Chat, Session
from antiphon.core.ids import ChatId
from antiphon.crash import crash_point
from antiphon.db import Database
from antiphon.errors import PlatformError
from antiphon.records import queue, told
from antiphon.records.queue import Queued
from antiphon.sdk.remote_api import ControlPlane
from antiphon.sdk.remote_changes import (
    AdoptChat,
    BeginSession,
    Change,
    ChangeSession,
    ForgetChat,
    ForgetUser,
    MoveChat,
    RecordUsage,
    Retire,
    SetRole,
    SetSetting,
    decode,
)
from antiphon.sdk.remote_http import RefusedError
from antiphon.sdk.remote_link import AWAY, Link
from antiphon.telemetry import logger

MOST_ENTRIES = 200
"""Most entries of usage that are told at once."""

Keep = Callable[[Connection], None]
"""What is written down here once it was told."""


class Teller:
    """Empties the queue in `database`. `aliases` are the chats that go by another id there."""

    def __init__(
        self,
        plane: ControlPlane,
        database: Database,
        surface: str,
        link: Link,
        clock: Clock,
        aliases: dict[ChatId, ChatId],
    ):
        self._plane = plane
        self._database = database
        self._surface = surface
        self._link = link
        self._clock = clock
        self._aliases = aliases
        self._conflicts = 0

    async def tell(self) -> int:
        """Tells until nothing waits; how much of it was not taken as it was. Raises
        MasterUnreachableError and MasterRefusedError where it is away: what waits then waits on."""
        self._conflicts = 0
        while True:
            waiting = await self._database.read(lambda c: queue.first(c, MOST_ENTRIES))
            if not waiting:
                return self._conflicts
            batch = _batch(waiting)
            keep = await self._taken(batch[0][0], _merged([change for _, change in batch]))
            crash_point("remote.told")
            await self._done([one for one, _ in batch], keep)

    async def _done(self, batch: list[Queued], keep: Keep) -> None:
        def write(connection: Connection) -> int:
            keep(connection)
            queue.drop(connection, [one.seq for one in batch])
            return queue.count(connection)

        # Until all was told and seen, nobody else asks: not 0 here, but by `rest`.
        self._link.waiting = max(1, await self._database.write(write))

    async def rest(self) -> None:
        """What was told is seen here: who asks from now on asks there, unless more waits."""
        # On the thread that changes: the counts of changes come back in their order.
        self._link.waiting = await self._database.write(queue.count)

    async def _taken(self, one: Queued, change: Change) -> Keep:
        """Tells one change; what is to be written down here then."""
        try:
            return await self._told(one.request_id, change)
        except AWAY:
            raise
        except PlatformError as error:
            sentence = f"{change.what} was refused: {error.message}"
            undo = await self._undo(change, error)
            return self._conflict(sentence, undo)

    async def _told(self, key: str, change: Change) -> Keep:
        match change:
            case AdoptChat():
                return await self._adopt(key, change)
            case BeginSession():
                return await self._begin(key, change.session)
            case ChangeSession(chat_id=chat_id, session_id=session_id):
                chat_id = self._there(chat_id)
                await self._plane.change_session(chat_id, session_id, change.body, key)
            case MoveChat():
                await self._plane.move(self._there(change.chat_id), change.new, key)
            case ForgetChat():
                await self._forget(key, change)
            case Retire():
                await self._plane.retire(change.thread_id, key)
            case SetSetting():
                await self._plane.set_setting(
                    change.scope, change.key, change.value, change.by, key
                )
            case SetRole():
                await self._plane.set_role(change.pattern, change.role, change.by, key)
            case RecordUsage():
                await self._plane.record_usage(change.entries)
            case ForgetUser():
                await self._plane.forget_user(change.user_id, key)
        return _nothing

    # --- chats and sessions ---------------------------------------------------------------------

    async def _adopt(self, key: str, change: AdoptChat) -> Keep:
        place, session = change.place, change.session
        kept = await self._plane.adopt(place, session, key)
        if kept.chat_id == session.chat_id:
            return _nothing
        # Somebody else made the chat of this place meanwhile: that one is kept.
        moved = msgspec.structs.replace(session, chat_id=kept.chat_id)
        stays = await self._join(f"{key}:join", moved, kept.session)
        now = self._clock.now_ms()

        def keep(connection: Connection) -> None:
            told.taken_over(connection, session.chat_id, kept, now, stays=stays)
            queue.set_alias(connection, session.chat_id, kept.chat_id)

        self._aliases.update(dict.fromkeys(_names_of(self._aliases, session.chat_id), kept.chat_id))
        what = "goes on in that one as an older conversation" if stays else "goes on in that one"
        return self._conflict(
            f"The chat that began in {place.room} while the control plane was away had been begun "
            f"elsewhere too: it {what}.",
            keep,
        )

    async def _begin(self, key: str, session: Session) -> Keep:
        chat_id = self._there(session.chat_id)
        moved = msgspec.structs.replace(session, chat_id=chat_id)
        before = (await self._plane.chat_of(chat_id)).session
        stays = await self._join(key, moved, before)
        now = self._clock.now_ms()
        if not stays:
            return _nothing

        def keep(connection: Connection) -> None:
            told.session(connection, before, now)
            told.current(connection, chat_id, before.session_id)

        return self._conflict(
            "A conversation that began while the control plane was away is an older one of its "
            "chat: another was begun elsewhere after it.",
            keep,
        )

    async def _join(self, key: str, session: Session, current: Session) -> bool:
        """Makes it a session of its chat, and the current one unless `current` is newer: then that
        stays, and this says so."""
        try:
            await self._plane.begin(session.chat_id, session, key)
        except RefusedError as error:
            if error.code != "conflict":
                raise
            # Under this name one was begun already: the answer to that was lost, or another
            # process was asked the same. Ours was given out, so that it is a session too.
            await self._plane.begin(session.chat_id, session, f"{key}:ours")
        is_newer = current.started_ms > session.started_ms
        if not is_newer or current.session_id == session.session_id:
            return False
        back = {"current": True}
        await self._plane.change_session(session.chat_id, current.session_id, back, f"{key}:back")
        return True

    async def _forget(self, key: str, change: ForgetChat) -> None:
        chat_id = change.chat_id
        if chat_id is None:
            found = await self._plane.find(change.place)
            if found is None:
                return
            chat_id = found.chat_id
        try:
            await self._plane.forget_chat(self._there(chat_id), key)
        except RefusedError as error:
            if error.code != "unknown_chat":
                raise  # one that is not there is as good as forgotten

    # --- what was not taken ---------------------------------------------------------------------

    async def _undo(self, change: Change, error: PlatformError) -> Keep:
        """What is to be written down so that it is here as it is there."""
        match change:
            case SetSetting(scope=scope, key=key):
                try:
                    values = await self._plane.settings(scope)
                except RefusedError:
                    return lambda connection: told.setting(connection, scope, key, None)
                return lambda connection: told.setting(connection, scope, key, values.get(key))
            case SetRole(pattern=pattern):
                return self._without_role(pattern)
            case AdoptChat(session=session):
                return lambda connection: told.without_chat(connection, session.chat_id)
            case BeginSession(session=session):
                return await self._as_there(session.chat_id, session)
            case ChangeSession(chat_id=chat_id) | MoveChat(chat_id=chat_id):
                return await self._as_there(chat_id, None)
            case _:
                return _nothing

    def _without_role(self, pattern: str) -> Keep:
        """Until the rules are told again, nobody has it."""
        return lambda connection: told.role(connection, self._surface, pattern, None)

    async def _as_there(self, chat_id: ChatId, refused: Session | None) -> Keep:
        """The chat as it is there; where it is gone there, its memories are never used again."""
        there, now = self._there(chat_id), self._clock.now_ms()
        chat: Chat | None = None
        sessions: tuple[Session, ...] = ()
        try:
            chat = await self._plane.chat_of(there)
            sessions = await self._plane.sessions(there)
        except RefusedError:
            chat = None

        def keep(connection: Connection) -> None:
            if chat is None:
                told.gone(connection, there, now)
            else:
                told.chat(connection, chat, now)
                told.all_sessions(connection, there, sessions, now)
            if refused is not None:
                told.retired(connection, refused.thread_id, now)

        return keep

    def _conflict(self, sentence: str, keep: Keep) -> Keep:
        now = self._clock.now_ms()
        self._conflicts += 1
        logger("sdk.master").warning("control_plane_conflict", what=sentence)

        def both(connection: Connection) -> None:
            keep(connection)
            queue.note_conflict(connection, sentence, now)

        return both

    def _there(self, chat_id: ChatId) -> ChatId:
        return self._aliases.get(chat_id, chat_id)


def _batch(waiting: tuple[Queued, ...]) -> list[tuple[Queued, Change]]:
    """The first change, or all that begin the queue and only count what was used."""
    found: list[tuple[Queued, Change]] = []
    entries = 0
    for one in waiting:
        change = decode(one.change)
        if not isinstance(change, RecordUsage):
            return found or [(one, change)]
        entries += len(change.entries)
        if found and entries > MOST_ENTRIES:
            return found
        found.append((one, change))
    return found


def _merged(changes: list[Change]) -> Change:
    if len(changes) == 1:
        return changes[0]
    entries = (change.entries for change in changes if isinstance(change, RecordUsage))
    return RecordUsage(tuple(entry for some in entries for entry in some))


def _names_of(aliases: dict[ChatId, ChatId], chat_id: ChatId) -> set[ChatId]:
    """Every id under which a chat was given out here."""
    return {chat_id, *(name for name, kept in aliases.items() if kept == chat_id)}


def _nothing(_: Any) -> None:
    return
