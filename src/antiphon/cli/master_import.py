"""`antiphon master import`: a surface's local state, moved into the control plane."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from antiphon.cli.master_extra import master_settings
from antiphon.cli.options import Options

if TYPE_CHECKING:
    from antiphon.records.transfer import Imported


@click.command("import")
@click.argument("source", metavar="STATE.db")
@click.option("--surface", default="matrix", show_default=True, help="Whose state it is.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as a JSON object.")
@click.pass_obj
def import_(options: Options, source: str, surface: str, as_json: bool) -> None:
    """Move what a surface has kept by itself into the control plane.

    STATE.db is the file state.db in the surface's state folder (or a database URL); it is only
    read, and the surface must be stopped. What the control plane has already wins, and is told;
    doing it again changes nothing. Afterwards give the surface [master] url and token."""
    general, settings = master_settings(options)

    from antiphon.clock import SystemClock
    from antiphon.master.importing import import_state

    found = asyncio.run(import_state(general, settings, source, surface, clock=SystemClock()))
    _report(found, as_json)


def _report(found: Imported, as_json: bool) -> None:
    import msgspec

    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
        return
    for title, counts in (("taken", found.taken), ("there already", found.kept)):
        said = ", ".join(f"{count} {table}" for table, count in counts.items() if count)
        click.echo(f"{title}: {said or 'nothing'}")
    for sentence in found.conflicts:
        click.echo(f"conflict: {sentence}")
