"""Between what a person typed and the platform: each question and command is kept before anything
is done about it, and let go when its answer was shown. Knows no screen."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

import msgspec

from antiphon.adapter.terminal.journal import Journal, OpenCommand, OpenRun, Owed
from antiphon.clock import Chance, Clock
from antiphon.core.commands import Catalogue, ParsedCommand, parse
from antiphon.core.commands.replies import nothing_running_reply, nothing_to_retry_reply
from antiphon.core.ids import EventId, RoomId, UserId, run_id, turn_id
from antiphon.core.limits import (
    MINUTE_MS,
    Counts,
    Limits,
    day_start_ms,
    judge,
    person_limits,
)
from antiphon.core.model import Place, Said
from antiphon.core.people import Role
from antiphon.core.roles import Access
from antiphon.errors import AgentRefusedError, AgentUnreachableError, PlatformError
from antiphon.sdk import transcript
from antiphon.sdk.commander import Asker, Commander, Erase, Reply, Retry, Stop
from antiphon.sdk.interface import Outcome, Platform, Progress, Run, UsageEntry
from antiphon.telemetry import logger

SURFACE: Final = "terminal"
ACCOUNT: Final = UserId("@antiphon:terminal")
ROOM: Final = RoomId("!terminal")
PLACE: Final = Place(SURFACE, ACCOUNT, ROOM)
NOT_SHOWN: Final = frozenset({"isolation", "answer_when"})
"""Settings that mean nothing where one person talks to the bot alone."""


class NotAskedError(PlatformError):
    """The question is not asked: blocked, or over a limit. Says why."""

    code = "not_asked"


class Desk:
    """One person's place at the terminal. `model`: asked for on the command line, in place of what
    the settings say."""

    def __init__(
        self,
        me: UserId,
        platform: Platform,
        commander: Commander,
        access: Access,
        catalogue: Catalogue,
        journal: Journal,
        *,
        clock: Clock,
        chance: Chance,
        model: str | None = None,
    ):
        self._me = me
        self._platform = platform
        self._commander = commander
        self._access = access
        self._catalogue = catalogue
        self._journal = journal
        self._clock = clock
        self._chance = chance
        self._model = model
        self._accepted: tuple[int, ...] = ()
        self._waiting = list(journal.kept.waiting)
        self._log = logger("terminal")

    @property
    def journal(self) -> Journal:
        """What is open."""
        return self._journal

    def is_command(self, text: str) -> bool:
        """Whether `text` is for the bot itself."""
        return parse(text, self._catalogue) is not None

    def is_stop(self, text: str) -> bool:
        """Whether `text` stops the answer that is being written."""
        parsed = parse(text, self._catalogue)
        return isinstance(parsed, ParsedCommand) and parsed.name == "stop"

    def switches(self, text: str) -> bool:
        """Whether `text` goes on with another conversation."""
        parsed = parse(text, self._catalogue)
        return (
            isinstance(parsed, ParsedCommand)
            and parsed.name == "sessions"
            and bool(parsed.arguments)
        )

    # --- questions --------------------------------------------------------------------------------

    async def ask(self, text: str) -> Run:
        """The run of a new question, kept. Raises NotAskedError, and what `Platform.chat` does;
        then nothing is kept."""
        await self._admit()
        chat = await self._platform.chat(PLACE)
        settings = await self._platform.resolve(chat, self._me)
        if self._model is not None:
            settings = msgspec.structs.replace(settings, model=self._model)
        turn = turn_id(ACCOUNT, ROOM, EventId(f"${self._chance.token()}"))
        run = Run(
            run_id=run_id(turn, 1),
            thread_id=chat.session.thread_id,
            question=(Said(self._me, text),),
            settings=settings,
        )
        now = self._clock.now_ms()
        self._accepted = (*(at for at in self._accepted if at > now - MINUTE_MS), now)
        self._journal.change(run=OpenRun(run, now), command=None, waiting=tuple(self._waiting))
        return run

    async def follow(self, run: Run) -> AsyncGenerator[Progress, None]:
        """The progress of a kept run, asked for now or found again. The last value has an outcome,
        also where the agent could not be had (`error`: it is then told to stop, as soon as it can
        be). When the iteration has ended, the run is let go. Raises AgentRefusedError."""
        last = Progress("")
        try:
            async with aclosing(self._platform.answer(run)) as progress:
                async for last in progress:
                    if last.outcome is not None:
                        await self._count(run, last.outcome)
                    yield last
        except AgentRefusedError:
            raise
        except AgentUnreachableError as error:
            self.owe_cancel(run)
            yield msgspec.structs.replace(last, outcome=_failed(error))
        except PlatformError as error:
            yield msgspec.structs.replace(last, outcome=_failed(error))
        self.let_go(run)

    async def stop(self, run: Run) -> bool:
        """Ends the run; what follows is told by `follow`. False: the agent can't be told now."""
        try:
            await self._platform.cancel(run.thread_id, run.run_id)
        except PlatformError as error:
            self._log.warning("not_stopped", code=error.code)
            return False
        return True

    def owe_cancel(self, run: Run) -> None:
        """The agent is to be told that nobody waits for the run any more."""
        self._owe(Owed("cancel", run.thread_id, run.run_id))

    def let_go(self, run: Run) -> None:
        """Nobody waits for the answer any more."""
        kept = self._journal.kept.run
        if kept is not None and kept.run.run_id == run.run_id:
            self._journal.change(run=None)

    async def _admit(self) -> None:
        rules = await self._platform.rules()
        access = self._access.with_grants(rules.grants, fresh=rules.fresh)
        if access.role_of(self._me) is Role.BLOCKED:
            raise NotAskedError(f"{self._me} is blocked: an administrator has denied it.")
        limits = person_limits(rules, SURFACE, self._me)
        if limits.none:
            return
        now = self._clock.now_ms()
        tokens = 0
        if limits.tokens_per_day is not None:
            today = day_start_ms(now)
            tokens = (await self._platform.usage(since_ms=today, user_id=self._me)).tokens
        mine = (limits, Counts(self._accepted, 0, tokens))
        over = judge(now, mine, (Limits(), Counts()))
        if over is not None:
            raise NotAskedError(over.sentence)

    async def _count(self, run: Run, outcome: Outcome) -> None:
        used, kept = outcome.usage, self._journal.kept.run
        if used is None:
            return
        at = kept.asked_ms if kept is not None else self._clock.now_ms()
        await self._platform.record_usage(
            (
                UsageEntry(
                    run.run_id,
                    self._me,
                    ROOM,
                    at,
                    used.input_tokens,
                    used.output_tokens,
                    used.seconds,
                ),
            )
        )

    # --- commands ---------------------------------------------------------------------------------

    async def command(self, text: str) -> Reply | Run:
        """Carries out a command: what is said, or the run of the question that is asked again.
        Raises PlatformError where it could not be, and AgentRefusedError."""
        kept = OpenCommand(f"c{self._chance.token()}", text)
        self._journal.change(command=kept, waiting=tuple(self._waiting))
        return await self.carry(kept)

    async def carry(self, kept: OpenCommand) -> Reply | Run:
        """Carries out a kept command, perhaps once more; as `command`."""
        rules = await self._platform.rules()
        access = self._access.with_grants(rules.grants, fresh=rules.fresh)
        asker = Asker(
            self._me, PLACE, kept.request_id, is_admin=access.is_admin(self._me), is_moderator=True
        )
        try:
            reply = await self._commander.reply(asker, kept.text)
        except AgentRefusedError:
            raise
        except PlatformError:
            self._journal.change(command=None)
            raise
        match reply.effect:
            case Erase(user_id=user_id, forgotten=forgotten):
                threads = [Owed("forget", thread) for thread in forgotten.threads]
                shared = [Owed("erase", t, user_id=user_id) for t in forgotten.shared]
                self._owe(*threads, *shared)
                await self.pay()
            case Retry():
                question = await self._last_question()
                try:
                    if question is not None:
                        return await self.ask(question)
                    reply = Reply(nothing_to_retry_reply())
                except NotAskedError as error:
                    reply = Reply(error.message)
            case Stop():
                reply = Reply(nothing_running_reply())
            case None:
                pass
        self._journal.change(command=None)
        return reply

    async def history(self) -> tuple[transcript.Exchanged, ...]:
        """What the current conversation remembers, without what is open; nothing where the agent
        can't say."""
        chat = await self._platform.chat(PLACE)
        try:
            archive = await self._platform.export_thread(chat.session.thread_id)
        except PlatformError:
            return ()
        kept = self._journal.kept.run
        unfinished = "" if kept is None else kept.run.run_id
        return tuple(one for one in transcript.read(archive) if one.run_id != unfinished)

    async def _last_question(self) -> str | None:
        mine = [
            said.text
            for one in await self.history()
            for said in one.question
            if said.author == self._me
        ]
        return mine[-1] if mine else None

    # --- lines that wait --------------------------------------------------------------------------

    def has_waiting(self) -> bool:
        """Whether a line waits for its turn."""
        return bool(self._waiting)

    def put(self, line: str, *, keep: bool) -> None:
        """A line waits for its turn; `keep`: also through a kill."""
        self._waiting.append(line)
        if keep:
            self._journal.change(waiting=tuple(self._waiting))

    def take(self) -> str:
        """The next line. It is let go of the journal together with what comes of it."""
        return self._waiting.pop(0)

    def settle_waiting(self) -> None:
        """Nothing comes of the lines that were taken."""
        self._journal.change(waiting=tuple(self._waiting))

    def drop_waiting(self) -> None:
        """Nobody wants the lines any more."""
        self._waiting.clear()
        self.settle_waiting()

    # --- what is owed -----------------------------------------------------------------------------

    def _owe(self, *owed: Owed) -> None:
        known = self._journal.kept.owed
        self._journal.change(owed=(*known, *(one for one in owed if one not in known)))

    async def pay(self) -> None:
        """Tells the agent what it must be told; what it can't take now stays owed."""
        for owed in self._journal.kept.owed:
            try:
                await self._tell(owed)
            except PlatformError as error:
                self._log.warning("owed", kind=owed.kind, code=error.code)
                if error.retryable:
                    return
                continue
            left = tuple(one for one in self._journal.kept.owed if one != owed)
            self._journal.change(owed=left)

    async def _tell(self, owed: Owed) -> None:
        if owed.kind == "cancel" and owed.run_id is not None:
            await self._platform.cancel(owed.thread_id, owed.run_id)
        elif owed.kind == "erase" and owed.user_id is not None:
            await self._platform.erase_author(owed.thread_id, owed.user_id)
        elif owed.kind == "forget":
            await self._platform.forget(owed.thread_id)


def _failed(error: PlatformError) -> Outcome:
    return Outcome("error", error.code, error.message, error.retryable)
