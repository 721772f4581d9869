"""One answer as it grows in its room: first words at once, edits at a growing gap, final always.

The parts of a long answer, its root events and its final texts are rows of the outbox; only
partial edits are not (the next one carries newer text anyway).
"""

from __future__ import annotations

import asyncio

import msgspec
from sqlalchemy import Connection

from antiphon.adapter.matrix.contents import Address, edit, opening
from antiphon.adapter.matrix.delivery import Delivery, RoomRefusedError
from antiphon.adapter.matrix.journal import changes, outbox, own, rooms, turns
from antiphon.adapter.matrix.journal.journal import Journal
from antiphon.adapter.matrix.journal.outbox import Entry
from antiphon.adapter.matrix.journal.turns import Turn
from antiphon.adapter.matrix.marks import Mark
from antiphon.clock import Clock
from antiphon.core.ids import EventId, TxnId, final_txn, partial_txn, root_txn
from antiphon.core.model import TurnState
from antiphon.core.pacing import EditPacer, EditState, SendClass
from antiphon.core.render.split import split
from antiphon.crash import crash_point

SEALED_ANEW = 1_000_000
"""Added to the revision in the transaction id of a part that is said again, encrypted."""


class TextSlot:
    """The newest text of an answer: a slow reader skips what has been overtaken."""

    def __init__(self) -> None:
        self.text = ""
        self._closed = asyncio.Event()
        self._changed = asyncio.Event()

    @property
    def closed(self) -> bool:
        """Whether nothing more comes."""
        return self._closed.is_set()

    def put(self, text: str) -> None:
        """A newer text of the same answer."""
        if text != self.text:
            self.text = text
            self._changed.set()

    def close(self) -> None:
        """Nothing more comes."""
        self._closed.set()
        self._changed.set()

    async def changed(self) -> None:
        """Returns when there is a text that was not there at the last call, or on close."""
        await self._changed.wait()
        if not self.closed:
            self._changed.clear()

    async def wait_closed(self) -> None:
        """Returns when nothing more comes."""
        await self._closed.wait()

    async def closed_within(self, seconds: float) -> bool:
        """Waits until the slot is closed, at most `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self._closed.wait()
        except TimeoutError:
            return False
        return True


class AnswerWriter:
    """Writes the answer of one turn into its room."""

    def __init__(
        self, turn: Turn, delivery: Delivery, journal: Journal, clock: Clock, pacer: EditPacer
    ):
        self._turn = turn
        self._delivery = delivery
        self._journal = journal
        self._clock = clock
        self._pacer = pacer
        self._address = Address(turn.event_id, turn.reply_thread, turn.quote)
        self._roots: list[EventId] = []
        self._again: set[int] = set()  # parts whose first root was redacted
        self._plain: set[int] = set()  # parts whose root was not encrypted
        self._shown: list[str] = []
        self._edits = EditState()

    def quote(self, quote: bool) -> None:
        """Whether the answer names its question, because others have spoken since."""
        self._address = Address(self._turn.event_id, self._turn.reply_thread, quote)

    @property
    def begun(self) -> bool:
        """Whether any of the answer is in the room."""
        return bool(self._roots)

    async def resume(self) -> None:
        """Takes up what an earlier life of this process has begun: confirms roots that may or may
        not have been sent. Raises RoomRefusedError."""
        seen, rows = await self._journal.read(self._begun)
        part = 0
        while (root := await self._root_of(seen.get(part), rows.get(part))) is not None:
            await self._opened(part, root)
            self._shown.append("")
            part += 1

    def _begun(self, connection: Connection) -> tuple[dict[int, EventId], dict[int, Entry]]:
        """What opens each part: as the room shows it, and as the outbox has it. A root that was
        redacted, because an earlier revision's answer came out shorter, opens nothing any more."""
        turn_id = self._turn.turn_id
        events = own.of_turn(connection, turn_id)
        gone = {e.event_id for e in events if e.redacted}

        def stands(root: EventId) -> bool:
            return root not in gone and not outbox.taken_back(connection, turn_id, root)

        roots = {e.part: e.root for e in events if not e.redacted and stands(e.root)}
        sends = [e for e in outbox.of_turn(connection, turn_id) if e.kind == "root"]
        rows = {e.part: e for e in sends if e.event_id is None or stands(e.event_id)}
        begun = {e.part for e in events} | {e.part for e in sends}
        self._again = begun - roots.keys() - rows.keys()
        return roots, rows

    async def _root_of(self, seen: EventId | None, row: Entry | None) -> EventId | None:
        """The event that opens a part: as the room shows it, as the outbox knows it, or as it
        comes out when an uncertain send is repeated; None where the part was never begun."""
        if seen is not None:
            return seen
        if row is None or row.state == "failed":
            return None
        return row.event_id or await self._delivery.deliver(row, SendClass.FIRST)

    async def stream(self, slot: TextSlot) -> None:
        """Shows the text of `slot` as it grows, until it is closed. Raises RoomRefusedError."""
        while not slot.closed:
            await slot.changed()
            while not slot.closed:
                pause = self._pacer.due(self._clock.monotonic(), slot.text, self._edits)
                if pause is None or await slot.closed_within(pause):
                    break
                await self._show(slot)

    async def _show(self, slot: TextSlot) -> None:
        """One step towards showing the newest text: an edit of the first part that has changed,
        or the opening of the next part."""
        text = slot.text
        parts = split(text)
        changed = [i for i, shown in enumerate(self._shown[: len(parts)]) if parts[i] != shown]
        if changed:
            sent = await self._edit(changed[0], parts[changed[0]])
        elif len(parts) > len(self._roots):
            sent = await self._open(len(self._roots), slot)
        else:
            sent = False
        now = self._clock.monotonic()
        if sent:
            whole = tuple(self._shown) == parts
            self._edits = self._pacer.sent(now, text if whole else "", self._edits)
        elif self._edits.at is not None:
            self._edits = msgspec.structs.replace(self._edits, at=now)  # shed: try later

    async def _open(self, part: int, slot: TextSlot) -> bool:
        """Sends the first text of the next part, once the budget has room for it; False when the
        answer came to its end (or shrank) before that."""
        if not await self._delivery.gate.room_for_first(slot.wait_closed()):
            return False
        parts = split(slot.text)
        if part >= len(parts):
            return False
        text = parts[part]
        entry = self._root(part, text, final=False, last=False)

        def record(connection: Connection) -> bool:
            if not self._may_send(connection):
                return False
            outbox.put(connection, entry, self._clock.now_ms())
            return True

        crash_point("root.before_commit")
        if not await self._journal.write(record):
            raise RoomRefusedError(403, "NOT_HERE_IN_PLAINTEXT")
        crash_point("root.committed")
        await self._opened(part, await self._delivery.deliver(entry, SendClass.FIRST))
        self._shown.append(text)
        return True

    async def _opened(self, part: int, root: EventId) -> None:
        """A part stands in the room."""
        self._roots.append(root)
        row = await self._journal.read(lambda c: outbox.by_event(c, root))
        if row is None or not row.sealed:
            self._plain.add(part)

    async def _edit(self, part: int, text: str) -> bool:
        """Sends a partial edit, if the budget has room for it now; whether it was accepted."""
        if not self._delivery.gate.may_send_partial():
            return False
        if not await self._journal.read(self._may_send):
            raise RoomRefusedError(403, "NOT_HERE_IN_PLAINTEXT")
        if part in self._plain and await self._journal.read(self._is_encrypted):
            return False  # clients don't show an encrypted edit of it: the final comes anew
        step = self._delivery.next_step()
        txn = partial_txn(self._turn.turn_id, part, self._journal.epoch, step)
        content = edit(text, self._roots[part], self._mark(part, final=False, last=False))
        crash_point("partial.before_send")
        if not await self._delivery.try_partial(self._turn.lane.room_id, txn, content):
            return False
        crash_point("partial.sent")
        self._shown[part] = text
        return True

    def _may_send(self, connection: Connection) -> bool:
        return rooms.may_send(connection, self._turn.lane.room_id, sealed=self._delivery.seals)

    def _is_encrypted(self, connection: Connection) -> bool:
        return rooms.is_encrypted(connection, self._turn.lane.room_id)

    def freeze(
        self,
        connection: Connection,
        parts: tuple[str, ...],
        *,
        notice: bool,
        outcome: str,
        code: str | None,
    ) -> bool:
        """Fixes the answer: turn → answered, and its finals into the outbox, in the caller's
        transaction. False, fixing nothing, when the turn was decided elsewhere meanwhile."""
        expected = (TurnState.QUEUED, TurnState.RUNNING)
        if not turns.answer(connection, self._turn, outcome, code, expected=expected):
            return False
        now = self._clock.now_ms()
        anew = self._plain if self._is_encrypted(connection) else set()
        for entry in self._finals(parts, notice, anew):
            outbox.put(connection, entry, now)
        self._owe_surplus(connection, len(parts), anew, now)
        return True

    def _finals(self, parts: tuple[str, ...], notice: bool, anew: set[int]) -> list[Entry]:
        """The finals. Those of the parts `anew` are sent as new messages: encryption was switched
        on after their first words stood there in the clear."""
        entries = []
        for part, text in enumerate(parts):
            last = part == len(parts) - 1
            if part >= len(self._roots) or part in anew:
                sealed = part in anew
                entries.append(
                    self._root(part, text, final=True, last=last, notice=notice, sealed=sealed)
                )
                continue
            mark = self._mark(part, final=True, last=last)
            content = edit(text, self._roots[part], mark, notice=notice)
            txn = final_txn(self._turn.turn_id, part, self._turn.revision)
            entries.append(self._entry(txn, part, "final", content))
        return entries

    def _owe_surplus(self, connection: Connection, count: int, anew: set[int], now: int) -> None:
        """A resumed run, or the answer to an edited question, may come out shorter than what was
        begun (parts from `count` on), and what stands in the clear is said `anew`: these parts go,
        with every edit of them."""
        events = own.of_turn(connection, self._turn.turn_id)
        known = {e.event_id for e in events if e.part >= count or e.part in anew}
        roots = {root for part, root in enumerate(self._roots) if part >= count or part in anew}
        for event_id in sorted(known | roots):
            changes.owe_redaction(connection, self._turn, event_id, self._journal.device_id, now)

    def _root(
        self,
        part: int,
        text: str,
        *,
        final: bool,
        last: bool,
        notice: bool = False,
        sealed: bool = False,
    ) -> Entry:
        mark = self._mark(part, final=final, last=last)
        content = opening(text, self._address, mark, notice=notice)
        anew = self._turn.revision if part in self._again else None
        if sealed:
            anew = SEALED_ANEW + self._turn.revision
        return self._entry(root_txn(self._turn.turn_id, part, anew), part, "root", content)

    def _mark(self, part: int, *, final: bool, last: bool) -> Mark:
        return Mark(self._turn.turn_id, part, final=final, last=last, revision=self._turn.revision)

    def _entry(self, txn: TxnId, part: int, kind: str, content: object) -> Entry:
        return self._delivery.entry(
            txn, self._turn.turn_id, self._turn.lane.room_id, part, kind, content
        )
