"""How many turns the agent is asked for at once, and whose is next when there are more: fair
between people, by `core.limits`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from antiphon.adapter.matrix.journal.turns import Lane
from antiphon.core.ids import UserId
from antiphon.core.limits import Turnstile


class RunSlots:
    """Lets lanes go on, `most` at once."""

    def __init__(self, most: int):
        self._turnstile = Turnstile(most)
        self._waiting: dict[str, asyncio.Event] = {}

    @asynccontextmanager
    async def slot(self, lane: Lane, user: UserId) -> AsyncIterator[None]:
        """The block begins when the lane's turn, which `user` asked, is next."""
        name = "\0".join((lane.room_id, lane.place_thread, lane.place_user))
        go = self._waiting[name] = asyncio.Event()
        self._turnstile.wait(name, user)
        self._admit()
        try:
            await go.wait()
            yield
        finally:
            self._waiting.pop(name, None)
            self._turnstile.leave(name)
            self._turnstile.done(name)
            self._admit()

    @property
    def busy(self) -> bool:
        """Whether somebody waits."""
        return self._turnstile.busy

    def _admit(self) -> None:
        for name in self._turnstile.admit():
            self._waiting[name].set()
