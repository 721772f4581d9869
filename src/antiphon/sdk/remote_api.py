"""The control plane's HTTP API as typed calls, one request each (lists: one for each page). Knows
no cache and no queue; what is away or refused comes out as `remote_http.Http.ask` raises it."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from antiphon.core.chats import Chat, Session
from antiphon.core.ids import ChatId, RoomId, SessionId, ThreadId, UserId
from antiphon.core.model import Place
from antiphon.core.people import Forgotten, Role, UsageEntry, UsageSum
from antiphon.core.rules import Rules
from antiphon.core.scopes import Scope
from antiphon.errors import MasterUnreachableError
from antiphon.sdk.remote_http import Http, RefusedError

AT_ONCE = 16
"""Most requests at once (and one that waits for other rules): the rest wait here, not there."""
PAGE = 200
MOST_PAGES = 10_000
POLL_MARGIN_S = 5.0
"""How much later than asked for the answer to a long poll may come."""

_KEY = re.compile(r"[\x21-\x7e]{1,128}")

T = TypeVar("T")


class _Settings(msgspec.Struct):
    items: list[_SettingItem]


class _SettingItem(msgspec.Struct):
    key: str
    value: Any = None


class Changed(msgspec.Struct, frozen=True):
    """A session after a change, and the one that is current now."""

    session: Session
    current: Session


class _Thread(msgspec.Struct):
    retired: bool


class ControlPlane:
    """What a control plane keeps of one surface. `ask_s`: seconds within which an answer must come,
    once it was asked; `gate` is called just before that and raises where it is away meanwhile."""

    def __init__(self, http: Http, surface: str, *, ask_s: float, gate: Callable[[], None]):
        self._http = http
        self._named = {"surface": surface}  # a token of another surface is refused by it
        self._ask_s = ask_s
        self._gate = gate
        self._slots = asyncio.Semaphore(AT_ONCE)

    @property
    def url(self) -> str:
        """Where it is."""
        return self._http.url

    # --- rules ----------------------------------------------------------------------------------

    async def rules(self, after: str, wait_s: float) -> Rules:
        """The rules, as soon as they are others than those of version `after`, or after `wait_s`
        seconds at the latest as they are."""
        query = {"after": after, "wait": f"{wait_s:g}"} if after else {}
        answer = await self._http.ask(
            "GET",
            "/rules",
            query={**self._named, **query},
            timeout_s=wait_s + POLL_MARGIN_S if wait_s else self._ask_s,
        )
        return self._read(answer, Rules)

    # --- chats ----------------------------------------------------------------------------------

    async def chat(self, place: Place) -> Chat:
        """The chat of a place, made where there is none."""
        return self._read(await self._ask("POST", "/chats", body={"place": _body(place)}), Chat)

    async def adopt(self, place: Place, session: Session, key: str) -> Chat:
        """The chat of a place: the one with these ids, unless there is one already."""
        ids = {"chat_id": session.chat_id, "session": _ids(session)}
        try:
            answer = await self._ask(
                "POST", "/chats", body={"place": _body(place), "adopt": ids}, key=key
            )
        except RefusedError as error:
            if error.status != 409:
                raise
            answer = error.details.get("kept")
            if answer is None:
                raise
        return self._read(answer, Chat)

    async def chat_of(self, chat_id: ChatId) -> Chat:
        """The chat with this id."""
        return self._read(await self._ask("GET", _path("chats", chat_id)), Chat)

    async def find(self, place: Place) -> Chat | None:
        """The chat of a place; changes nothing."""
        for chat in await self.chats(place.account, place.room):
            if chat.place == place:
                return chat
        return None

    async def chats(
        self, account: UserId | None = None, room: RoomId | None = None
    ) -> tuple[Chat, ...]:
        """All chats (of an account, in a room), archived ones too."""
        query: dict[str, str] = {}
        if account is not None:
            query["account"] = account
        if room is not None:
            query["room"] = room
        return await self._pages("/chats", Chat, query)

    async def move(self, chat_id: ChatId, place: Place, key: str) -> None:
        """Gives a chat another place."""
        path = _path("chats", chat_id, "move")
        await self._ask("POST", path, body={"place": _body(place)}, key=key)

    async def forget_chat(self, chat_id: ChatId, key: str) -> None:
        """Removes a chat."""
        await self._ask("DELETE", _path("chats", chat_id), key=key)

    # --- sessions -------------------------------------------------------------------------------

    async def sessions(self, chat_id: ChatId) -> tuple[Session, ...]:
        """The sessions of a chat that are not forgotten."""
        return await self._pages(_path("chats", chat_id, "sessions"), Session, {})

    async def begin(self, chat_id: ChatId, session: Session | None, key: str) -> Session:
        """Another session of a chat (`session`: with ids that were made here); it is current then.
        The same `key` gives the same one."""
        body: dict[str, Any] = {}
        if session is not None:
            body["session"] = _ids(session)
        path = _path("chats", chat_id, "sessions")
        return self._read(await self._ask("POST", path, body=body, key=key), Session)

    async def change_session(
        self, chat_id: ChatId, session_id: SessionId, what: Mapping[str, Any], key: str
    ) -> Changed:
        """Changes title, archived or current of a session."""
        path = _path("chats", chat_id, "sessions", session_id)
        return self._read(await self._ask("PATCH", path, body=what, key=key), Changed)

    async def retire(self, thread_id: ThreadId, key: str) -> None:
        """Never uses a thread again."""
        await self._ask("POST", _path("threads", thread_id, "retire"), key=key)

    async def is_retired(self, thread_id: ThreadId) -> bool:
        """Whether a thread must not be used."""
        return self._read(await self._ask("GET", _path("threads", thread_id)), _Thread).retired

    # --- settings and roles ---------------------------------------------------------------------

    async def note_user(self, room: RoomId, user_id: UserId) -> None:
        """Makes a person known who asks in a room."""
        await self._ask("GET", "/resolve", query={"room": room, "user_id": user_id})

    async def settings(self, scope: Scope) -> dict[str, Any]:
        """What is set in a scope alone."""
        query: dict[str, str] = {"scope": scope.kind}
        if scope.subject:
            query["subject"] = scope.subject
        answer = await self._ask("GET", "/settings", query=query)
        return {item.key: item.value for item in self._read(answer, _Settings).items}

    async def set_setting(
        self, scope: Scope, key: str, value: Any, by: UserId, request_key: str
    ) -> None:
        """Sets a setting in a scope; None unsets it."""
        path = _path("settings", scope.kind, key)
        query = {"subject": scope.subject} if scope.subject else {}
        if value is None:
            await self._ask("DELETE", path, query={**query, "by": by}, key=request_key)
            return
        body = {"value": value, "by": by}
        await self._ask("PUT", path, query=query, body=body, key=request_key)

    async def set_role(self, pattern: str, role: Role | None, by: UserId, key: str) -> None:
        """Gives the people of a pattern a role, or takes it back (None)."""
        query = {"pattern": pattern}
        if role is None:
            await self._ask("DELETE", "/roles", query={**query, "by": by}, key=key)
            return
        await self._ask("PUT", "/roles", query=query, body={"role": role, "by": by}, key=key)

    # --- usage and people -----------------------------------------------------------------------

    async def record_usage(self, entries: tuple[UsageEntry, ...]) -> None:
        """Counts what runs used, each once."""
        await self._ask("POST", "/usage", body={"entries": entries})

    async def usage(self, since_ms: int, user_id: UserId | None, room: RoomId | None) -> UsageSum:
        """What was used since a time."""
        query = {"since_ms": str(since_ms)}
        if user_id is not None:
            query["user_id"] = user_id
        if room is not None:
            query["room"] = room
        return self._read(await self._ask("GET", "/usage", query=query), UsageSum)

    async def forget_user(self, user_id: UserId, key: str) -> Forgotten:
        """Erases a person."""
        return self._read(await self._ask("DELETE", _path("users", user_id), key=key), Forgotten)

    async def export_user(self, user_id: UserId) -> dict[str, Any]:
        """All that is kept of a person."""
        return self._read(await self._ask("GET", _path("users", user_id, "export")), dict[str, Any])

    # --- what all of them share -----------------------------------------------------------------

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> Any:
        named = None if key is None else request_key(key)
        async with self._slots:
            self._gate()
            return await self._http.ask(
                method,
                path,
                query={**self._named, **(query or {})},
                body=body,
                key=named,
                timeout_s=self._ask_s,
            )

    async def _pages(self, path: str, kind: type[T], query: dict[str, str]) -> tuple[T, ...]:
        found: list[T] = []
        asked = {**query, "limit": str(PAGE)}
        for _ in range(MOST_PAGES):
            page = await self._ask("GET", path, query=asked)
            items = page.get("items") if isinstance(page, dict) else None
            found += self._read(items, list[kind])  # type: ignore[valid-type]
            cursor = page.get("next_cursor")
            if not cursor:
                return tuple(found)
            asked["cursor"] = str(cursor)
        raise self._unreadable("a list without an end")

    def _read(self, answer: Any, kind: type[T]) -> T:
        try:
            return msgspec.convert(answer, kind)
        except msgspec.ValidationError as error:
            raise self._unreadable(str(error)) from None

    def _unreadable(self, why: str) -> MasterUnreachableError:
        return MasterUnreachableError(
            f"The answer of the control plane at {self.url} is not what this version expects "
            f"({why}). Install the same version of Antiphon on both sides."
        )


def request_key(request_id: str) -> str:
    """The Idempotency-Key of a request: its name, where that can stand in a header."""
    if _KEY.fullmatch(request_id):
        return request_id
    return "sha256:" + hashlib.sha256(request_id.encode("utf-8", "surrogatepass")).hexdigest()


def _body(place: Place) -> dict[str, str]:
    """A place as it is named there: the surface is the token's."""
    named = {
        "account": place.account,
        "room": place.room,
        "thread_root": place.thread_root,
        "user": place.user,
    }
    return {key: value for key, value in named.items() if value is not None}


def _ids(session: Session) -> dict[str, Any]:
    return {
        "session_id": session.session_id,
        "thread_id": session.thread_id,
        "started_ms": session.started_ms,
    }


def _path(*segments: str) -> str:
    return "/" + "/".join(quote(segment, safe="") for segment in segments)
