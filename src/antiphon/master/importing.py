"""Moving a surface's local state into the control plane, for the command."""

from __future__ import annotations

from pathlib import Path

from antiphon.clock import Clock
from antiphon.db.lock import holder
from antiphon.errors import StateError, StateInUseError
from antiphon.master.scopes import checked_surface
from antiphon.master.tokens import BY, open_database
from antiphon.records.transfer import Imported, import_local, read_local
from antiphon.settings import General, MasterSettings

SURFACE_LOCKS = ("matrix", "chat")
"""What a surface holds in its state folder while it is at work."""


async def import_state(
    general: General, settings: MasterSettings, source: str, surface: str, *, clock: Clock
) -> Imported:
    """Takes what `source` (a file such as `state.db`, or a database URL) holds of a surface.

    `source` is not changed; the same again changes nothing. Raises StateInUseError where the
    surface is at work on it, StateError, SettingsError and DatabaseError."""
    checked_surface(surface)
    url = source if "://" in source else _url_of(Path(source))
    rows = await read_local(url, surface)
    async with open_database(general, settings) as database:
        return await import_local(database, rows, by=BY, now_ms=clock.now_ms())


def _url_of(path: Path) -> str:
    """The URL of a file that nobody is at work on."""
    path = path.expanduser().absolute()
    if not path.is_file():
        raise StateError(f"There is no file {path}. Name a surface's state.db.")
    for name in SURFACE_LOCKS:
        if holder(path.parent, name) is not None:
            raise StateInUseError(
                f"A surface is at work on {path.parent}, and what it does meanwhile would be "
                "missing. Stop it first."
            )
    return f"sqlite:///{path}"
