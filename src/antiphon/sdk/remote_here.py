"""What a change does here while the control plane is away: in one transaction it is made in the
surface's own records (by the statements that the control plane uses itself) and put into the queue
of what that has not been told. Asks nobody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Connection

from antiphon.clock import Chance, Clock
from antiphon.core.chats import Chat, Session
from antiphon.core.ids import ChatId, SessionId, ThreadId, UserId
from antiphon.core.model import Place
from antiphon.core.people import Forgotten, Role, UsageEntry
from antiphon.core.scopes import Scope
from antiphon.crash import crash_point
from antiphon.db import Database
from antiphon.records import chats, forgot, queue, told
from antiphon.records.records import Records, Transactions
from antiphon.records.retention import Horizon, prune
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
    encode,
)
from antiphon.sdk.remote_link import Link

DAY_MS = 86_400_000
KEEP_USAGE_MS = 40 * DAY_MS
KEEP_REQUESTS_MS = 14 * DAY_MS

T = TypeVar("T")

Note = Callable[[Connection, Any], "tuple[tuple[str, Change], ...]"]
"""What a change comes to, told in this order, each with its name: from what it gave."""


class Here:
    """The records of `surface` in `database`, and the queue beside them. `base`: what the control
    plane's settings file sets, as it last told it."""

    def __init__(self, database: Database, surface: str, link: Link, clock: Clock, chance: Chance):
        self.database = database
        self.surface = surface
        self.base: dict[str, Any] = {}
        self.records = Records(database, clock, chance)
        self._link = link
        self._clock = clock
        self._chance = chance

    def mint(self, chat_id: ChatId | None = None) -> Session:
        """A session of a chat (None: of a new one) with new ids, which is kept nowhere yet."""
        token = self._chance.token
        return Session(
            session_id=SessionId(token()),
            chat_id=chat_id or ChatId(token()),
            thread_id=ThreadId(token()),
            started_ms=self._clock.now_ms(),
        )

    async def load(self) -> None:
        """Reads how much waits from an earlier life, and lets go what is only of use to whoever
        keeps the records."""
        now = self._clock.now_ms()
        horizon = Horizon(
            usage_ms=now - KEEP_USAGE_MS, audit_ms=now, requests_ms=now - KEEP_REQUESTS_MS
        )
        await self.database.write(lambda connection: prune(connection, horizon))
        self._link.waiting = await self.database.read(queue.count)

    # --- chats ----------------------------------------------------------------------------------

    async def chat(self, place: Place, given: Session | None = None, name: str = "") -> Chat:
        """The chat of a place, made with the session `given` where it is new; `name`: of the
        request that asked for that."""
        known = await self.database.read(lambda connection: chats.find(connection, place))
        if known is not None:
            return known
        session, mint, now = given or self.mint(), self._chance.token, self._clock.now_ms()
        name = name or mint()

        def make(connection: Connection) -> Chat:
            if chats.record_at(connection, place) is None:
                made = Chat(session.chat_id, place, session)
                chats.adopt(connection, made, mint, now)
                self.add(connection, name, AdoptChat(place, session))
                return chats.make(connection, place, mint, now)
            before = self._known_sessions(connection, place)
            chat = chats.make(connection, place, mint, now)
            if chat.session.session_id not in before:
                self.add(connection, name, BeginSession(chat.session))
            return chat

        return await self.in_one(make)

    async def new_session(self, chat_id: ChatId, request_id: str, given: Session) -> Session:
        """Another session, with the ids that are given."""

        def note(_: Connection, session: Session) -> tuple[tuple[str, Change], ...]:
            if session.session_id != given.session_id:
                return ()
            return ((request_id, BeginSession(session)),)

        records = self._noting(note)
        return await records.new_session(self.surface, chat_id, request_id, given)

    async def switch_session(
        self, chat_id: ChatId, session_id: SessionId, request_id: str
    ) -> Session:
        """Makes it the current one, in sight."""
        change = ChangeSession(chat_id, session_id, archived=False, current=True)
        records = self._noting(lambda *_: ((request_id, change),))
        return await records.switch_session(self.surface, chat_id, session_id, request_id)

    async def rename_session(
        self, chat_id: ChatId, session_id: SessionId, title: str, request_id: str
    ) -> Session:
        """Gives it a title."""
        records = self._noting(
            lambda _, session: (
                (request_id, ChangeSession(chat_id, session_id, title=session.title)),
            )
        )
        return await records.rename_session(self.surface, chat_id, session_id, title, request_id)

    async def archive_session(
        self, chat_id: ChatId, session_id: SessionId, request_id: str
    ) -> Session:
        """Puts it out of sight; the session that then begins is told first, so that it is the one
        that is current there too."""
        change = ChangeSession(chat_id, session_id, archived=True)
        known: set[str] = set()

        def before(connection: Connection) -> None:
            known.update(told.session_ids(connection, chat_id))

        def note(_: Connection, session: Session) -> tuple[tuple[str, Change], ...]:
            return (*_begun(session, known, request_id), (request_id, change))

        records = self._noting(note, before)
        return await records.archive_session(self.surface, chat_id, session_id, request_id)

    async def move_chat(self, old: Place, new: Place) -> None:
        """The chat of `old` goes on in `new`."""
        moved: list[ChatId] = []

        def before(connection: Connection) -> None:
            found = chats.record_at(connection, old)
            if found is not None and chats.record_at(connection, new) is None:
                moved.append(found.chat_id)

        def note(*_: Any) -> tuple[tuple[str, Change], ...]:
            return tuple((self._chance.token(), MoveChat(chat_id, new)) for chat_id in moved)

        await self._noting(note, before).move_chat(old, new, self.base)

    async def forget_chat(self, place: Place) -> None:
        """Removes the chat of a place, also where it is not known here."""
        found: list[ChatId] = []

        def before(connection: Connection) -> None:
            chat = chats.record_at(connection, place)
            found.extend([] if chat is None else [chat.chat_id])

        def note(*_: Any) -> tuple[tuple[str, Change], ...]:
            return ((self._chance.token(), ForgetChat(place, found[0] if found else None)),)

        await self._noting(note, before).forget_chat(place)

    async def retire(self, thread_id: ThreadId) -> None:
        """Never uses a thread again; a session that then begins is told first."""
        chat_id: list[ChatId] = []
        known: set[str] = set()

        def before(connection: Connection) -> None:
            owner = told.owner_of(connection, thread_id)
            if owner is not None:
                chat_id.append(owner)
                known.update(told.session_ids(connection, owner))

        def note(connection: Connection, _: Any) -> tuple[tuple[str, Change], ...]:
            name = f"retire:{thread_id}"
            retire = ((name, Retire(thread_id)),)
            if not chat_id:
                return retire
            current = chats.one(connection, self.surface, chat_id[0]).session
            return (*_begun(current, known, name), *retire)

        await self._noting(note, before).retire(self.surface, thread_id)

    # --- settings, roles, usage, people ---------------------------------------------------------

    async def set_setting(
        self, scope: Scope, key: str, value: Any, by: UserId, request_id: str
    ) -> None:
        """Sets (None: unsets) a setting."""
        note = _as((request_id, SetSetting(scope, key, value, by)))
        await self._noting(note).set_setting(
            scope,
            key,
            value,
            by=by,
            request_id=request_id,
            surface=self.surface,
            base=self.base,
        )

    async def set_role(self, pattern: str, role: Role | None, by: UserId, request_id: str) -> None:
        """Gives a pattern a role, or takes it back."""
        note = _as((request_id, SetRole(pattern.strip(), role, by)))
        records = self._noting(note)
        await records.set_role(self.surface, pattern, role, by=by, request_id=request_id)

    async def record_usage(self, entries: tuple[UsageEntry, ...], *, is_told: bool = False) -> None:
        """Counts what runs used."""
        note = _nothing if is_told else _as((self._chance.token(), RecordUsage(entries)))
        await self._noting(note).record_usage(self.surface, entries)

    async def forget_user(
        self, user_id: UserId, request_id: str, *, is_told: bool = False
    ) -> Forgotten:
        """Erases a person, as far as they are known here."""
        note = _nothing if is_told else _as((request_id, ForgetUser(user_id)))
        if not is_told:
            await self.will_forget(user_id)
        return await self._noting(note).forget_user(self.surface, user_id, request_id)

    async def will_forget(self, user_id: UserId) -> None:
        """This person is erased at our own request: the control plane's word of it then brings
        nothing new, and what they say after that request stays."""

        def note(connection: Connection) -> None:
            forgot.add(connection, user_id)

        await self.database.write(note)

    # --- inside ---------------------------------------------------------------------------------

    def _noting(self, note: Note, before: Callable[[Connection], None] = lambda _: None) -> Records:
        """The records, whose next change is put into the queue in its own transaction."""
        return Records(_Noting(self, note, before), self._clock, self._chance)

    async def in_one(self, function: Callable[[Connection], T]) -> T:
        """One transaction; whoever tells what waits is woken after it."""

        def transaction(connection: Connection) -> tuple[T, int]:
            return function(connection), queue.count(connection)

        found, self._link.waiting = await self.database.write(transaction)
        crash_point("remote.queued")
        return found

    def add(self, connection: Connection, name: str, change: Change) -> None:
        """Puts a change into the queue, in this transaction."""
        queue.add(connection, name, encode(change), self._clock.now_ms())

    def _known_sessions(self, connection: Connection, place: Place) -> set[str]:
        found = chats.record_at(connection, place)
        assert found is not None
        return told.session_ids(connection, found.chat_id)


class _Noting(Transactions):
    """A database whose changes are noted in the queue."""

    def __init__(self, here: Here, note: Note, before: Callable[[Connection], None]):
        self._here = here
        self._note = note
        self._before = before

    async def write(self, function: Callable[[Connection], T]) -> T:
        def both(connection: Connection) -> T:
            self._before(connection)
            found = function(connection)
            for name, change in self._note(connection, found):
                self._here.add(connection, name, change)
            return found

        return await self._here.in_one(both)

    async def read(self, function: Callable[[Connection], T]) -> T:
        return await self._here.database.read(function)

    async def scrub(self) -> None:
        await self._here.database.scrub()

    async def close(self) -> None:
        """Not ours."""


def _nothing(*_: Any) -> tuple[tuple[str, Change], ...]:
    return ()


def _as(told: tuple[str, Change]) -> Note:
    return lambda *_: (told,)


def _begun(session: Session, known: set[str], name: str) -> tuple[tuple[str, Change], ...]:
    """What a session comes to that began by itself."""
    if session.session_id in known:
        return ()
    return ((f"{name}:next", BeginSession(session)),)
