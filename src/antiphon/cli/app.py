"""The command `antiphon` and what all its commands share: options, errors, exit codes.

Every error is one line on standard error, `antiphon: SENTENCE`. Exit codes: 0 done, 1 failed,
2 wrong usage or settings (starting again would not help), 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from antiphon.cli import agent, chat, demo, init, master, matrix, run
from antiphon.cli.options import Options, path_option
from antiphon.errors import EXIT_FAILED, EXIT_OK, AntiphonError

EXIT_INTERRUPTED = 130

TWO_WAYS = """\b
Two ways to begin:
  antiphon demo     a homeserver, the agent and a chat in this terminal, all on this machine
  antiphon init     settings for a bot account on your own homeserver; then `antiphon run`"""


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    from importlib.metadata import version

    click.echo(f"antiphon {version('antiphon')}")
    ctx.exit()


@click.group(
    name="antiphon",
    epilog=TWO_WAYS,
    no_args_is_help=False,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@path_option(
    "--config",
    help="Settings file; else ./antiphon.toml, else the user's configuration folder.",
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Show the version and exit.",
)
@click.option("--die-with-parent", is_flag=True, hidden=True)
@click.pass_context
def antiphon(ctx: click.Context, config: Path | None, die_with_parent: bool) -> None:
    """An AI agent in Matrix rooms: every message gets exactly one answer, streamed, from an agent
    that remembers that chat and no other."""
    if die_with_parent:
        from antiphon.run.parent import die_with_parent as watch

        watch()
    ctx.obj = Options(config)
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


antiphon.add_command(demo.demo)
antiphon.add_command(chat.chat)
antiphon.add_command(init.init)
antiphon.add_command(run.run)
antiphon.add_command(agent.agent)
antiphon.add_command(matrix.matrix)
antiphon.add_command(master.master)


def main() -> None:
    """The entry point: runs the command of `sys.argv` and exits with its code."""
    sys.exit(invoke(sys.argv[1:]))


def invoke(args: Sequence[str]) -> int:
    """Runs a command line; errors become their sentence on standard error. Returns the exit
    code."""
    try:
        result: Any = antiphon.main(list(args), prog_name="antiphon", standalone_mode=False)
    except click.exceptions.Abort:
        click.echo(err=True)
        return EXIT_INTERRUPTED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        return _say(_with_help(error), error.exit_code)
    except AntiphonError as error:
        return _say(error.message, error.exit_code)
    except BaseExceptionGroup as group:
        known = first_known(group)
        return _say(known.message, known.exit_code) if known else _crashed(group)
    except BrokenPipeError:
        # Who read our output has gone; the descriptor is replaced so that exit stays quiet.
        sys.stdout = None
        return EXIT_FAILED
    except Exception as error:  # noqa: BLE001 - the last line of the process: logged in full
        return _crashed(error)
    return result if isinstance(result, int) else EXIT_OK


def first_known(group: BaseExceptionGroup[BaseException]) -> AntiphonError | None:
    """The first error with a sentence, where a task group brought nothing worse along."""
    ours, others = group.split(AntiphonError)
    if ours is None or (others is not None and others.split(KeyboardInterrupt)[1] is not None):
        return None
    leaf: BaseException = ours
    while isinstance(leaf, BaseExceptionGroup):
        leaf = leaf.exceptions[0]
    assert isinstance(leaf, AntiphonError)
    return leaf


def _with_help(error: click.ClickException) -> str:
    sentence = error.format_message().rstrip()
    if isinstance(error, click.UsageError) and error.ctx is not None:
        sentence += f" Try `{error.ctx.command_path} --help`."
    return sentence


def _say(sentence: str, exit_code: int) -> int:
    click.echo(f"antiphon: {sentence}", err=True)
    return exit_code


def _crashed(error: BaseException) -> int:
    import structlog

    from antiphon import telemetry

    if not structlog.is_configured():
        telemetry.configure("info", "auto", process="cli")
    telemetry.logger("cli").error("crashed", exc_info=error)
    return _say(
        f"Something unexpected went wrong ({type(error).__name__}): this is a fault in Antiphon. "
        "The log above has the details; please report them.",
        EXIT_FAILED,
    )
