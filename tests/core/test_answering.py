"""A message is for the bot by mention, reply or command; its text counts only without mentions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.answering import Heard, is_addressed, is_answered
from antiphon.core.ids import UserId

BOT = UserId("@bot:example.org")


def addressed(text: str, mentions: tuple[str, ...] | None = None, name: str = "Antiphon") -> bool:
    return is_addressed(Heard(text, mentions), BOT, name)


def test_everything_is_answered_where_that_is_set() -> None:
    assert is_answered("always", Heard("hello all"), BOT)
    assert not is_answered("addressed", Heard("hello all"), BOT)


def test_commands_and_replies_are_answered_in_any_case() -> None:
    assert is_answered("addressed", Heard("!new", command=True), BOT)
    assert is_answered("addressed", Heard("and why?", (), replies_to_bot=True), BOT)


def test_mentions_decide_where_a_client_sends_them() -> None:
    assert addressed("what do you think?", (BOT,))
    assert not addressed("@bot:example.org Antiphon", ()), "it says that nobody is meant"
    assert not addressed("@bot:example.org", ("@other:example.org",))
    assert not addressed("hi", ("@BOT:example.org", "@bot:example.org "))


@pytest.mark.parametrize(
    "text",
    [
        "@bot:example.org what time is it?",
        "what do you think, @bot:example.org?",
        "(@bot:example.org)",
        "I asked @bot:example.org.",
        "@bot:example.org: hello",
        "Antiphon, hello",
        "hello antiphon!",
        "ANTIPHON?",
        "*Antiphon*",
    ],
)
def test_without_mentions_the_whole_id_or_name_in_the_text_counts(text: str) -> None:
    assert addressed(text)


@pytest.mark.parametrize(
    "text",
    [
        "antiphonal music",
        "myAntiphon",
        "@bot:example.org.evil hello",
        "@bot:example.orgx",
        "@bot:example.org:8448",
        "x@bot:example.org",
        "@robot:example.org",
        "@@bot:example.org",
        "bot:example.org",
        "@B\u043et:example.org",
        "> <@bot:example.org> Antiphon said this\n\nno, it did not",
        ">Antiphon",
        "",
    ],
)
def test_a_part_of_a_word_or_a_quote_does_not(text: str) -> None:
    assert not addressed(text)


@pytest.mark.parametrize("name", ["", " ", "a", "."])
def test_a_name_too_short_to_call_somebody_is_not_looked_for(name: str) -> None:
    assert not addressed("a . b", name=name)


def test_a_name_is_text_and_no_pattern() -> None:
    assert addressed("ask C++ (bot) please", name="C++ (bot)")
    assert not addressed("ask anybody", name=".*")
    assert addressed("J\u00fcrgen, bitte", name="J\u00fcrgen")


@given(st.text(), st.text())
def test_no_text_is_refused_by_an_error(text: str, name: str) -> None:
    addressed(text, name=name)
