"""Looking at what a control plane keeps, without opening anything here: for plans, for checks."""

from __future__ import annotations

from antiphon.core.ids import UserId
from antiphon.errors import MasterUnreachableError
from antiphon.sdk.interface import KeptChat
from antiphon.sdk.remote_api import ControlPlane
from antiphon.sdk.remote_http import Http
from antiphon.settings import MasterSettings

ASK_S = 10.0


async def kept_there(
    master: MasterSettings, surface: str, account: UserId
) -> tuple[KeptChat, ...] | None:
    """The chats of an account with all their threads, by room; None where the control plane is
    away. Raises SettingsError, MasterRefusedError, and PlatformError where it refuses."""
    async with Http(master.url, master.token.reveal()) as http:
        plane = ControlPlane(http, surface, ask_s=ASK_S, gate=lambda: None)
        try:
            found = [
                KeptChat(
                    chat.place,
                    tuple(one.thread_id for one in await plane.sessions(chat.chat_id)),
                )
                for chat in await plane.chats(account)
            ]
        except MasterUnreachableError:
            return None
    return tuple(sorted(found, key=lambda kept: kept.place.room))


async def answers(master: MasterSettings, surface: str) -> str:
    """A sentence that says that it answers and accepts our token. Raises SettingsError,
    MasterUnreachableError, MasterRefusedError, and PlatformError where it refuses."""
    async with Http(master.url, master.token.reveal()) as http:
        plane = ControlPlane(http, surface, ask_s=ASK_S, gate=lambda: None)
        rules = await plane.rules("", 0)
        return (
            f"The control plane at {plane.url} answers: {len(rules.grants)} roles and "
            f"{len(rules.settings)} settings."
        )
