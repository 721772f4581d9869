"""The tools `notes_add` and `notes_list`: notes of the thread that the run belongs to."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from antiphon.agent.tools.arguments import declare, read
from antiphon.agent.tools.port import Note, Tool, ToolContext, ToolRefusedError

NOTE_CHARS = 2_000
LISTED = 50
LISTED_CHARS = 8_000


class AddArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `notes_add` takes."""

    text: Annotated[
        str, Meta(min_length=1, max_length=NOTE_CHARS, description="What to keep, as a sentence.")
    ]


class ListArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `notes_list` takes: nothing."""


async def _add(raw: dict[str, Any], context: ToolContext) -> str:
    text = read(AddArguments, raw).text.strip()
    if not text:
        raise ToolRefusedError("The note is empty.")
    note = await context.thread.add_note(text, context.call_id)
    return f"Kept as note {note.number}: {note.text}"


async def _list(raw: dict[str, Any], context: ToolContext) -> str:
    read(ListArguments, raw)
    return listed(await context.thread.notes())


def listed(notes: tuple[Note, ...]) -> str:
    """The newest notes, oldest first, one a line; says how many older ones are left out."""
    if not notes:
        return "There are no notes in this conversation."
    lines: list[str] = []
    room = LISTED_CHARS
    for note in reversed(notes[-LISTED:]):
        line = f"{note.number}. {note.text}"
        if len(line) + 1 > room:
            break
        lines.append(line)
        room -= len(line) + 1
    left_out = len(notes) - len(lines)
    if left_out:
        lines.append(f"({left_out} older ones left out)")
    return "\n".join(reversed(lines))


# Adding is idempotent by call id (the port's promise), so both may be run again.
NOTES_ADD = Tool(
    spec=declare("notes_add", "Keeps a note in this conversation.", AddArguments),
    run=_add,
    repeatable=True,
)
NOTES_LIST = Tool(
    spec=declare("notes_list", "Lists the notes of this conversation.", ListArguments),
    run=_list,
    repeatable=True,
)
