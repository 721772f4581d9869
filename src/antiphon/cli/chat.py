"""`antiphon chat`: the terminal as a surface."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from antiphon.cli.options import Options, master_of, path_option, prepare

if TYPE_CHECKING:
    from antiphon.settings import AgentSettings, General, Source

EXIT_SIGNAL = 128
FOLDER = "terminal"
LOG_KEPT_BYTES = 2_000_000
ENDING_S = 15.0
"""Longest wait for the agent of an earlier chat to end."""


@click.command()
@click.option("--say", metavar="TEXT", help="Say one thing, print the answer, and exit.")
@click.option("--json", "as_json", is_flag=True, help="With --say: one JSON object.")
@click.option("--new", is_flag=True, help="Begin a new conversation.")
@click.option("--model", metavar="NAME", help="offline, local, openai:NAME, PROVIDER:NAME.")
@path_option("--state-dir", help="State folder, instead of the settings' state_dir.")
@click.pass_obj
def chat(
    options: Options,
    say: str | None,
    as_json: bool,
    new: bool,
    model: str | None,
    state_dir: Path | None,
) -> int:
    """Talk to the agent in this terminal, without Matrix. It remembers you the next time.

    With `[agent] url` set it talks to that agent, else to one of its own, which it starts and ends.
    Ctrl-C stops an answer, Ctrl-D leaves. Exit codes of --say: 0 answered, 1 the answer is an error
    or the agent did not answer, 2 settings, 130 stopped."""
    if say is not None and not say.strip():
        raise click.UsageError("There is nothing to say: --say wants a text.")
    if as_json and say is None:
        raise click.UsageError("--json goes with --say.")
    if state_dir is not None:
        os.environ["ANTIPHON_STATE_DIR"] = str(state_dir.absolute())
    source, general = prepare(options, "chat")

    import msgspec

    from antiphon import telemetry
    from antiphon.adapter.terminal import app
    from antiphon.db import StateLock
    from antiphon.settings import ChatFileSettings, section

    # Between question and answer no log line belongs; what is wrong is said.
    telemetry.configure("error", general.log_format, process="chat")
    folder = general.state_path() / FOLDER
    own = msgspec.structs.replace(general, state_dir=str(folder))
    request = app.Request(say=say, model=model, new=new, as_json=as_json)
    settings, master = section(source, "chat", ChatFileSettings), master_of(source)

    async def work() -> int:
        with StateLock.acquire(folder, "chat", what="A chat in a terminal"):
            async with _agent(source, own, model) as (agent, patience_s, started):
                asked = msgspec.structs.replace(request, model=None) if started else request
                return await app.run(
                    asked, own, agent, settings, master, answer_timeout_s=patience_s
                )

    return asyncio.run(_until_ended(work()))


@asynccontextmanager
async def _agent(
    source: Source, own: General, model: str | None
) -> AsyncIterator[tuple[AgentSettings, float, bool]]:
    """How the agent is reached, the seconds without a sign of it after which it is given up, and
    whether it was started here, with this model."""
    from antiphon.clock import SystemChance
    from antiphon.demo import models
    from antiphon.errors import PlatformError
    from antiphon.run import pair
    from antiphon.run.child import Child
    from antiphon.run.policy import Backoff
    from antiphon.settings import AgentSettings, Secret, Source, section

    named = section(source, "agent", AgentSettings, only=("url", "token"))
    if named.url:
        yield named, AgentSettings().deadline_s + 30, False
        return
    full = section(source, "agent", AgentSettings)
    chosen = models.choose(model, source, full)
    between = pair.link(Source({}, None, {}), AgentSettings(), own.state_path(), SystemChance())
    env = {
        **os.environ,
        "ANTIPHON_STATE_DIR": own.state_dir,
        "ANTIPHON_AGENT__DATABASE": "",
        "ANTIPHON_AGENT__TOKENS": "{}",
        "ANTIPHON_AGENT__MODEL": chosen,
    }
    await _until_free(own)
    stop = asyncio.Event()
    said = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    if said:
        click.echo(f"Starting the agent ({chosen})…", err=True, nl=False)
    log = own.state_path() / "agent.log"
    with _log_file(log) as write:
        child = Child(
            pair.agent_spec(source.path, env, between),
            log_line=lambda line: click.echo(line, file=write),
            on_death=lambda death: click.echo(f"died: {death}", file=write),
            backoff=Backoff(first_tries=3),
        )
        async with asyncio.TaskGroup() as group:
            running = group.create_task(child.run(stop), name="agent")
            ready = group.create_task(child.ready.wait(), name="ready")
            try:
                await asyncio.wait({running, ready}, return_when=asyncio.FIRST_COMPLETED)
                if not ready.done():
                    await running  # it says why
                    raise PlatformError(f"The agent did not start. Its log: {log}")
                if said:
                    click.echo("\r\x1b[2K", err=True, nl=False)
                token = between.token_file.read_text(encoding="utf-8").strip()
                agent = AgentSettings(url=between.url, token=Secret(token))
                yield agent, full.deadline_s + 30, True
            finally:
                ready.cancel()
                stop.set()


async def _until_free(own: General) -> None:
    """Waits for the agent of a chat that was killed: it ends by itself in a moment."""
    from antiphon.clock import SystemClock
    from antiphon.db.lock import holder

    clock = SystemClock()
    until = clock.monotonic() + ENDING_S
    while holder(own.state_path(), "agent") is not None and clock.monotonic() < until:
        await clock.sleep(0.1)


def _log_file(log: Path) -> Any:
    """The agent's log (0600), begun anew when it has become large."""
    if log.is_file() and log.stat().st_size > LOG_KEPT_BYTES:
        log.unlink()
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    return os.fdopen(fd, "a", encoding="utf-8", buffering=1)


async def _until_ended(work: Coroutine[Any, Any, int]) -> int:
    """Runs `work`; SIGTERM and SIGHUP end it, and are then its exit code (128 + n): what is open
    stays so, and is finished at the next start."""
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(work)
    got: list[int] = []

    def end(number: int) -> None:
        got.append(number)
        task.cancel()

    numbers = (signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, end, number)
    try:
        return await task
    except asyncio.CancelledError:
        if not got:
            raise
        return EXIT_SIGNAL + got[0]
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
