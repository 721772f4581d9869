"""`!whoami` and `!usage`: what holds for the asker here, in counts where others may read it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from antiphon.core.chat_settings import SETTINGS, ChatSettings
from antiphon.core.limits import DAY_MS, Limits, day_start_ms, in_words, person_limits, room_limits
from antiphon.core.people import Role, UsageSum
from antiphon.sdk.commands.quota import WORDS
from antiphon.sdk.commands.values import AGENT_AWAY, Asker, Kit, Reply
from antiphon.sdk.commands.words import code, counted, named, when

BUILT_IN: Final = {
    "offline": "a program with a few tools and no language model, at the agent",
    "local": "a small model that runs at the agent",
}
DAYS: Final = 30


async def whoami(kit: Kit, asker: Asker, arguments: Sequence[str]) -> Reply:
    """`!whoami`."""
    chat = await kit.platform.chat(asker.place)
    settings = await kit.platform.resolve(chat, asker.user_id)
    lines = [
        f"You are {code(asker.user_id)}, {_role(kit, asker)}.",
        "",
        f"- This chat: {_chat(kit, asker)}.",
        f"- Conversation: {named(chat.session)}, begun {when(chat.session.started_ms)}.",
        f"- {await _model(kit, settings)}",
        f"- Settings: {_changed(kit, settings)}.",
    ]
    return Reply("\n".join(lines))


def _role(kit: Kit, asker: Asker) -> str:
    if asker.is_admin:
        return "an administrator of this bot"
    role = kit.access().role_of(asker.user_id)
    may = "who may talk to me" if role in (Role.USER, Role.ADMIN) else "who may not talk to me"
    return f"a moderator of this room {may}" if asker.is_moderator else f"someone {may}"


def _chat(kit: Kit, asker: Asker) -> str:
    if not kit.surface.shared:
        return "you alone, in this terminal"
    if asker.place.user is not None:
        return "you alone in this room; others have chats of their own here"
    if asker.place.thread_root is not None:
        return "this thread, with everybody in it"
    return "this room, with everybody in it"


async def _model(kit: Kit, settings: ChatSettings) -> str:
    model = settings.model
    if model is None:
        try:
            model = next(iter(await kit.platform.models()), None)
        except AGENT_AWAY:
            return "Model: the agent's own, which it does not tell now."
    if model is None:
        return "Model: the agent's own."
    provider, colon, name = model.partition(":")
    if not colon:
        return f"Model: {code(model)}, {BUILT_IN.get(model, 'at the agent')}."
    return f"Model: {code(name)}, of the provider {code(provider)}."


def _changed(kit: Kit, settings: ChatSettings) -> str:
    default = ChatSettings()
    names = [
        key
        for key in SETTINGS
        if key in kit.surface.settings and getattr(settings, key) != getattr(default, key)
    ]
    if not names:
        return "nothing is set"
    return "set are " + ", ".join(f"`{name}`" for name in names) + " (`!settings` shows them)"


async def usage(kit: Kit, asker: Asker, arguments: Sequence[str]) -> Reply:
    """`!usage`."""
    platform, me, room = kit.platform, asker.user_id, asker.place.room
    now = kit.clock.now_ms()
    today = day_start_ms(now)
    mine = await platform.usage(since_ms=today, user_id=me)
    month = await platform.usage(since_ms=today - (DAYS - 1) * DAY_MS, user_id=me)
    lines = [
        f"- You, today (UTC): {_sum(mine)}",
        f"- You, in {DAYS} days: {_sum(month)}",
    ]
    rules = await platform.rules()
    own = person_limits(rules, asker.place.surface, me)
    lines += _limits("You", own, mine)
    if kit.surface.shared:
        here = await platform.usage(since_ms=today, room=room)
        lines.insert(2, f"- This room, today: {_sum(here)}")
        lines += _limits("This room", room_limits(rules, asker.place.surface, room), here)
    if not any(line.startswith("- Limit") for line in lines):
        lines.append("- No limit is set.")
    elif own.tokens_per_day is not None:
        lines.append(f"- The day ends in {in_words(today + DAY_MS - now)}.")
    return Reply("\n".join(lines))


def _sum(used: UsageSum) -> str:
    tokens = (
        f"{counted(used.tokens, 'token')} ({used.input_tokens:,} in, {used.output_tokens:,} out)"
    )
    seconds = f"{used.seconds:,.1f}" if used.seconds < 10 else f"{used.seconds:,.0f}"
    return f"{counted(used.turns, 'question')}, {tokens}, {seconds} s of answering."


def _limits(who: str, limits: Limits, used: UsageSum) -> list[str]:
    lines = []
    for key, words in WORDS.items():
        most = getattr(limits, key)
        if most is not None:
            left = ""
            if key == "tokens_per_day":
                left = f", {max(0, most - used.tokens):,} left today"
            lines.append(f"- Limit for {who.lower()}: {most:,} {words}{left}.")
    return lines
