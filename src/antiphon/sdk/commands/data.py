"""`!export` and `!forget-me`: what is kept of a conversation and of a person, and erasing it.

Others may read the reply, so of the person themselves it gives counts only; what was said in the
conversation was said in the same place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from antiphon.core.render.text import clean
from antiphon.sdk import transcript
from antiphon.sdk.commands.values import AGENT_AWAY, Asker, Erase, Kit, Reply
from antiphon.sdk.commands.words import code, counted, cut, named, when

YES = ("yes", "ja", "oui", "si")


async def export(kit: Kit, asker: Asker, arguments: Sequence[str]) -> Reply:
    """`!export`."""
    chat = await kit.platform.chat(asker.place)
    try:
        archive = await kit.platform.export_thread(chat.session.thread_id)
    except AGENT_AWAY:
        return Reply("The agent, which has the memory, does not answer. Please try again later.")
    exchanges = transcript.read(archive)
    about = _about(await kit.platform.export_user(asker.user_id))
    who = "Everybody in this room can read this. " if kit.surface.shared else ""
    head = (
        f"{who}What I remember of conversation {named(chat.session)}, "
        f"{counted(len(exchanges), 'question')}, and what is kept about you, as counts:\n\n"
        + "\n".join(f"- {line}" for line in about)
    )
    if not exchanges:
        return Reply(f"{head}\n\nNothing was said in this conversation yet.")
    # The newest are worth most where not all of it fits.
    said: list[str] = []
    length, left = len(head), 0
    for one in reversed(exchanges):
        text = _exchange(one)
        if said and length + len(text) > kit.surface.longest - 200:
            left = len(exchanges) - len(said)
            break
        said.append(text)
        length += len(text) + 2
    if left:
        said.append(f"({counted(left, 'older question')} left out here.)")
    note = "(The rest is left out here.)"
    return Reply(cut("\n\n".join([head, *reversed(said)]), kit.surface.longest, note))


def _exchange(one: transcript.Exchanged) -> str:
    lines = []
    for said in one.question:
        lines.append(f"**{code(said.author) if said.author else 'Question'}**, {when(one.at_ms)}:")
        lines.append(_quoted(said.text))
    end = {"cancelled": " (stopped)", "error": " (ended in an error)"}.get(one.status, "")
    lines.append(f"**Answer**{end}:")
    lines.append(_quoted(one.answer or "(nothing)"))
    return "\n\n".join(lines)


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}" for line in clean(text).split("\n"))


def _about(kept: dict[str, Any]) -> list[str]:
    """What is kept of a person, in counts and dates."""
    first = kept.get("first_seen_ms")
    lines = [
        f"First seen: {when(first)}" if isinstance(first, int) else "Not seen before",
        f"Role given while running: {code(str(kept['role'])) if kept.get('role') else 'none'}",
    ]
    for key, one, many in (
        ("settings", "setting of your own", "settings of your own"),
        ("chats", "chat that is yours alone", "chats that are yours alone"),
        ("usage", "question whose use is counted", "questions whose use is counted"),
        ("audit", "line of the log of changes", "lines of the log of changes"),
    ):
        found = kept.get(key)
        if isinstance(found, list | dict):
            lines.append(counted(len(found), one, many))
    return lines


async def forget_me(kit: Kit, asker: Asker, arguments: Sequence[str]) -> Reply:
    """`!forget-me [YES]`."""
    if not arguments or arguments[0].lower().strip("!.") not in YES:
        about = "\n".join(
            f"- {line}" for line in _about(await kit.platform.export_user(asker.user_id))
        )
        return Reply(
            "This erases for good, everywhere on this surface: what is kept about you, chats that "
            "are yours alone with their memory, and in chats with others every question of yours "
            f"with its answer. Kept about you are now:\n\n{about}\n\n"
            "The messages in the rooms are not mine to delete, and a block stays. "
            "Send `!forget-me yes` to do it."
        )
    forgotten = await kit.platform.forget_user(asker.user_id, asker.request_id)
    threads = len(forgotten.threads) + len(forgotten.shared)
    return Reply(
        "You are forgotten. Erased: "
        f"{counted(forgotten.chats, 'chat')} of yours alone, "
        f"{counted(forgotten.settings, 'setting')}, "
        f"{counted(forgotten.usage, 'count')} of what you used. "
        f"What you said to me is now being erased from {counted(threads, 'conversation')}; that "
        "is done when the agent has confirmed it. If you write to me again, I begin anew with you.",
        effect=Erase(asker.user_id, forgotten),
    )
