"""`antiphon demo`."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import click

from antiphon.cli.options import Options, path_option, prepare

EXIT_SIGNAL = 128
IMPATIENT_S = 1.0


@click.command()
@click.option("--say", metavar="TEXT", help="Send one message, print the answer, and exit.")
@click.option("--model", metavar="NAME", help="offline, local, openai:NAME, PROVIDER:NAME.")
@click.option("--new-room", is_flag=True, help="Open another room, which knows nothing yet.")
@path_option("--state-dir", help="Folder to keep the demo in, instead of the settings' state_dir.")
@click.pass_obj
def demo(
    options: Options, say: str | None, model: str | None, new_room: bool, state_dir: Path | None
) -> int:
    """Try it on this machine alone: a homeserver, the agent, and a chat through a Matrix room.

    Starts what it needs and ends it again; the next start goes on where this one ended. The model
    is the one asked for or configured, else `local` where it is installed, else `offline`."""
    if say is not None and not say.strip():
        raise click.UsageError("There is nothing to say: --say wants a text.")
    if state_dir is not None:
        os.environ["ANTIPHON_STATE_DIR"] = str(state_dir.absolute())
    source, general = prepare(options, "demo")

    from antiphon import telemetry

    # What the person's own client has to say belongs on no screen; the bot's log is in a file.
    telemetry.configure("error", general.log_format, process="demo")

    from antiphon.demo import app
    from antiphon.settings import AgentSettings, section

    agent = section(source, "agent", AgentSettings)
    request = app.Request(say=say, model=model, new_room=new_room)
    return asyncio.run(_until_interrupted(app.run(request, source, general, agent)))


async def _until_interrupted(work: Coroutine[Any, Any, int]) -> int:
    """Runs `work`; SIGINT, SIGTERM and SIGHUP cancel it, and are then its exit code (128 + n)."""
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(work)
    got: list[int] = []

    impatient_at = 0.0

    def interrupt(number: int) -> None:
        nonlocal impatient_at
        # One Ctrl-C can arrive twice (from the terminal and from what started us), and must not
        # cut the clean end short; a second one later may.
        if not got or loop.time() >= impatient_at:
            task.cancel()
        if not got:
            impatient_at = loop.time() + IMPATIENT_S
        got.append(number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, interrupt, number)
    try:
        return await task
    except asyncio.CancelledError:
        if not got:
            raise
        return EXIT_SIGNAL + got[0]
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
