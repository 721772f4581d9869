"""The people of the test machine, and what the bot owes them: kept while they talk, without a look
into the adapter."""

from __future__ import annotations

from typing import Any, Literal

from antiphon.core.ids import EventId, RoomId, TurnId, UserId, turn_id
from antiphon.testing.homeserver import FakeHomeserver

Kind = Literal["question", "command", "stop", "file"]

COMMANDS = {
    "!new": ("A new conversation begins. I no longer remember what was said before.",),
    "!hepl": ("There is no command `!hepl`. Did you mean `!help`?",),
    "!retry": ("Your last question here is asked again", "There is no question here"),
}
MOST_ROOMS = 4


class Said:
    """A message that is addressed to the bot.

    `due`: it must be answered; else it may be. `texts`: what it said, oldest first."""

    def __init__(self, turn: TurnId, room_id: str, event_id: str, sender: str, kind: Kind):
        self.turn = turn
        self.room_id = room_id
        self.event_id = event_id
        self.sender = sender
        self.kind = kind
        self.due = True
        self.texts: list[str] = []
        self.redacted = False
        self.taken_down = False
        """Somebody redacted the answer."""
        self.gone = False
        """We were out of the room since: nothing can be said about it any more."""
        self.again = False
        """Its sender said `!retry` since: the answer may come later than those of others."""
        self.sure = True
        """The adapter has not lost its memory since: it can know all about it."""


class People:
    """Ada and Bob may talk, Eve and the robot may not."""

    def __init__(self, server: FakeHomeserver, me: UserId):
        self.server = server
        self.me = me
        self.ada = server.account("ada")
        self.bob = server.account("bob")
        self.eve = "@eve:evil.example"
        self.robot = server.account("robot")
        self.said: list[Said] = []
        self.chains: dict[str, str] = {}
        """Which room each room goes back to, by upgrades."""
        self.murky: set[str] = set()
        self.room_ids: list[str] = []
        self._numbers = 0

    def canary(self, room_id: str) -> str:
        """A word that is said in this room alone."""
        return f"canary{self.room_ids.index(room_id)}x"

    # --- rooms ----------------------------------------------------------------------------------

    def new_room(self, *, inside: bool) -> str:
        """A room of Ada's, Bob's and Eve's; with the bot `inside`, or not."""
        more = [self.me] if inside else []
        room_id = self.server.room(self.ada, self.bob, self.eve, self.robot, *more)
        self.room_ids.append(room_id)
        self.chains[room_id] = room_id
        return room_id

    def membership(self, room_id: str) -> str:
        """The bot's."""
        return self.server.rooms.membership(room_id, self.me)[0]

    def invite(self, room_id: str, by: str) -> None:
        """Somebody invites the bot, where it is neither in the room nor banned."""
        if self.membership(room_id) == "ban":
            self.server.membership(room_id, self.me, "leave", by=self.ada)
        if self.membership(room_id) == "leave":
            self.server.membership(room_id, self.me, "invite", by=by)

    def remove(self, room_id: str, membership: str) -> None:
        """The bot is kicked (`leave`) or banned (`ban`)."""
        if self.membership(room_id) in ("join", "invite"):
            self.server.membership(room_id, self.me, membership, by=self.ada)
            for said in self.said:
                if said.room_id == room_id:
                    said.due, said.gone = False, True

    def upgrade(self, room_id: str, *, public: bool, honest: bool) -> None:
        """The room is replaced by a new one, which names it (`honest`) or another."""
        if len(self.room_ids) >= MOST_ROOMS or self.membership(room_id) != "join":
            return
        predecessor = room_id if honest else "!other:hs"
        create = {"room_version": "11", "predecessor": {"room_id": predecessor}}
        state = [("m.room.create", "", create)]
        if public:
            state.append(("m.room.join_rules", "", {"join_rule": "public"}))
        new = self.server.rooms.new_room(self.ada, state)
        self.room_ids.append(new)
        self.chains[new] = self.chains[room_id] if honest else new
        self.server.event(
            room_id, "m.room.tombstone", self.ada, {"replacement_room": new}, state_key=""
        )

    # --- talk -----------------------------------------------------------------------------------

    def ask(self, room_id: str, sender: str) -> None:
        """A question."""
        self._say(room_id, sender, self._text(room_id), "question")

    def command(self, room_id: str, sender: str, text: str) -> None:
        """A command that waits in its lane."""
        if text == "!retry":
            for said in self.said:
                said.again |= said.sender == sender
        self._say(room_id, sender, text, "command")

    def send_file(self, room_id: str, sender: str) -> None:
        """An image."""
        self._say(room_id, sender, self._text(room_id), "file", msgtype="m.image")

    def stop(self, room_id: str, sender: str, finished: dict[TurnId, int]) -> None:
        """`!stop`: what is not `finished`, in its newest revision, may end unanswered."""
        if self._heard(room_id) and sender != self.eve:
            for said in self.said:
                if said.room_id == room_id and finished.get(said.turn) != len(said.texts):
                    said.due = said.due and said.kind != "question"
        self._say(room_id, sender, "!stop", "stop")

    def notice(self, room_id: str) -> None:
        """A bot's words."""
        self.server.say(room_id, self.robot, self._text(room_id), msgtype="m.notice")

    def malformed(self, room_id: str, raw: Any) -> None:
        """What federation can bring."""
        self.server.raw_event(room_id, raw)

    def edit(self, said: Said, *, by_author: bool = True, text: str | None = None) -> None:
        """A message is edited."""
        text = text or self._text(said.room_id)
        if said.redacted:
            return
        author = said.sender if by_author else (self.bob if said.sender == self.ada else self.ada)
        self.server.edit(said.room_id, author, said.event_id, text)
        if by_author and said.kind == "question" and not text.startswith("!"):
            said.texts.append(text)

    def redact(self, said: Said) -> None:
        """A message is taken back."""
        if not said.redacted:
            said.redacted = True
            self.server.redact(said.room_id, said.sender, said.event_id)

    def take_down(self, said: Said, root: str) -> None:
        """A moderator redacts what opens an answer."""
        said.taken_down = True
        self.server.redact(said.room_id, self.bob, root)

    # --- what the adapter can't know any more ---------------------------------------------------

    def cursor_lost(self, followed: frozenset[str]) -> None:
        """Rooms that the journal has not followed so far will be adopted without their history."""
        for room_id in self.room_ids:
            if room_id not in followed:
                self.murky.add(room_id)
                for said in self.said:
                    if said.room_id == room_id:
                        said.due = said.sure = False

    def clear(self, followed: frozenset[str]) -> None:
        """Rooms that are followed again."""
        self.murky -= followed

    def restored(self) -> None:
        """An older state is back: what was redacted since is known by the room alone."""
        for said in self.said:
            said.sure = False
            if said.taken_down:
                said.due = False

    def _text(self, room_id: str) -> str:
        self._numbers += 1
        return f"q{self._numbers} {self.canary(room_id)}"

    def _heard(self, room_id: str) -> bool:
        membership, event = self.server.rooms.membership(room_id, self.me)
        if membership == "invite":
            return event is not None and event.raw["sender"] in (self.ada, self.bob)
        return membership == "join"

    def _say(self, room_id: str, sender: str, text: str, kind: Kind, **more: Any) -> None:
        event_id = self.server.say(room_id, sender, text, **more)
        if sender == self.eve or not self._heard(room_id):
            return
        turn = turn_id(self.me, RoomId(room_id), EventId(event_id))
        said = Said(turn, room_id, event_id, sender, kind)
        said.texts.append(text)
        if room_id in self.murky:
            said.due = said.sure = False
        self.said.append(said)
