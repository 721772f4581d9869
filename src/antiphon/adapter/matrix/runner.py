"""The running of one turn, from the journal's row to its last event in the room."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, nullcontext

import msgspec
from sqlalchemy import Connection

from antiphon.adapter.matrix.answer import AnswerWriter, TextSlot
from antiphon.adapter.matrix.beside import beside
from antiphon.adapter.matrix.debts import Debtor
from antiphon.adapter.matrix.delivery import Delivery, RoomRefusedError
from antiphon.adapter.matrix.journal import debts, outbox, rooms, turns
from antiphon.adapter.matrix.journal.debts import Debt
from antiphon.adapter.matrix.journal.journal import Journal
from antiphon.adapter.matrix.journal.turns import COMMAND, FIXED, NOTE, QUESTION, Turn
from antiphon.adapter.matrix.metrics import Metrics
from antiphon.adapter.matrix.redactor import Redactor
from antiphon.adapter.matrix.replies import CommandReplies, place_of
from antiphon.adapter.matrix.typing_notice import TypingNotices
from antiphon.clock import Clock
from antiphon.core.ids import UserId, run_id
from antiphon.core.model import Said, TurnState
from antiphon.core.pacing import EditPacer, SendClass
from antiphon.core.render.answer import error_id, failed, finished, stopped
from antiphon.core.render.split import split
from antiphon.crash import crash_point
from antiphon.errors import AgentRefusedError, PlatformError
from antiphon.sdk.interface import Platform, Progress, Run
from antiphon.telemetry import logger


class Ending(msgspec.Struct, frozen=True):
    """What a turn's answer is to be. `parts` None: nothing is said (cancelled before a word).
    `abandoned`: the agent may still be at it and must be told to stop."""

    outcome: str
    parts: tuple[str, ...] | None
    notice: bool = False
    code: str | None = None
    abandoned: bool = False


class TurnRunner:
    """Works on turns, one call a turn; calls for different chats run side by side."""

    def __init__(
        self,
        me: UserId,
        platform: Platform,
        journal: Journal,
        delivery: Delivery,
        typing: TypingNotices,
        replies: CommandReplies,
        debtor: Debtor,
        redactor: Redactor,
        metrics: Metrics,
        clock: Clock,
        pacer: EditPacer,
    ):
        self._me = me
        self._platform = platform
        self._journal = journal
        self._delivery = delivery
        self._typing = typing
        self._replies = replies
        self._debtor = debtor
        self._redactor = redactor
        self._metrics = metrics
        self._clock = clock
        self._pacer = pacer
        self._log = logger("matrix.turn")

    async def run(self, turn: Turn) -> None:
        """Brings an open turn to its end. What the platform or the room refuses ends the turn
        with a clear word; what concerns the whole process (database, lease, token) is raised."""
        writer = AnswerWriter(turn, self._delivery, self._journal, self._clock, self._pacer)
        try:
            with self._delivery.gate.owing():
                if turn.state is TurnState.ANSWERED:
                    await self._deliver(turn)
                    return
                await writer.resume()
                typing = self._typing.shown(turn.lane.room_id)
                async with typing if turn.kind == QUESTION else nullcontext():
                    if await self._answer(turn, writer):
                        await self._deliver(turn)
        except RoomRefusedError as error:
            await self._give_up(turn, str(error))

    async def _answer(self, turn: Turn, writer: AnswerWriter) -> bool:
        """Finds the turn's answer and fixes it; False when there is nothing to deliver."""
        try:
            ending = await self._ending(turn, writer)
        except AgentRefusedError:
            raise  # a wrong setting of the operator's, not this question's fault: it waits
        except PlatformError as error:
            ending = self._error(turn, "", error.code, error.message)
        if ending is None:
            return False  # decided elsewhere meanwhile: stopped, or the room was left
        crash_point("turn.before_freeze")
        fixed = await self._journal.write(lambda c: self._fix(c, turn, writer, ending))
        crash_point("turn.frozen")
        return fixed

    async def _ending(self, turn: Turn, writer: AnswerWriter) -> Ending | None:
        if turn.kind in (FIXED, NOTE):
            return Ending("success", split(turn.text), notice=True)
        if turn.kind == COMMAND:
            return Ending("success", split(await self._replies.reply(turn)), notice=True)
        slot = TextSlot()
        run = await self._start(turn, writer)
        if run is None:
            return None
        async with beside(writer.stream(slot)) as shown:
            ending = await self._ask(turn, run, slot, shown, writer)
            slot.close()
        return ending

    async def _ask(
        self,
        turn: Turn,
        run: Run,
        slot: TextSlot,
        shown: asyncio.Task[None],
        writer: AnswerWriter,
    ) -> Ending:
        """Asks the platform, handing the growing text to `slot`, until there is an outcome (or
        the writer has failed: `shown` is done and will say why)."""
        last = Progress("")
        try:
            async with aclosing(self._platform.answer(run)) as stream:
                async for last in stream:
                    crash_point("run.heard")
                    if last.outcome is not None or shown.done():
                        break
                    if not slot.text and last.text.strip():
                        seconds = (self._clock.now_ms() - turn.created_ms) / 1000
                        self._metrics.first_text.observe(seconds)
                    slot.put(last.text)
        except AgentRefusedError:
            raise
        except PlatformError as error:
            return msgspec.structs.replace(
                self._error(turn, slot.text, error.code, error.message), abandoned=True
            )
        if last.outcome is None:
            return Ending("cancelled", None, abandoned=True)
        if last.outcome.kind == "error":
            return self._error(turn, last.text, last.outcome.code, last.outcome.message)
        if last.outcome.kind == "cancelled":
            if not last.text.strip() and not writer.begun:
                return Ending("cancelled", None)
            return Ending("cancelled", stopped(split(last.text)))
        return Ending("success", finished(split(last.text)))

    async def _start(self, turn: Turn, writer: AnswerWriter) -> Run | None:
        """The run to ask for: the frozen one, or a new one, frozen before it is asked; None when
        the turn is no longer queued."""
        if turn.run is not None:
            return msgspec.json.decode(turn.run, type=Run)
        chat = await self._platform.chat(place_of(turn, self._me))
        run = Run(
            run_id=run_id(turn.turn_id, turn.revision),
            thread_id=chat.session.thread_id,
            question=(Said(turn.sender, turn.text),),
            settings=await self._platform.resolve(chat, turn.sender),
        )
        frozen = msgspec.json.encode(run).decode()
        crash_point("turn.before_start")

        def start(connection: Connection) -> bool:
            quote = turns.others_spoke_since(connection, turn)
            writer.quote(quote)
            return turns.start(connection, turn, run.thread_id, frozen, quote)

        if not await self._journal.write(start):
            return None
        crash_point("turn.started")
        return run

    def _error(self, turn: Turn, text: str, code: str, message: str) -> Ending:
        short = error_id(run_id(turn.turn_id, turn.revision), code)
        self._log.warning(
            "turn_failed", turn=turn.turn_id, error_id=short, code=code, reason=message
        )
        parts = failed(split(text), message, short)
        return Ending("error", parts, notice=True, code=code)

    def _fix(
        self, connection: Connection, turn: Turn, writer: AnswerWriter, ending: Ending
    ) -> bool:
        now = self._clock.now_ms()
        room_id = turn.lane.room_id
        if ending.abandoned:
            self._owe_cancel(connection, turn, now)
            self._debtor.wake()
        allowed = rooms.may_send(connection, room_id, sealed=self._delivery.seals) or (
            turn.kind == NOTE and rooms.membership(connection, room_id) == "join"
        )
        if not allowed:
            turns.end(connection, turn, TurnState.UNDELIVERABLE, now)
            outbox.void(connection, turn.turn_id)
            self._metrics.turns.labels("undeliverable").inc()
            return False
        if ending.parts is None:
            turns.end(connection, turn, TurnState.CANCELLED, now)
            self._metrics.turns.labels("cancelled").inc()
            return False
        return writer.freeze(
            connection,
            ending.parts,
            notice=ending.notice,
            outcome=ending.outcome,
            code=ending.code,
        )

    async def _deliver(self, turn: Turn) -> None:
        for entry in await self._journal.read(lambda c: outbox.of_turn(c, turn.turn_id)):
            if entry.state == "pending":
                await self._delivery.deliver(entry, SendClass.FINAL)
        crash_point("turn.before_delivered")
        now = self._clock.now_ms()
        await self._journal.write(
            lambda c: turns.end(c, turn, TurnState.DELIVERED, now, expected=(TurnState.ANSWERED,))
        )
        crash_point("turn.delivered")
        self._metrics.turns.labels("delivered").inc()
        self._metrics.finished.observe((now - turn.created_ms) / 1000)
        self._log.info("turn_delivered", turn=turn.turn_id, room=turn.lane.room_id, kind=turn.kind)

    async def _give_up(self, turn: Turn, reason: str) -> None:
        """The room takes nothing more of this turn; its run is of no use any more."""

        def record(connection: Connection) -> None:
            now = self._clock.now_ms()
            turns.end(connection, turn, TurnState.UNDELIVERABLE, now)
            outbox.void(connection, turn.turn_id)
            self._owe_cancel(connection, turn, now)

        await self._journal.write(record)
        self._debtor.wake()
        self._metrics.turns.labels("undeliverable").inc()
        self._log.warning("turn_undeliverable", turn=turn.turn_id, reason=reason)

    def _owe_cancel(self, connection: Connection, turn: Turn, now: int) -> None:
        """The agent must be told that the run, if it has it, is not waited for."""
        known = turns.get(connection, turn.turn_id)
        if known is not None and known.thread_id is not None:
            owed = Debt("cancel", known.thread_id, run_id(turn.turn_id, known.revision))
            debts.add(connection, owed, now)
