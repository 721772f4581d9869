"""What was looked up a moment ago: chats, what people set for themselves, threads that may be used.
In memory alone, so that a turn in a busy chat asks nobody; for a few seconds, so that what was
changed elsewhere is seen."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from antiphon.clock import Clock
from antiphon.core.chat_settings import ChatSettings, merge
from antiphon.core.chats import Chat
from antiphon.core.ids import ThreadId, UserId
from antiphon.core.model import Place
from antiphon.core.rules import Rules
from antiphon.core.scopes import scopes_of

MOST = 10_000

K = TypeVar("K")
V = TypeVar("V")


class _Fresh(Generic[K, V]):
    """Values by key, each for a while; the oldest go where there are too many."""

    def __init__(self, clock: Clock, known_s: float):
        self._clock = clock
        self._known_s = known_s
        self._values: dict[K, tuple[float, V]] = {}

    def get(self, key: K) -> V | None:
        """The value, while it is fresh."""
        found = self._values.get(key)
        if found is None or self._clock.monotonic() - found[0] >= self._known_s:
            return None
        return found[1]

    def last(self, key: K) -> V | None:
        """The value, however old."""
        found = self._values.get(key)
        return None if found is None else found[1]

    def put(self, key: K, value: V) -> None:
        """It was told now."""
        self._values.pop(key, None)
        self._values[key] = (self._clock.monotonic(), value)
        if len(self._values) > MOST:
            del self._values[next(iter(self._values))]

    def drop(self, key: K) -> None:
        """It may be another one."""
        self._values.pop(key, None)

    def clear(self) -> None:
        """All may be others."""
        self._values.clear()


class Memory:
    """`age` counts changes: what was asked for before one, and answered after it, is not kept."""

    def __init__(self, clock: Clock, known_s: float):
        self.age = 0
        self._chats: _Fresh[Place, Chat] = _Fresh(clock, known_s)
        self._people: _Fresh[UserId, dict[str, Any]] = _Fresh(clock, known_s)
        self._usable: _Fresh[ThreadId, bool] = _Fresh(clock, known_s)
        self._resolved: _Fresh[tuple[Place, UserId], tuple[Any, Any, ChatSettings]] = _Fresh(
            clock, float("inf")
        )

    def changed(self) -> None:
        """Something was changed here, or all may be other there."""
        self.age += 1
        self._chats.clear()
        self._people.clear()
        self._usable.clear()

    def chat(self, place: Place) -> Chat | None:
        """The chat of a place."""
        return self._chats.get(place)

    def last_chat(self, place: Place) -> Chat | None:
        """The same, however old."""
        return self._chats.last(place)

    def put_chat(self, chat: Chat) -> None:
        """Keeps it; its current thread may be used."""
        self._chats.put(chat.place, chat)
        self._usable.put(chat.session.thread_id, True)

    def is_usable(self, thread_id: ThreadId) -> bool:
        """Whether it was told a moment ago that this thread is not retired."""
        return self._usable.get(thread_id) is not None

    def put_usable(self, thread_id: ThreadId) -> None:
        """Keeps that."""
        self._usable.put(thread_id, True)

    def person(self, user_id: UserId) -> dict[str, Any] | None:
        """What a person set for themselves."""
        return self._people.get(user_id)

    def last_person(self, user_id: UserId) -> dict[str, Any] | None:
        """The same, however old."""
        return self._people.last(user_id)

    def put_person(self, user_id: UserId, values: dict[str, Any]) -> None:
        """Keeps it."""
        self._people.put(user_id, values)

    def resolved(
        self, place: Place, user_id: UserId, rules: Rules, own: dict[str, Any]
    ) -> ChatSettings:
        """What applies to what a person asks in a place; worked out once for these rules and what
        the person set."""
        key = (place, user_id)
        known = self._resolved.get(key)
        if known is not None and known[0] == rules.version and known[1] == own:
            return known[2]
        scopes = scopes_of(place, user_id)
        wide = [(one.scope, one.key, one.value) for one in rules.settings if one.scope in scopes]
        mine = [(scopes[-1], name, value) for name, value in own.items()]
        found = merge([*wide, *mine], rules.base)
        self._resolved.put(key, (rules.version, own, found))
        return found
