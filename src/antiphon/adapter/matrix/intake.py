"""Which messages become turns: policy over what `convert` read. Pure; runs inside the journal's
transaction, so that a message is either waiting or a turn, never neither."""

from __future__ import annotations

import hashlib

import msgspec

from antiphon.adapter.matrix.convert import FileSent, Question, Skipped, Unreadable, thread_root
from antiphon.adapter.matrix.journal.turns import (
    COMMAND,
    FIXED,
    IMMEDIATE,
    NOTE,
    QUESTION,
    Lane,
    Turn,
)
from antiphon.adapter.matrix.transport.events import Event
from antiphon.core.access import AllowList
from antiphon.core.commands import Catalogue, UnknownCommand, WrongUsage, parse
from antiphon.core.ids import EventId, RoomId, UserId, turn_id
from antiphon.core.model import TurnState

FILES_LATER = "I can't read files, images or places yet. Please write it as text."
CANT_DECRYPT = (
    "This room is encrypted, and I can't read or write encrypted messages yet, so I can't answer "
    "here. Please open a room without encryption and invite me there."
)


Asking = Question | FileSent | Unreadable | Skipped


class Taken(msgspec.Struct, frozen=True):
    """The turn that an event becomes, or why it becomes none."""

    turn: Turn | None
    reason: str = ""
    expected: bool = True


class Intake:
    """The policy of one bot: who may talk, and what is a command."""

    def __init__(
        self,
        me: UserId,
        device_id: str,
        allow: AllowList,
        commands: Catalogue,
        *,
        answers_edits: bool = True,
        decrypts: bool = False,
    ):
        self.me = me
        self.device_id = device_id
        self.answers_edits = answers_edits
        self.decrypts = decrypts
        """Whether encrypted rooms can be read and written in; what can't be read now waits."""
        self._allow = allow
        self._commands = commands

    def take(
        self, room_id: RoomId, reading: Asking, pos: int, now_ms: int, *, encrypted: bool
    ) -> Taken:
        """What becomes of a person's message at position `pos` of a room."""
        if isinstance(reading, Skipped):
            return Taken(None, reading.reason, reading.expected)
        if not self._allow.allows(reading.sender):
            return Taken(None, "the sender is not in matrix.allow")
        if isinstance(reading, Unreadable) and reading.edit:
            return Taken(None, "an edit")
        if isinstance(reading, Unreadable) or (encrypted and not self.decrypts):
            kind, text, key = NOTE, CANT_DECRYPT, EventId("encrypted")
        elif isinstance(reading, FileSent):
            kind, text, key = FIXED, FILES_LATER, reading.event_id
        else:
            kind, text, key = self._kind(reading), reading.text, reading.event_id
        turn = Turn(
            turn_id=turn_id(self.me, room_id, key),
            lane=Lane(room_id),
            pos=pos,
            kind=kind,
            state=TurnState.QUEUED,
            revision=1,
            event_id=reading.event_id,
            sender=reading.sender,
            reply_thread=reading.thread_root,
            text=text,
            quote=False,
            thread_id=None,
            run=None,
            created_ms=now_ms,
        )
        return Taken(turn)

    def note(self, room_id: RoomId, about: Event, text: str, pos: int, now_ms: int) -> Turn:
        """Something to say under a message, once, though it could not be read."""
        kind = hashlib.sha256(text.encode()).hexdigest()[:8]
        return Turn(
            turn_id=turn_id(self.me, room_id, EventId(f"{about.event_id}#{kind}")),
            lane=Lane(room_id),
            pos=pos,
            kind=NOTE,
            state=TurnState.QUEUED,
            revision=1,
            event_id=EventId(about.event_id),
            sender=UserId(about.sender),
            reply_thread=thread_root(about.content),
            text=text,
            quote=True,
            thread_id=None,
            run=None,
            created_ms=now_ms,
        )

    def allows(self, user_id: UserId) -> bool:
        """Whether this person may invite, talk and move rooms."""
        return self._allow.allows(user_id)

    def is_talk(self, text: str) -> bool:
        """Whether a message of this text is for the agent and no command."""
        return parse(text, self._commands) is None

    def _kind(self, question: Question) -> str:
        parsed = parse(question.text, self._commands)
        if parsed is None:
            return QUESTION
        if isinstance(parsed, UnknownCommand | WrongUsage):
            return COMMAND
        return IMMEDIATE if parsed.command.immediate else COMMAND
