"""The commands that there are, one declaration each; `docs/commands.md` is made of them. A surface
may leave some out (`Catalogue.without`)."""

from __future__ import annotations

from typing import Final

from antiphon.core.commands.catalogue import Argument, Catalogue, Command, Who

STANDARD: Final = Catalogue(
    (
        Command(
            name="help",
            aliases=("commands",),
            arguments=(Argument("command", optional=True),),
            help="Shows what you can say to me.",
            details="`!help COMMAND` explains one command.",
        ),
        Command(
            name="new",
            aliases=("clear",),
            help="Begins a new conversation: I no longer remember what was said before.",
            details="It is taken in order: what you asked before it is still answered, with the "
            "old memory. Nothing is deleted: `!sessions` leads back to the old one.",
        ),
        Command(
            name="sessions",
            aliases=("switch",),
            arguments=(Argument("number", optional=True),),
            help="Lists the conversations of this chat, or goes on with one of them.",
            details="`!sessions 2` goes on with number 2, also where it was archived.",
        ),
        Command(
            name="rename",
            aliases=("title",),
            arguments=(Argument("title", rest=True),),
            help="Gives the current conversation a title.",
            details="It is shown by `!sessions`.",
        ),
        Command(
            name="archive",
            arguments=(Argument("number", optional=True),),
            help="Puts a conversation out of sight; the current one, unless you name another.",
            details="Where it was the current one a new one begins. `!sessions NUMBER` brings it "
            "back.",
        ),
        Command(
            name="stop",
            aliases=("cancel",),
            immediate=True,
            help="Stops the answer that is being written here.",
            details="It acts at once. What has been written so far stays.",
        ),
        Command(
            name="retry",
            aliases=("again",),
            help="Asks your last question here once more.",
            details="In a room the new answer takes the place of the old one; in a terminal it "
            "comes below.",
        ),
        Command(
            name="settings",
            aliases=("set",),
            arguments=(
                Argument("name", optional=True),
                Argument("value", optional=True, rest=True),
            ),
            help="Shows, explains and changes settings.",
            details="`!settings` lists them, `!settings NAME` explains one, "
            "`!settings NAME VALUE [for me|room|surface|everywhere]` sets it, "
            "`!settings NAME reset [for …]` takes that back, `!settings reset [for …]` all of it. "
            "Without `for` it is for you, or for the room where it can't be for you alone.",
        ),
        Command(
            name="whoami",
            help="Shows your id and role, what applies to you here, and which model answers.",
        ),
        Command(
            name="usage",
            help="Shows what you have used today and in 30 days, and what is left.",
        ),
        Command(
            name="export",
            help="Shows what I remember of this conversation, and counts of what is kept about "
            "you.",
            details="It is written here, where everybody in the room can read it.",
        ),
        Command(
            name="forget-me",
            aliases=("forgetme",),
            arguments=(Argument("yes", optional=True),),
            help="Erases what is kept about you and what you said to me.",
            details="`!forget-me` says what will go; `!forget-me yes` does it. The messages in the "
            "room are not mine to delete.",
        ),
        Command(
            name="status",
            who=Who.ADMIN,
            help="Shows how it stands with the agent, with what is kept, and with me.",
        ),
        Command(
            name="allow",
            who=Who.ADMIN,
            arguments=(Argument("id", optional=True), Argument("reset", optional=True)),
            help="Lets somebody talk to me, or lists to whom a role was given.",
            details="`!allow @user:server` or a glob such as `!allow @*:server`; "
            "`!allow ID reset` takes back what was given or denied. What the settings file says "
            "stands above it, and who is blocked stays so until `!allow` or a reset.",
        ),
        Command(
            name="deny",
            aliases=("block",),
            who=Who.ADMIN,
            arguments=(Argument("id"), Argument("reset", optional=True)),
            help="Blocks somebody, whatever else allows them.",
            details="`!deny @user:server` or a glob; `!deny ID reset` takes it back.",
        ),
        Command(
            name="quota",
            who=Who.ADMIN,
            arguments=(
                Argument("who", optional=True),
                Argument("limit", optional=True),
                Argument("value", optional=True),
            ),
            help="Shows and sets limits: turns a minute, waiting turns, tokens a day.",
            details="`!quota WHO LIMIT VALUE`: WHO is `@user:server`, `room`, `surface` or "
            "`everywhere` (the last two: for each person); LIMIT is `turns_per_minute`, "
            "`queued_turns` or `tokens_per_day`; VALUE a number, or `off`.",
        ),
    )
)
"""In the order in which `!help` shows them."""
