"""`antiphon master serve`, and the group of its other commands."""

from __future__ import annotations

import click

from antiphon.cli.master_extra import needed
from antiphon.cli.master_import import import_
from antiphon.cli.master_token import token
from antiphon.cli.options import Options, prepare
from antiphon.cli.service import announce, run_service


@click.group()
def master() -> None:
    """The control plane: users, chats, sessions and settings of all surfaces, over HTTP."""


@master.command()
@click.pass_obj
def serve(options: Options) -> None:
    """Serve the HTTP API (/openapi.json) and /health until stopped; prints `ready URL`."""
    source, general = prepare(options, "master")

    from antiphon.settings import MasterSettings, section

    own = section(source, "master", MasterSettings)
    needed()

    from antiphon.master.app import serve as serve_master

    run_service(lambda stop: serve_master(general, own, ready=announce, stop=stop))


master.add_command(token)
master.add_command(import_)
