"""What a reset would do, computed from what the journal, the sdk and the homeserver hold: pure."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from antiphon.adapter.matrix.journal.forgetting import RoomHeld
from antiphon.core.ids import RoomId, ThreadId
from antiphon.errors import SettingsError
from antiphon.sdk.interface import KeptChat


class Mode(StrEnum):
    """`local-only`: forget here, stay in the rooms. `server-leave-forget`: leave them, too."""

    LOCAL_ONLY = "local-only"
    SERVER_LEAVE_FORGET = "server-leave-forget"


class Action(StrEnum):
    """What becomes of a room: forgotten here; left and forgotten; its invitation declined."""

    FORGET = "forget"
    LEAVE = "leave"
    DECLINE = "decline"


class Options(msgspec.Struct, frozen=True):
    """What was asked for. `rooms`: these alone, empty for all. `keep_memory`: the agent's threads
    stay there for inspection, and are never used again. `include_device`: logs the device out."""

    mode: Mode
    rooms: tuple[RoomId, ...] = ()
    keep_memory: bool = False
    include_device: bool = False


class RoomSight(msgspec.Struct, frozen=True):
    """A room as the homeserver has it; `invited`: we are asked into it and not in it."""

    room_id: RoomId
    name: str | None
    members: tuple[str, ...]
    invited: bool = False


class RoomPlan(msgspec.Struct, frozen=True):
    """What is done to one room. `rows` of the journal by what they are, `open_turns` of them still
    owed, `sessions` of its chats; `members` without ourselves, none where nobody could be asked."""

    room_id: RoomId
    action: Action
    name: str | None
    members: tuple[str, ...]
    rows: dict[str, int]
    open_turns: int
    sessions: int


class Plan(msgspec.Struct, frozen=True):
    """What will be done, and what stays. `erased_threads`: memories that the agent will erase;
    `asked_homeserver`: False where it could not be reached (`local-only` works all the same);
    `resumes`: an earlier reset was cut off, and this goes on with it."""

    mode: Mode
    user_id: str
    device_id: str | None
    state_folder: str
    rooms: tuple[RoomPlan, ...]
    rows: dict[str, int]
    open_turns: int
    sessions: int
    erased_threads: int
    kept_threads: int
    removed_files: tuple[str, ...]
    stays: tuple[str, ...]
    warnings: tuple[str, ...]
    asked_homeserver: bool
    resumes: bool

    def with_action(self, *actions: Action) -> tuple[RoomId, ...]:
        """The rooms to which one of these is done."""
        return tuple(room.room_id for room in self.rooms if room.action in actions)


class Known(msgspec.Struct, frozen=True):
    """All that a plan is made from. `server` is None where the homeserver could not be asked, and
    `warnings` says why."""

    user_id: str
    device_id: str | None
    state_folder: str
    device_files: tuple[str, ...]
    held: tuple[RoomHeld, ...]
    chats: tuple[KeptChat, ...]
    server: tuple[RoomSight, ...] | None
    warnings: tuple[str, ...] = ()
    resumes: bool = False


def make_plan(options: Options, known: Known) -> Plan:
    """The plan. Raises SettingsError for a room of `options` that nobody knows."""
    held = {room.room_id: room for room in known.held}
    sights = {room.room_id: room for room in known.server or ()}
    sessions: dict[RoomId, list[ThreadId]] = {}
    for chat in known.chats:
        sessions.setdefault(chat.place.room, []).extend(chat.threads)
    everywhere = {*held, *sights, *sessions}
    unknown = [room_id for room_id in options.rooms if room_id not in everywhere]
    if unknown:
        raise SettingsError(
            f"{', '.join(unknown)}: this bot knows no such room. Give room IDs (they begin with an "
            "exclamation mark); `antiphon matrix reset --mode … --dry-run` lists all of them."
        )
    rooms = []
    for room_id in sorted(options.rooms or everywhere):
        action = _action(options.mode, sights.get(room_id), held.get(room_id))
        if action is not None:
            rooms.append(
                _room(room_id, action, sights.get(room_id), held.get(room_id), sessions, known)
            )
    threads = threads_of(options, known, {room.room_id for room in rooms})
    rows: dict[str, int] = {}
    for room in rooms:
        for name, count in room.rows.items():
            rows[name] = rows.get(name, 0) + count
    removed = known.device_files if options.include_device else ()
    return Plan(
        mode=options.mode,
        user_id=known.user_id,
        device_id=known.device_id,
        state_folder=known.state_folder,
        rooms=tuple(rooms),
        rows=rows,
        open_turns=sum(room.open_turns for room in rooms),
        sessions=sum(room.sessions for room in rooms),
        erased_threads=0 if options.keep_memory else len(threads),
        kept_threads=len(threads) if options.keep_memory else 0,
        removed_files=removed,
        stays=_stays(options, known),
        warnings=known.warnings,
        asked_homeserver=known.server is not None,
        resumes=known.resumes,
    )


def threads_of(options: Options, known: Known, rooms: set[RoomId]) -> tuple[ThreadId, ...]:
    """The agent's threads with memory of these rooms: those of their chats, and those that turns
    of the journal name."""
    found = {t for chat in known.chats if chat.place.room in rooms for t in chat.threads}
    found |= {t for room in known.held if room.room_id in rooms for t in room.threads}
    return tuple(sorted(found))


def _action(mode: Mode, sight: RoomSight | None, held: RoomHeld | None) -> Action | None:
    """What to do to a room; None where it is none of this reset's business."""
    if mode is Mode.SERVER_LEAVE_FORGET and sight is not None:
        return Action.DECLINE if sight.invited else Action.LEAVE
    invited = (
        sight.invited if sight is not None else held is not None and held.membership == "invite"
    )
    if invited:
        return None  # an invitation is the homeserver's, and nothing of it is remembered here
    return Action.FORGET


def _room(
    room_id: RoomId,
    action: Action,
    sight: RoomSight | None,
    held: RoomHeld | None,
    sessions: dict[RoomId, list[ThreadId]],
    known: Known,
) -> RoomPlan:
    return RoomPlan(
        room_id=room_id,
        action=action,
        name=sight.name if sight else None,
        members=tuple(m for m in (sight.members if sight else ()) if m != known.user_id),
        rows=held.rows if held else {},
        open_turns=held.open_turns if held else 0,
        sessions=len(sessions.get(room_id, ())),
    )


def _stays(options: Options, known: Known) -> tuple[str, ...]:
    stays: list[str] = []
    if not options.include_device:
        device = f"its device {known.device_id}" if known.device_id else "its device"
        stays.append(f"the login, {device} and the device's keys")
    if options.mode is Mode.LOCAL_ONLY:
        stays.append("membership in the rooms, and all that is written there")
    if options.rooms:
        stays.append("all other rooms, with their memory")
    stays.append("settings and known users")
    if options.keep_memory:
        stays.append("the agent's record of the conversations, which is never used again")
    return tuple(stays)


def counted(number: int, one: str, many: str | None = None) -> str:
    """`1 room`, `2 rooms`."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def listed(names: Sequence[str], most: int = 3) -> str:
    """Some of the names, and how many more."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
