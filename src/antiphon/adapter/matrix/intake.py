"""Which messages become turns, and in which chat: policy over what `convert` read. Asks nobody;
runs inside the journal's transaction: a message is either waiting or a turn, never neither."""

from __future__ import annotations

import hashlib

import msgspec

from antiphon.adapter.matrix.convert import FileSent, Question, Skipped, Unreadable, thread_root
from antiphon.adapter.matrix.journal.sight import Sight
from antiphon.adapter.matrix.journal.turns import (
    COMMAND,
    FIXED,
    IMMEDIATE,
    NOTE,
    QUESTION,
    Lane,
    Turn,
)
from antiphon.adapter.matrix.policy import Policy
from antiphon.adapter.matrix.transport.events import Event
from antiphon.core import loops
from antiphon.core.answering import Heard, is_addressed, is_answered
from antiphon.core.commands import Catalogue, UnknownCommand, WrongUsage, parse
from antiphon.core.ids import EventId, RoomId, UserId, turn_id
from antiphon.core.limits import DAY_MS, Counts, TooMuch, judge
from antiphon.core.loops import Quiet
from antiphon.core.model import TurnState
from antiphon.core.people import Role

FILES_LATER = "I can't read files, images or places yet. Please write it as text."
CANT_DECRYPT = (
    "This room is encrypted, and I can't read or write encrypted messages yet, so I can't answer "
    "here. Please open a room without encryption and invite me there."
)
NOT_ALLOWED = "I may not talk with you"
NOT_ALLOWED_MORE = "somebody who runs this bot has to allow it first. I say this once."

MOST_REFUSALS = 5
"""Most people in a room who are told in a day that they are not allowed, so that a crowd of
strangers gets no crowd of notes."""


Asking = Question | FileSent | Unreadable | Skipped


class Taken(msgspec.Struct, frozen=True):
    """The turn that an event becomes, or why it becomes none. `settled`: that was decided for good,
    however often the event comes. `quiet`: keep this for the chat `lane`."""

    turn: Turn | None
    reason: str = ""
    expected: bool = True
    settled: bool = False
    quiet: Quiet | None = None
    lane: Lane | None = None


