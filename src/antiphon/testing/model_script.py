"""What the model server says to a request, and what goes wrong on the way. Pure: from the body of
a chat completion to a script that the server plays.

Markers in the last user message choose what happens (`500` fails once only where it was queued by
`ModelServer.fail`): `fault:500`, `fault:429`, `fault:401`, `fault:404`, `fault:disconnect@3` (after
three words; also `malformed@3`, `hang@3`, `html`, `empty`, `cut`), `words:20`, `gap:0.1`,
`think:5` (words of reasoning first), `tool:NAME:{"json": …}` (asks for that tool once).
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec


class Fault(msgspec.Struct, frozen=True):
    """What goes wrong: an HTTP status, or `disconnect`, `malformed`, `hang`, `html`, `empty` or
    `cut` (the stream ends without its end), after `after` words."""

    kind: str
    after: int = 0

    @classmethod
    def parse(cls, text: str) -> Fault:
        """Reads `500` or `disconnect@3`."""
        kind, _, after = text.partition("@")
        return cls(kind, int(after or 0))


class Call(msgspec.Struct, frozen=True):
    """A tool call to ask for; `args` is JSON text."""

    name: str
    args: str


class Script(msgspec.Struct, frozen=True):
    """How one request is answered."""

    words: tuple[str, ...]
    thinking: tuple[str, ...] = ()
    calls: tuple[Call, ...] = ()
    gap: float | None = None
    fault: Fault | None = None


_FAULT = re.compile(r"\bfault:(\w+(?:@\d+)?)")
_WORDS = re.compile(r"\bwords:(\d+)")
_GAP = re.compile(r"\bgap:([\d.]+)")
_THINK = re.compile(r"\bthink:(\d+)")
_TOOL = re.compile(r"\btool:(\w+):(\{[^{}]*\}|\S+)")
_TOLD = re.compile(r"\bmy name is (\w+)", re.IGNORECASE)
_ASKED = re.compile(r"\bwhat(?:'s| is) my name\b", re.IGNORECASE)


def script(body: dict[str, Any], words: int) -> Script:
    """The answer to `body`, with `words` words unless its last user message says otherwise."""
    messages: list[dict[str, Any]] = body.get("messages", [])
    users = [text_of(m.get("content")) for m in messages if m.get("role") == "user"]
    last = users[-1] if users else ""
    returned = _returned(messages)
    fault = Fault.parse(found.group(1)) if (found := _FAULT.search(last)) else None
    gap = float(found.group(1)) if (found := _GAP.search(last)) else None
    count = int(found.group(1)) if (found := _WORDS.search(last)) else words
    thinking = int(found.group(1)) if (found := _THINK.search(last)) else 0
    calls = () if returned else tuple(Call(name, args) for name, args in _TOOL.findall(last))
    if _ASKED.search(last):
        answer = _remembered(users)
    elif calls:
        answer = []
    else:
        answer = words_for(users, count, returned)
    return Script(
        words=tuple(answer),
        thinking=tuple(f"t{i}" for i in range(thinking)),
        calls=calls,
        gap=gap,
        fault=fault,
    )


def words_for(users: list[str], count: int, returned: list[str]) -> list[str]:
    """`A:<tag> seen=… tags=… w0 … END:<tag>`: names the question, and all that it was sent with."""
    last = users[-1] if users else ""
    tag = next((word for word in last.split() if word.startswith("Q-")), "Q-none")
    tags = [word for user in users for word in user.split() if word.startswith("Q-")]
    head = [f"A:{tag}", f"seen={len(users)}", "tags=" + ",".join(tags)[-400:]]
    head += [f"returned={json.dumps(text)}" for text in returned]
    return head + [f"w{i}" for i in range(count - len(head) - 1)] + [f"END:{tag}"]


def text_of(content: Any) -> str:
    """The text of a message's content: a string, or parts."""
    if isinstance(content, str):
        return content
    return " ".join(part.get("text", "") for part in content or [] if isinstance(part, dict))


def _returned(messages: list[dict[str, Any]]) -> list[str]:
    returned: list[str] = []
    for message in reversed(messages):
        if message.get("role") != "tool":
            break
        returned.insert(0, text_of(message.get("content")))
    return returned


def _remembered(users: list[str]) -> list[str]:
    for user in reversed(users):
        if found := _TOLD.search(user):
            return ["Your", "name", "is", found.group(1) + "."]
    return ["You", "have", "not", "told", "me", "your", "name."]
