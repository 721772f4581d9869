"""The chat in the terminal: lines go into the room as the person's messages, and the bot's answers
come back out of it.

Nothing here talks to the agent: what a person sees has been through the homeserver.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import aclosing

import msgspec

from antiphon.adapter.terminal.lines import Lines
from antiphon.core.ids import TurnId
from antiphon.demo.answers import Answer
from antiphon.demo.folder import DemoFolder, Rooms
from antiphon.demo.person import Person
from antiphon.demo.screen import Growing, Screen
from antiphon.errors import EXIT_FAILED, EXIT_OK, HomeserverError

PATIENCE_S = 180.0
"""Seconds without anything new of an answer after which we stop waiting for it."""

PROMPT = "you> "
BOT_LABEL = "antiphon> "

HELP = """\
/new-room   open another room with the bot: it knows nothing of this one
/rooms      list the rooms
/room N     go on in room N
/quit       end the demo (as Ctrl-C and Ctrl-D do)
Anything else goes into the room; !help shows what the bot understands there."""


class Command(msgspec.Struct, frozen=True):
    """A command to the terminal itself; `number` is N of `/room N`."""

    name: str
    number: int | None = None


def parse(line: str) -> Command | str | None:
    """What a line means: a Command, a message (text), or None for an empty line.

    A slash that begins none of our commands is a message, for paths begin so too."""
    text = line.strip()
    if not text:
        return None
    match text.split():
        case ["/new-room" | "/rooms" | "/quit" | "/help" as name]:
            return Command(name)
        case ["/room", number] if number.isascii() and number.isdigit():
            return Command("/room", int(number))
        case ["/room"]:
            return Command("/rooms")
    return text


class Chat:
    """One person's chat with the bot, over the rooms that the folder keeps."""

    def __init__(
        self,
        person: Person,
        folder: DemoFolder,
        screen: Screen,
        *,
        patience_s: float = PATIENCE_S,
    ):
        self._person = person
        self._folder = folder
        self._screen = screen
        self._patience_s = patience_s
        self._rooms = folder.rooms()
        self._ahead: deque[str] = deque()

    async def enter(self, *, new_room: bool = False) -> str:
        """Goes into the room of last time, or into a new one where there is none (or where the bot
        is not in it any more). Returns its id."""
        room = self._rooms.room
        if new_room or room is None or not self._person.with_bot(room):
            await self._open()
        return self._room()

    @property
    def room_name(self) -> str:
        """The name of the room that is talked in."""
        return _name(self._rooms.current)

    async def say(self, text: str) -> int:
        """Sends one message, shows its answer, and gives the exit code: 1 where the answer is an
        error. Raises HomeserverError when none comes."""
        turn = await self._person.ask(self._room(), text)
        answer = await self._show(turn)
        assert answer is not None, "nothing stops it"
        return EXIT_FAILED if answer.notice and not text.startswith("!") else EXIT_OK

    async def talk(self, lines: Lines) -> None:
        """The chat, until the lines end or someone writes /quit."""
        self._prompt()
        while (line := await self._next(lines)) is not None:
            match parse(line):
                case None:
                    pass
                case Command(name="/quit"):
                    return
                case Command() as command:
                    await self._obey(command)
                case str(text):
                    await self._exchange(text, lines)
            self._prompt()
        if self._screen.is_terminal:
            self._screen.line()

    async def _next(self, lines: Lines) -> str | None:
        return self._ahead.popleft() if self._ahead else await lines.next()

    async def _exchange(self, text: str, lines: Lines) -> None:
        """One message and its answer, and the answers to what was interjected."""
        turns = [await self._person.ask(self._room(), text)]
        stops: list[TurnId] = []
        async with asyncio.TaskGroup() as group:
            interjecting = group.create_task(self._interject(lines, turns, stops))
            while turns:
                await self._show_or_say_why(turns.pop(0), stops)
            interjecting.cancel()
        for remark in self._person.take_remarks():
            self._screen.line(f"{BOT_LABEL}{remark}")

    async def _interject(self, lines: Lines, turns: list[TurnId], stops: list[TurnId]) -> None:
        """What a person types while an answer comes: the bot's own commands go out at once, for
        !stop is of no use later; the rest waits its turn. A script's lines all wait."""
        while self._screen.is_terminal and (line := await lines.next()) is not None:
            if line.lstrip().startswith("!"):
                turn = await self._person.ask(self._room(), line.strip())
                turns.append(turn)
                if line.strip().lower() == "!stop":
                    stops.append(turn)
            else:
                self._ahead.append(line)

    async def _show_or_say_why(self, turn: TurnId, stops: Sequence[TurnId]) -> None:
        try:
            await self._show(turn, () if turn in stops else stops)
        except HomeserverError as error:
            self._screen.progress(f"antiphon: {error.message}")

    async def _show(self, turn: TurnId, stops: Sequence[TurnId] = ()) -> Answer | None:
        """Shows an answer as it grows; a spinner stands where its first words will. None: it was
        stopped before a word."""
        growing = Growing(self._screen.out)
        answer: Answer | None = None
        async with aclosing(
            self._person.answer(turn, patience_s=self._patience_s, stops=stops)
        ) as answers:
            async with self._screen.spinner(""):
                async for answer in answers:
                    if answer.text.strip():
                        break
            if answer is None:
                return None
            if self._screen.is_terminal:
                self._screen.out.write(BOT_LABEL)
            if not answer.whole:
                growing.show(answer.text)
                async for answer in answers:
                    growing.show(answer.text)
        growing.settle(answer.text)
        return answer

    async def _obey(self, command: Command) -> None:
        match command:
            case Command(name="/new-room"):
                await self._open()
                self._screen.line(f"Now in {self.room_name}, which knows nothing of the others.")
            case Command(name="/rooms"):
                for index, _ in enumerate(self._rooms.ids):
                    here = "  (here)" if index == self._rooms.current else ""
                    self._screen.line(f"{index + 1}  {_name(index)}{here}")
            case Command(name="/room", number=int(number)):
                self._go_to(number)
            case _:
                self._screen.line(HELP)

    def _go_to(self, number: int) -> None:
        if not 1 <= number <= len(self._rooms.ids):
            self._screen.line(f"There is no room {number}. /rooms lists them.")
        elif not self._person.with_bot(self._rooms.ids[number - 1]):
            self._screen.line(f"The bot is not in {_name(number - 1)} any more.")
        else:
            self._keep(self._rooms.at(number - 1))
            self._screen.line(f"Now in {self.room_name}.")

    async def _open(self) -> None:
        name = _name(len(self._rooms.ids))
        async with self._screen.step(f"Opening the room {name}"):
            room_id = await self._person.open_room(name)
        self._keep(self._rooms.with_new(room_id))

    def _room(self) -> str:
        room = self._rooms.room
        assert room is not None, "enter() comes first"
        return room

    def _keep(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._folder.keep_rooms(rooms)

    def _prompt(self) -> None:
        if self._screen.is_terminal:
            self._screen.out.write(PROMPT)
            self._screen.out.flush()


def _name(index: int) -> str:
    return f"Antiphon demo {index + 1}"
