"""The tool `search`: finds earlier messages of the thread that the run belongs to."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from antiphon.agent.tools.arguments import bounded, declare, read
from antiphon.agent.tools.port import PastMessage, Tool, ToolContext, ToolRefusedError

MOST = 20
EXCERPT_CHARS = 300


class SearchArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `search` takes."""

    words: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=200,
            description="Words that a message must contain, all of them.",
        ),
    ]
    limit: Annotated[int, Meta(ge=1, le=MOST, description="Most messages to return.")] = 5


async def _run(raw: dict[str, Any], context: ToolContext) -> str:
    arguments = read(SearchArguments, raw)
    words = arguments.words.strip()
    if not words:
        raise ToolRefusedError("There are no words to search for.")
    found = await context.thread.search(words, arguments.limit)
    if not found:
        return f"No earlier message of this conversation contains {words!r}."
    return "\n".join(_line(message, words) for message in found[: arguments.limit])


def _line(message: PastMessage, words: str) -> str:
    moment = datetime.fromtimestamp(message.at_ms / 1000, UTC)
    return f"[{moment:%Y-%m-%d %H:%M} UTC] {message.role}: {excerpt(message.text, words)}"


def excerpt(text: str, words: str) -> str:
    """One line of at most 300 characters of `text`, around the first of `words` in it."""
    line = " ".join(text.split())
    if len(line) <= EXCERPT_CHARS:
        return line
    places = (line.lower().find(word.lower()) for word in words.split())
    start = max(0, min((place for place in places if place >= 0), default=0) - EXCERPT_CHARS // 3)
    return ("…" if start else "") + bounded(line[start:], EXCERPT_CHARS - 1)


SEARCH = Tool(
    spec=declare("search", "Searches the earlier messages of this conversation.", SearchArguments),
    run=_run,
    repeatable=True,
)
