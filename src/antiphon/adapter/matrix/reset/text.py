"""A plan and its result, for people: lines of plain text. Room names are untrusted: nothing in them
reaches a terminal but printable characters."""

from __future__ import annotations

from collections.abc import Sequence

from antiphon.adapter.matrix.reset.plan import Action, Mode, Plan, RoomPlan, counted, listed
from antiphon.adapter.matrix.reset.result import Result

_HEADS = {
    Action.LEAVE: ("room", "to be left and forgotten, on the homeserver and here"),
    Action.DECLINE: ("invitation", "to be declined"),
    Action.FORGET: ("room", "to be forgotten here"),
}
LONGEST_NAME = 60


def plan_lines(plan: Plan) -> list[str]:
    """The whole plan."""
    lines = [f"Reset {plan.mode} of {plan.user_id}, state in {plan.state_folder}"]
    lines += [f"Note: {warning}" for warning in plan.warnings]
    if plan.resumes:
        lines.append("Note: an earlier reset was cut off; this one goes on with it.")
    for action, (one, verdict) in _HEADS.items():
        rooms = [room for room in plan.rooms if room.action is action]
        if rooms:
            lines.append(f"{counted(len(rooms), one)} {verdict}:")
            for room in rooms:
                lines += _room_lines(room)
    if not plan.rooms:
        lines.append("No room is concerned.")
    lines += _section("Goes:", _goes(plan))
    lines += _section("Stays:", plan.stays)
    return lines


def result_lines(result: Result) -> list[str]:
    """What was done, and what is left to do."""
    lines = []
    if result.left or result.declined:
        lines.append(
            f"Left and forgot {counted(result.left, 'room')}, declined "
            f"{counted(result.declined, 'invitation')}."
        )
    lines.append(
        f"Forgot {counted(result.rooms, 'room')} here: {counted(result.turns, 'turn')}, "
        f"{counted(result.sessions, 'session')}."
    )
    if result.erased or result.owed:
        lines.append(f"The agent has confirmed {counted(result.erased, 'erasure')}.")
    if result.owed:
        lines.append(
            f"It has not confirmed {result.owed} yet: they are kept, and it is told when the "
            "adapter runs and it can be reached."
        )
    if result.cursor == "first contact":
        lines.append(
            "The homeserver could not be asked: what was said until the adapter first reaches it "
            "counts as before the reset."
        )
    if result.logged_out:
        lines.append("The device was logged out; the next start logs in as a new one.")
    for refused in result.refused:
        lines.append(f"NOT left: {refused.room_id}: {refused.reason}")
    if result.still_joined:
        lines.append(
            f"The bot is still in {counted(len(result.still_joined), 'room')}: "
            f"{listed(result.still_joined)}. Run the same reset again."
        )
    if result.backup:
        again = " (into the rooms it must be invited again)" if result.left else ""
        lines.append(f"To undo{again}: antiphon matrix restore {result.backup}")
    return lines


def _goes(plan: Plan) -> list[str]:
    lines = []
    if plan.sessions:
        lines.append(counted(plan.sessions, "session"))
    if plan.rows:
        lines.append(
            ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in plan.rows.items())
            + " from the journal"
        )
    if plan.open_turns:
        lines.append(
            f"{counted(plan.open_turns, 'question')} that waits for an answer"
            if plan.open_turns == 1
            else f"{plan.open_turns} questions that wait for an answer"
        )
    if plan.erased_threads:
        lines.append(f"{counted(plan.erased_threads, 'memory', 'memories')} at the agent")
    lines += [f"the file {name}" for name in plan.removed_files]
    if plan.mode is Mode.LOCAL_ONLY:
        lines.append("whatever was said before now and is not answered yet")
    return lines


def _room_lines(room: RoomPlan) -> list[str]:
    parts = []
    if room.members:
        parts.append(f"with {listed([_plain(member) for member in room.members])}")
    turns = room.rows.get("turns", 0)
    if turns:
        waiting = f" ({room.open_turns} open)" if room.open_turns else ""
        parts.append(f"{counted(turns, 'turn')}{waiting}")
    if room.sessions:
        parts.append(counted(room.sessions, "session"))
    name = f"{_plain(room.name)}  " if room.name else ""
    return [f"  {name}{room.room_id}", *([f"      {'; '.join(parts)}"] if parts else [])]


def _plain(text: str) -> str:
    shown = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return shown if len(shown) <= LONGEST_NAME else shown[: LONGEST_NAME - 1] + "…"


def _section(head: str, lines: Sequence[str]) -> list[str]:
    return [head, *(f"  {line}" for line in lines)] if lines else []