class Intake:
    """The policy of one bot over messages: who may talk, where, how much, and what is a command."""

    def __init__(
        self,
        me: UserId,
        device_id: str,
        policy: Policy,
        commands: Catalogue,
        *,
        answers_edits: bool = True,
        decrypts: bool = False,
        breaks_loops: bool = True,
    ):
        self.me = me
        self.device_id = device_id
        self.policy = policy
        self.answers_edits = answers_edits
        self.decrypts = decrypts
        """Whether encrypted rooms can be read and written in; what can't be read now waits."""
        self.breaks_loops = breaks_loops
        self._caught_up: int | None = None
        self._commands = commands

    def caught_up(self, batch: int) -> None:
        """All that was said while nobody read came up to this batch."""
        self._caught_up = batch

    def is_live(self, batch: int) -> bool:
        """Whether what this batch brings was just said. What was said while nobody read is not
        judged as if it were said at once."""
        return self._caught_up is not None and batch > self._caught_up

    def take(
        self,
        sight: Sight,
        reading: Asking,
        pos: int,
        now_ms: int,
        *,
        encrypted: bool,
        live: bool = True,
    ) -> Taken:
        """What becomes of a person's message at position `pos` of a room; `live`: as `is_live`."""
        if isinstance(reading, Skipped):
            return Taken(None, reading.reason, reading.expected)
        if not self.policy.may_enter(sight.room_id):
            return Taken(None, "the room is not in matrix.rooms")
        if not self.policy.access.may_talk(reading.sender):
            return self._refused(sight, reading, pos, now_ms)
        lane = self.lane(sight, reading.thread_root, reading.sender)
        if isinstance(reading, Unreadable) or (encrypted and not self.decrypts):
            if isinstance(reading, Unreadable) and reading.edit:
                return Taken(None, "an edit")
            return Taken(
                self._turn(lane, reading, NOTE, CANT_DECRYPT, EventId("encrypted"), pos, now_ms)
            )
        kind = FIXED if isinstance(reading, FileSent) else self._kind(reading)
        if not self._is_answered(sight, reading, command=kind in (COMMAND, IMMEDIATE)):
            return Taken(None, "not addressed to the bot")
        if kind != IMMEDIATE and live and self.breaks_loops:
            looped = self._loops(sight, lane, reading, pos, now_ms)
            if looped is not None:
                return looped
        if kind == QUESTION:
            over = self.over_limit(sight, reading.sender, now_ms, live=live)
            if over is not None:
                return Taken(self._limit_note(lane, reading, over, pos, now_ms), settled=True)
        text = FILES_LATER if isinstance(reading, FileSent) else reading.text
        return Taken(self._turn(lane, reading, kind, text, reading.event_id, pos, now_ms))

    def lane(self, sight: Sight, root: EventId | None, sender: UserId) -> Lane:
        """The chat of what `sender` says now, in the thread `root` or in none."""
        return self.policy.lane(sight.room_id, root, sender, sight.predecessors())

    def note(self, sight: Sight, about: Event, text: str, pos: int, now_ms: int) -> Turn:
        """Something to say under a message, once, though it could not be read."""
        kind = hashlib.sha256(text.encode()).hexdigest()[:8]
        root = thread_root(about.content)
        sender = UserId(about.sender)
        return Turn(
            turn_id=turn_id(self.me, sight.room_id, EventId(f"{about.event_id}#{kind}")),
            lane=self.lane(sight, root, sender),
            pos=pos,
            kind=NOTE,
            state=TurnState.QUEUED,
            revision=1,
            event_id=EventId(about.event_id),
            sender=sender,
            reply_thread=root,
            text=text,
            quote=True,
            thread_id=None,
            run=None,
            created_ms=now_ms,
        )

    def listens(self, room_id: RoomId, user_id: UserId) -> bool:
        """Whether what this person says in this room is heard at all."""
        return self.policy.may_enter(room_id) and self.policy.access.may_talk(user_id)

    def may_lead(self, user_id: UserId, room_id: RoomId) -> bool:
        """Whether this person may bring us into this room, by an invitation or an upgrade."""
        return self.policy.access.may_invite(user_id) and self.policy.may_enter(room_id)

    def notes_unread(self, room_id: RoomId) -> bool:
        """Whether somebody is told of a message that can't be read: not where it may be for
        somebody else."""
        return self.policy.settings(room_id).answer_when == "always"

    def is_talk(self, text: str) -> bool:
        """Whether a message of this text is for the agent and no command."""
        return parse(text, self._commands) is None

    def over_limit(
        self, sight: Sight, sender: UserId, now_ms: int, *, live: bool = True
    ) -> TooMuch | None:
        """Which limit one more question of this person goes over, if any."""
        policy = self.policy
        person, room = policy.person_limits(sender), policy.room_limits(sight.room_id)
        counts = [Counts(), Counts()]
        if not person.none:
            asked = sight.asked(now_ms, by=sender)
            tokens = asked.uncounted + policy.tokens_today(now_ms, by=sender)
            counts[0] = Counts(asked.accepted_ms if live else (), asked.open, tokens)
        if not room.none:
            asked = sight.asked(now_ms)
            tokens = asked.uncounted + policy.tokens_today(now_ms, room=sight.room_id)
            counts[1] = Counts(asked.accepted_ms if live else (), asked.open, tokens)
        return judge(now_ms, (person, counts[0]), (room, counts[1]))

    def limit_note(self, turn: Turn, over: TooMuch, pos: int, now_ms: int) -> Turn:
        """What is said where a question that was asked before goes over a limit when it is asked
        again."""
        about = Question(turn.event_id, turn.sender, "", turn.reply_thread)
        return self._limit_note(turn.lane, about, over, pos, now_ms)

    def _limit_note(
        self, lane: Lane, about: Question | FileSent, over: TooMuch, pos: int, now_ms: int
    ) -> Turn:
        whose = about.sender if over.whose == "user" else ""
        key = EventId(f"limit {over.note_key} {whose}")
        return self._turn(lane, about, FIXED, over.sentence, key, pos, now_ms, quote=True)

    def _kind(self, question: Question) -> str:
        parsed = parse(question.text, self._commands)
        if parsed is None:
            return QUESTION
        if isinstance(parsed, UnknownCommand | WrongUsage):
            return COMMAND
        return IMMEDIATE if parsed.command.immediate else COMMAND

    def _is_answered(self, sight: Sight, reading: Question | FileSent, *, command: bool) -> bool:
        when = self.policy.settings(sight.room_id).answer_when
        if when == "always":
            return True
        heard = self._heard(sight, reading, command=command)
        return is_answered(when, heard, self.me, self.policy.display_name)

    def _heard(self, sight: Sight, reading: Question | FileSent, *, command: bool) -> Heard:
        return Heard(
            text=reading.text if isinstance(reading, Question) else "",
            mentions=reading.mentions,
            replies_to_bot=reading.replies_to is not None and sight.is_ours(reading.replies_to),
            command=command,
        )

    def _refused(
        self, sight: Sight, reading: Question | FileSent | Unreadable, pos: int, now_ms: int
    ) -> Taken:
        """Somebody who may not talk is told so once, where they have spoken to us; who is blocked
        is told nothing, and neither is a bot."""
        silent = Taken(None, "the sender may not talk")
        access = self.policy.access
        if isinstance(reading, Unreadable) or access.role_of(reading.sender) is Role.BLOCKED:
            return silent
        if reading.marked:
            return silent
        command = isinstance(reading, Question) and not self.is_talk(reading.text)
        heard = self._heard(sight, reading, command=command)
        addressed = command or is_addressed(heard, self.me, self.policy.display_name)
        if not addressed and sight.members() != 2:
            return silent
        if sight.notes_since(now_ms - DAY_MS, NOT_ALLOWED) >= MOST_REFUSALS:
            return silent
        return Taken(
            self._turn(
                Lane(sight.room_id),
                reading,
                FIXED,
                f"{NOT_ALLOWED}, `{_quoted(reading.sender)}`: {NOT_ALLOWED_MORE}",
                EventId(f"refused {reading.sender}"),
                pos,
                now_ms,
                quote=True,
            ),
            "the sender may not talk",
        )

    def _loops(
        self, sight: Sight, lane: Lane, reading: Question | FileSent, pos: int, now_ms: int
    ) -> Taken | None:
        length = len(reading.text) if isinstance(reading, Question) else 0
        asked = loops.Asked(reading.sender, now_ms, length, reading.marked)
        verdict = loops.judge(asked, sight.history(lane), sight.quiet(lane))
        if verdict.answer:
            return None
        if verdict.quiet is None:
            return Taken(None, "a bot's, or of a loop that was broken", settled=True)
        note = None
        if verdict.note:
            key = EventId(f"loop {lane} {verdict.quiet.until_ms}")
            note = self._turn(lane, reading, FIXED, verdict.note, key, pos, now_ms, quote=True)
        return Taken(note, "of a loop of bots", False, settled=True, quiet=verdict.quiet, lane=lane)

    def _turn(
        self,
        lane: Lane,
        reading: Question | FileSent | Unreadable,
        kind: str,
        text: str,
        key: EventId,
        pos: int,
        now_ms: int,
        *,
        quote: bool = False,
    ) -> Turn:
        return Turn(
            turn_id=turn_id(self.me, lane.room_id, key),
            lane=lane,
            pos=pos,
            kind=kind,
            state=TurnState.QUEUED,
            revision=1,
            event_id=reading.event_id,
            sender=reading.sender,
            reply_thread=reading.thread_root,
            text=text,
            quote=quote,
            thread_id=None,
            run=None,
            created_ms=now_ms,
        )


def _quoted(user_id: str) -> str:
    return "".join(char for char in user_id if char.isprintable() and char != "`")[:255]
