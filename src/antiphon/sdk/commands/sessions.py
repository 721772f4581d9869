"""`!new`, `!sessions`, `!rename`, `!archive`: the conversations of one chat, and of no other. What
people name is a number; the id of a session is no name, theirs or anybody's."""

from __future__ import annotations

from collections.abc import Sequence

from antiphon.core.chats import Session
from antiphon.core.commands.replies import new_session_reply
from antiphon.errors import PlatformError
from antiphon.sdk.commands.values import Asker, Kit, Reply
from antiphon.sdk.commands.words import code, named, when

NO_SUCH = "There is no such conversation here. `!sessions` lists them by number."
TITLE_MOST = 200
SHOWN = 50


async def new(kit: Kit, asker: Asker, arguments: Sequence[str]) -> Reply:
    """`!new`."""
    chat = await kit.platform.chat(asker.place)
    await kit.platform.new_session(chat.chat_id, asker.request_id)
    return Reply(new_session_reply())


async def sessions(kit: Kit, asker: Asker, arguments: Sequence[str]) -> Reply:
    """`!sessions [NUMBER]`."""
    chat = await kit.platform.chat(asker.place)
    known = await kit.platform.sessions(chat.chat_id)
    if not arguments:
        return Reply(_list(known, chat.session))
    session = _find(known, arguments[0])
    if session is None:
        return Reply(NO_SUCH)
    try:
        now = await kit.platform.switch_session(chat.chat_id, session.session_id, asker.request_id)
    except PlatformError as error:
        return Reply(_unless_unknown(error))
    return Reply(f"Conversation {named(now)} goes on; I remember what was said in it.")


async def rename(kit: Kit, asker: Asker, arguments: Sequence[str]) -> Reply:
    """`!rename TITLE…`."""
    title = " ".join(arguments[0].split())
    if len(title) > TITLE_MOST or not title.isprintable():
        return Reply(f"A title is one line of up to {TITLE_MOST} characters.")
    chat = await kit.platform.chat(asker.place)
    try:
        await kit.platform.rename_session(
            chat.chat_id, chat.session.session_id, title, asker.request_id
        )
    except PlatformError as error:
        return Reply(_unless_unknown(error))
    return Reply(f"This conversation is called {code(title)} now.")


async def archive(kit: Kit, asker: Asker, arguments: Sequence[str]) -> Reply:
    """`!archive [NUMBER]`."""
    chat = await kit.platform.chat(asker.place)
    session: Session | None = chat.session
    if arguments:
        session = _find(await kit.platform.sessions(chat.chat_id), arguments[0])
    if session is None:
        return Reply(NO_SUCH)
    try:
        now = await kit.platform.archive_session(chat.chat_id, session.session_id, asker.request_id)
    except PlatformError as error:
        if error.code == "conflict" and not arguments:
            # It was done under this name before, and another conversation is the current one now.
            return Reply(_archived("The conversation is archived.", chat.session))
        return Reply(_unless_unknown(error))
    return Reply(_archived(f"Conversation {named(session)} is archived.", now))


def _archived(what: str, now: Session) -> str:
    return f"{what} The current one is {named(now)}. `!sessions NUMBER` brings it back."


def _find(known: Sequence[Session], number: str) -> Session | None:
    if not (number.isascii() and number.isdigit() and len(number) < 10):
        return None
    return next((session for session in known if session.number == int(number)), None)


def _list(known: Sequence[Session], current: Session) -> str:
    lines = []
    for session in sorted(known, key=lambda s: s.number)[-SHOWN:]:
        marks = []
        if session.session_id == current.session_id:
            marks.append("**current**")
        if session.archived:
            marks.append("archived")
        about = ", ".join([f"begun {when(session.started_ms)}", *marks])
        lines.append(f"- {named(session)}: {about}")
    if len(known) > SHOWN:
        lines.insert(0, f"The last {SHOWN} of {len(known)}:\n")
    return "\n".join([*lines, "", "`!sessions NUMBER` goes on with one, `!new` begins another."])


def _unless_unknown(error: PlatformError) -> str:
    if error.code in ("unknown_session", "unknown_chat"):
        return NO_SUCH
    raise error
