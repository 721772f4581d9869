"""The running of one turn, from the journal's row to its last event in the room."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing, nullcontext

import msgspec
from sqlalchemy import Connection

from antiphon.adapter.matrix.answer import AnswerWriter, TextSlot
from antiphon.adapter.matrix.beside import beside
from antiphon.adapter.matrix.debts import Debtor
from antiphon.adapter.matrix.delivery import Delivery, RoomRefusedError
from antiphon.adapter.matrix.journal import debts, outbox, rooms, turns, usage
from antiphon.adapter.matrix.journal.debts import Debt
from antiphon.adapter.matrix.journal.inbound import Committed
from antiphon.adapter.matrix.journal.journal import Journal
from antiphon.adapter.matrix.journal.turns import COMMAND, FIXED, NOTE, QUESTION, Turn
from antiphon.adapter.matrix.metrics import Metrics
from antiphon.adapter.matrix.policy import Policy
from antiphon.adapter.matrix.redactor import Redactor
from antiphon.adapter.matrix.replies import CommandReplies, Effect, place_of
from antiphon.adapter.matrix.typing_notice import TypingNotices
from antiphon.adapter.matrix.usage_clerk import UsageClerk
from antiphon.clock import Clock
from antiphon.core.chat_settings import ChatSettings
from antiphon.core.ids import UserId, run_id
from antiphon.core.model import Said, TurnState
from antiphon.core.pacing import EditPacer, SendClass
from antiphon.core.people import Role, UsageEntry
from antiphon.core.render.answer import Parts, error_id, failed, finished, stopped, with_tools
from antiphon.core.render.split import split
from antiphon.core.render.tools import with_results
from antiphon.crash import crash_point
from antiphon.errors import AgentRefusedError, PlatformError
from antiphon.sdk.interface import Outcome, Platform, Progress, Run, Usage
from antiphon.telemetry import logger


class Ending(msgspec.Struct, frozen=True):
    """What a turn's answer is to be. `parts` None: nothing is said (cancelled before a word).
    `abandoned`: the agent may still be at it and must be told to stop. `usage`: what the run took;
    `effect`: what becomes true with the answer, in the same transaction (`always`: even where the
    turn was decided otherwise meanwhile)."""

    outcome: str
    parts: tuple[str, ...] | None
    notice: bool = False
    code: str | None = None
    abandoned: bool = False
    usage: Usage | None = None
    effect: Effect | None = None
    always: bool = False


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
        policy: Policy,
        debtor: Debtor,
        redactor: Redactor,
        clerk: UsageClerk,
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
        self._policy = policy
        self._debtor = debtor
        self._redactor = redactor
        self._clerk = clerk
        self._metrics = metrics
        self._clock = clock
        self._pacer = pacer
        self._committed: Callable[[Committed], Awaitable[None]] | None = None
        self._log = logger("matrix.turn")

    def on_committed(self, tell: Callable[[Committed], Awaitable[None]]) -> None:
        """`tell` is given what a command has changed in other chats."""
        self._committed = tell

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
        finally:
            if turn.kind == COMMAND:
                self._debtor.wake()  # what a command began is finished, though it was taken back

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
        changed = Committed()
        fixed = await self._journal.write(lambda c: self._fix(c, turn, writer, ending, changed))
        crash_point("turn.frozen")
        if ending.usage is not None:
            self._clerk.wake()
        if ending.effect is not None and self._committed is not None:
            await self._committed(changed)
        return fixed

    async def _ending(self, turn: Turn, writer: AnswerWriter) -> Ending | None:
        if turn.kind in (FIXED, NOTE):
            return Ending("success", split(turn.text), notice=True)
        if turn.run is None and self._policy.access.role_of(turn.sender) is Role.BLOCKED:
            return Ending("cancelled", None)  # blocked while it waited
        if turn.kind == COMMAND:
            reply = await self._replies.reply(turn)
            return Ending(
                "success",
                split(reply.text),
                notice=True,
                effect=reply.effect,
                always=reply.always,
            )
        slot = TextSlot()
        run = await self._start(turn, writer)
        if run is None:
            return None
        streamed = writer.stream(slot) if run.settings.streaming else slot.wait_closed()
        async with beside(streamed) as shown:
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
        ending = self._ended(turn, run, last, last.outcome, writer)
        return msgspec.structs.replace(ending, usage=last.outcome.usage)

    def _ended(
        self, turn: Turn, run: Run, last: Progress, outcome: Outcome, writer: AnswerWriter
    ) -> Ending:
        if outcome.kind == "error":
            return self._error(turn, last.text, outcome.code, outcome.message)
        if outcome.kind == "cancelled":
            if not last.text.strip() and not writer.begun:
                return Ending("cancelled", None)
            return Ending("cancelled", shown_with(stopped(split(last.text)), last, run.settings))
        return Ending("success", shown_with(finished(split(last.text)), last, run.settings))

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
        self,
        connection: Connection,
        turn: Turn,
        writer: AnswerWriter,
        ending: Ending,
        changed: Committed,
    ) -> bool:
        now = self._clock.now_ms()
        room_id = turn.lane.room_id
        if ending.usage is not None:
            usage.owe(connection, self._entry(turn, ending.usage, now))
        if ending.effect is not None and (ending.always or is_current(connection, turn)):
            taken, said = ending.effect(connection)
            changed.merge(taken)
            if said:
                ending = msgspec.structs.replace(ending, parts=split(said))
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

    @staticmethod
    def _entry(turn: Turn, used: Usage, now: int) -> UsageEntry:
        return UsageEntry(
            run_id=run_id(turn.turn_id, turn.revision),
            user_id=turn.sender,
            room=turn.lane.room_id,
            at_ms=now,
            input_tokens=used.input_tokens,
            output_tokens=used.output_tokens,
            seconds=used.seconds,
        )

    def _owe_cancel(self, connection: Connection, turn: Turn, now: int) -> None:
        """The agent must be told that the run, if it has it, is not waited for."""
        known = turns.get(connection, turn.turn_id)
        if known is not None and known.thread_id is not None:
            owed = Debt("cancel", known.thread_id, run_id(turn.turn_id, known.revision))
            debts.add(connection, owed, now)


def shown_with(parts: Parts, last: Progress, settings: ChatSettings) -> Parts:
    """The answer with what its settings want to see of the tools that it used."""
    match settings.show_tools:
        case "names":
            return with_tools(parts, (tool.name for tool in last.tools))
        case "results":
            return with_results(parts, ((t.name, t.result, t.outcome) for t in last.tools))
        case _:
            return parts


def is_current(connection: Connection, turn: Turn) -> bool:
    """Whether the turn is still as it was when it was worked on."""
    now = turns.get(connection, turn.turn_id)
    return now is not None and (now.state, now.revision) == (turn.state, turn.revision)
