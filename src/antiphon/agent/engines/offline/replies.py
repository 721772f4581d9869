"""The words of the offline assistant. Pure: from intents and tool results to text."""

from __future__ import annotations

import re

from antiphon.agent.engines.port import ToolReturn

WHO = "I am Antiphon's offline assistant: no language model, a program with a few tools."

CONFIGURE = (
    "For real answers set `model` in `[agent]` of `antiphon.toml` (or `ANTIPHON_AGENT__MODEL`) to "
    "`local`, or to `openai:NAME` with `base_url` and `api_key`, and restart."
)

CAN = """What I can do:
- the time: "what time is it in Tokyo?"
- arithmetic: "what is 12*7?"
- notes of this conversation: "remember that the key is under the mat", "what are my notes?"
- search in this conversation: "what did I say about the key?"
- what you told me: "my name is Ada" … "what is my name?"
- "repeat …", "how many messages?", "help\""""

HELP = f"{WHO}\n\n{CAN}\n\n{CONFIGURE}"

UNKNOWN = f"{WHO} I can't answer that. {CONFIGURE} Say `help` for what I can do."

TOOL_PURPOSE = {
    "clock": "tell the time",
    "calculator": "calculate",
    "notes_add": "keep notes",
    "notes_list": "read notes",
    "search": "search earlier messages",
}


def not_granted(tool: str) -> str:
    """A tool is needed that this run may not use."""
    return f"I can't {TOOL_PURPOSE[tool]} here: the tool `{tool}` is not granted to me."


def failed(result: ToolReturn) -> str:
    """A tool said no, or nobody knows what came of it."""
    return f"I could not {TOOL_PURPOSE.get(result.name, 'do that')}: {result.content}"


def the_time(result: str) -> str:
    return f"It is {result}."


def the_value(expression: str, result: str) -> str:
    joint = " " if result.startswith("≈") else " = "
    return f"{expression}{joint}{result}"


def the_notes(result: str) -> str:
    return f"Your notes:\n{result}" if result[:1].isdigit() else result


def found(words: str, result: str) -> str:
    return f'I searched this conversation for "{words}":\n{result}' if result[:1] == "[" else result


def told(subject: str, value: str) -> str:
    if subject == "name":
        return f"Nice to meet you, {value}."
    return f"All right: your {subject} is {value}. Ask me later: I read what you told me here."


def recalled(subject: str, value: str | None) -> str:
    if value is None:
        return (
            f"You have not told me your {subject} in the part of this conversation that I can see."
        )
    return f"Your {subject} is {value}."


def counted(people: int, answers: int) -> str:
    messages = "1 message" if people == 1 else f"{people} messages"
    replies = "1 answer" if answers == 1 else f"{answers} answers"
    return (
        f"I see {messages} from people, this one included, and {replies} of mine "
        "in the part of this conversation that I was given."
    )


def greeting(word: str) -> str:
    if word.startswith("thank"):
        return "You are welcome."
    if word == "ping":
        return "pong"
    return f"{word.capitalize()}! {WHO} Say `help` for what I can do."


_PIECE = re.compile(r"\S+\s*|\s+")


def pieces(text: str, most: int = 500) -> list[str]:
    """`text` word by word, as a model streams it; a long text in at most `most` pieces."""
    words = _PIECE.findall(text)
    size = -(-len(words) // most) or 1
    return ["".join(words[at : at + size]) for at in range(0, len(words), size)]
