"""`TerminalWorld`: the terminal's parts over the shipped fake platform, for tests; give one
platform and one folder to two worlds to test what outlives a process."""

from __future__ import annotations

import io
from pathlib import Path

from antiphon.adapter.terminal.desk import NOT_SHOWN, SURFACE, Desk
from antiphon.adapter.terminal.journal import Journal
from antiphon.adapter.terminal.screen import Screen
from antiphon.clock import SystemChance
from antiphon.core.access import AllowList
from antiphon.core.chat_settings import SETTINGS
from antiphon.core.commands import STANDARD
from antiphon.core.ids import UserId
from antiphon.core.roles import Access
from antiphon.sdk.commander import Commander, Surface
from antiphon.testing.clock import FakeClock
from antiphon.testing.command_world import ScriptedPlatform

ME = UserId("@me:terminal")


class Terminal(io.StringIO):
    """A text stream that says that a person looks at it."""

    def isatty(self) -> bool:
        return True


class TerminalWorld:
    """One life of the process. `out` and `err` have what was shown."""

    def __init__(
        self,
        folder: Path,
        platform: ScriptedPlatform | None = None,
        *,
        terminal: bool = False,
        model: str | None = None,
    ):
        self.clock = FakeClock()
        self.platform = platform or ScriptedPlatform(SURFACE, clock=self.clock)
        self.out: io.StringIO = Terminal() if terminal else io.StringIO()
        self.err = io.StringIO()
        self.screen = Screen(self.out, self.err, plain=True)
        self.journal = Journal(folder)
        access = Access(admins=AllowList((ME,)))
        catalogue = STANDARD.without("allow", "deny")
        surface = Surface(
            SURFACE, shared=False, catalogue=catalogue, settings=frozenset(SETTINGS) - NOT_SHOWN
        )
        commander = Commander(self.platform, lambda: access, self.clock, surface)
        self.desk = Desk(
            ME,
            self.platform,
            commander,
            access,
            catalogue,
            self.journal,
            clock=self.clock,
            chance=SystemChance(),
            model=model,
        )
