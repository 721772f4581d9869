"""How it stands with the adapter itself, for `!status`."""

from __future__ import annotations

from sqlalchemy import Connection

from antiphon.adapter.matrix.cipher import Cipher
from antiphon.adapter.matrix.journal import rooms
from antiphon.adapter.matrix.journal.journal import Journal
from antiphon.adapter.matrix.metrics import Metrics
from antiphon.adapter.matrix.owed import Owed, owed
from antiphon.adapter.matrix.policy import Policy
from antiphon.clock import Clock
from antiphon.core.limits import in_words


class Standing:
    """Reads the journal and what the process knows."""

    def __init__(
        self, journal: Journal, policy: Policy, metrics: Metrics, cipher: Cipher, clock: Clock
    ):
        self._journal = journal
        self._policy = policy
        self._metrics = metrics
        self._cipher = cipher
        self._clock = clock

    async def lines(self) -> tuple[str, ...]:
        """A line for each thing, Markdown."""

        def look(connection: Connection) -> tuple[Owed, int, int]:
            joined = {room_id for room_id, _ in rooms.with_membership(connection, "join")}
            return owed(connection), len(joined), len(rooms.encrypted(connection) & joined)

        left, joined, encrypted = await self._journal.read(look)
        last = self._metrics.last_sync_s
        age = in_words(max(0, self._clock.now_ms() - round(last * 1000))) if last else None
        unreadable = "" if self._cipher.enabled else ", which I can't read"
        newest = "the newest" if self._policy.fresh else "perhaps not the newest"
        others = max(0, left.queued - 1)  # the command that asks is a turn too
        waiting = f"Turns: {others} waiting, {left.running} with the agent"
        return (
            f"Homeserver: last heard of {age} ago." if age else "Homeserver: not heard of yet.",
            f"Rooms: {joined}, {encrypted} of them encrypted{unreadable}.",
            f"{waiting}; {left.unconfirmed_sends} sends and {left.debts} debts not confirmed.",
            f"Rules: version `{self._policy.known.rules.version}`, {newest}.",
        )
