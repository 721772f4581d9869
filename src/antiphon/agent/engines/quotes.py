"""Takes the marks off again that the agent puts on messages where several people speak
(`antiphon.agent.attribution`), for engines that would stumble over them. Pure."""

from __future__ import annotations

from antiphon.agent.engines.port import UserText

_HEADER = " wrote:"
_MARK = "> "


def unquoted(item: UserText) -> str:
    """What the person wrote, without the header that names them and the mark on each line."""
    header, *lines = item.text.split("\n")
    if header.endswith(_HEADER) and lines and all(line.startswith(_MARK) for line in lines):
        return "\n".join(line.removeprefix(_MARK) for line in lines)
    return item.text
