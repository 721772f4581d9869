"""Commands: what is one, what is talk, and what the bot says to them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.commands import (
    STANDARD,
    Argument,
    Catalogue,
    Command,
    ParsedCommand,
    UnknownCommand,
    Who,
    WrongUsage,
    help_text,
    parse,
    replies,
)

RENAME = Command(name="entitle", help="Renames.", arguments=(Argument("name", rest=True),))
QUOTA = Command(
    name="budget",
    help="Limits.",
    arguments=(Argument("user"), Argument("tokens", optional=True)),
    who=Who.ADMIN,
)
MORE = Catalogue((*STANDARD.commands, RENAME, QUOTA))


def parsed(text: str) -> ParsedCommand:
    result = parse(text, MORE)
    assert isinstance(result, ParsedCommand), result
    return result


@pytest.mark.parametrize("text", ["!stop", "!STOP", "!Stop ", "!stop\n", "!stop!!", "!cancel"])
def test_a_command_is_read_in_any_case_by_any_of_its_names(text: str) -> None:
    assert parsed(text).name == "stop"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "!",
        "!!",
        "!?",
        "! really",
        "!!stop",
        "!1",
        "!=",
        " !stop",
        "\n!stop",
        "please !stop",
        "> !stop",
        "* !stop",
        "!wow!",
        "!(not true)",
        "!new/old",
        "!a" + "b" * 40,
        "\\!stop",
        "\uff01stop",
    ],
)
def test_talk_is_no_command(text: str) -> None:
    assert parse(text) is None


def test_an_unknown_word_is_answered_with_the_nearest_command() -> None:
    unknown = parse("!nwe please")
    assert unknown == UnknownCommand("nwe")
    assert isinstance(unknown, UnknownCommand)
    assert replies.unknown_reply(unknown) == "There is no command `!nwe`. Did you mean `!new`?"


def test_an_unknown_word_that_is_near_to_nothing_points_to_help() -> None:
    reply = replies.unknown_reply(UnknownCommand("important"))
    assert reply == "There is no command `!important`. `!help` shows the commands."


def test_a_command_of_admins_is_hinted_at_only_to_admins() -> None:
    assert "!budget" not in replies.unknown_reply(UnknownCommand("bugdet"), False, MORE)
    assert "!budget" in replies.unknown_reply(UnknownCommand("bugdet"), True, MORE)


@pytest.mark.parametrize("text", ["!new what is 2+2?", "!stop now", "!help a b", "!entitle"])
def test_wrong_arguments_are_answered_with_the_usage(text: str) -> None:
    result = parse(text, MORE)
    assert isinstance(result, WrongUsage)
    assert result.command.usage in replies.usage_reply(result)


def test_the_last_argument_may_take_the_rest_of_the_message() -> None:
    assert parsed("!entitle  My new\nname ").arguments == ("My new\nname",)
    assert parsed("!budget @a:b 5").arguments == ("@a:b", "5")
    assert parsed("!budget @a:b").arguments == ("@a:b",)


def test_usage_shows_what_is_optional_and_what_takes_the_rest() -> None:
    assert (RENAME.usage, QUOTA.usage) == ("!entitle NAME…", "!budget USER [TOKENS]")


def test_only_stop_acts_at_once() -> None:
    assert {c.name for c in STANDARD.commands if c.immediate} == {"stop"}


def test_the_commands_that_are_promised_are_declared() -> None:
    everybody = "help new sessions rename archive stop retry settings whoami usage export forget-me"
    admins = "status allow deny quota"
    assert [c.name for c in STANDARD.visible(False)] == everybody.split()
    assert [c.name for c in STANDARD.commands if c.who is Who.ADMIN] == admins.split()


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("!sesions", "sessions"),
        ("!renme x", "rename"),
        ("!forgetm", "forget-me"),
        ("!setings model x", "settings"),
        ("!retri", "retry"),
        ("!useage", "usage"),
    ],
)
def test_a_typo_is_answered_with_the_nearest_name(typed: str, meant: str) -> None:
    unknown = parse(typed)
    assert isinstance(unknown, UnknownCommand)
    hint = replies.unknown_reply(unknown)
    assert any(f"Did you mean `!{n}`?" in hint for n in _names(meant)), hint


def _names(name: str) -> tuple[str, ...]:
    command = STANDARD.find(name)
    assert command is not None
    return (command.name, *command.aliases)


def test_a_surface_may_leave_commands_out() -> None:
    fewer = STANDARD.without("allow", "deny")
    assert isinstance(parse("!allow @a:b", fewer), UnknownCommand)
    assert "!allow" not in help_text(True, fewer)
    assert "!quota" in help_text(True, fewer)


def test_help_lists_what_this_person_may_do() -> None:
    for command in MORE.commands:
        assert f"`{command.usage}`" in help_text(True, MORE)
    assert "!budget" not in help_text(False, MORE)
    assert "!new" in help_text(False, MORE)


def test_help_of_one_command_tells_its_details_and_aliases() -> None:
    reply = replies.command_help("!New", is_admin=False)
    assert "in order" in reply
    assert "`!clear`" in reply


@pytest.mark.parametrize("name", ["budget", "nothing", "`**"])
def test_help_of_what_one_may_not_use_is_the_list(name: str) -> None:
    assert replies.command_help(name, False, MORE).startswith("There is no such command.")


def test_replies_count() -> None:
    assert replies.stopped_reply(1) == "Stopped."
    assert "no question" in replies.nothing_to_retry_reply()
    assert "3 answers" in replies.stopped_reply(3)


def test_a_catalogue_with_a_name_taken_twice_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="'new'"):
        Catalogue((*STANDARD.commands, Command(name="reset", help="", aliases=("new",))))


@pytest.mark.parametrize(
    "arguments",
    [
        (Argument("a", rest=True), Argument("b")),
        (Argument("a", optional=True), Argument("b")),
    ],
)
def test_a_catalogue_with_impossible_arguments_is_a_mistake(
    arguments: tuple[Argument, ...],
) -> None:
    with pytest.raises(ValueError, match="!x"):
        Catalogue((Command(name="x", help="", arguments=arguments),))


@given(st.text())
def test_no_text_raises_and_no_command_hides_behind_other_text(text: str) -> None:
    result = parse(text, MORE)
    assert result is None or text.startswith("!")
    parse("!entitle " + text, MORE)
