"""`antiphon matrix verify`: has the running bot verify a person, by the word of who types it."""

from __future__ import annotations

from typing import Any

import click

from antiphon.cli.options import Options, prepare
from antiphon.errors import EXIT_FAILED, EXIT_OK


@click.command()
@click.argument("user")
@click.option("--room", metavar="ROOM_ID", help="Ask in this room; else all of the user's devices.")
@click.pass_obj
def verify(options: Options, user: str, room: str | None) -> int:
    """Let the bot verify a person: compare what both sides show, and say whether it is the same.

    Speaks to the adapter that runs on this state. USER (@name:server) gets a request and accepts
    it; then both sides show emoji. Compare them with the person by another way than Matrix: your
    word makes the bot trust their identity. Exit code 1 when nothing was verified."""
    _, general = prepare(options, "matrix")

    from antiphon.adapter.matrix.verify_call import Call

    with Call(general.state_path()) as call:
        call.ask(user, room)
        while True:
            news = call.news()
            if news["event"] == "asked":
                click.echo(f"{user} is asked. Waiting until it is accepted there (Ctrl-C ends it).")
            elif news["event"] == "compare":
                click.echo("\n".join(_shown(news)))
                call.word(same=click.confirm("Does the other side show the same?", default=False))
            else:
                return _ended(user, news)


def _shown(news: dict[str, Any]) -> list[str]:
    emoji = [f"    {symbol}  {name}" for symbol, name in news["emoji"]]
    numbers = " ".join(str(number) for number in news["decimals"])
    return ["The bot shows:", "", *emoji, "", f"    or {numbers}", ""]


def _ended(user: str, news: dict[str, Any]) -> int:
    if news["event"] == "done":
        if news["identity"]:
            click.echo(f"Verified: the bot trusts the identity of {user}.")
        else:
            click.echo(
                f"The device {news['device']} of {user} is theirs. They have no identity that the "
                "bot could trust (no cross-signing)."
            )
        return EXIT_OK
    code = f" ({news['code']})" if news.get("code") else ""
    reason = str(news["reason"]).rstrip(".") or "it was cancelled"
    click.echo(f"Nothing was verified: {reason}{code}.", err=True)
    return EXIT_FAILED
