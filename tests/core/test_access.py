"""The allow-list decides by whole Matrix IDs and anchored globs, and says no by default."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.access import AllowList, glob_matches
from antiphon.errors import SettingsError


def test_nobody_is_allowed_by_default() -> None:
    nobody = AllowList(())
    assert not nobody.allows("@alice:example.org")
    assert nobody.nobody
    assert not nobody.everybody


def test_a_whole_id_allows_exactly_that_user() -> None:
    allow = AllowList(["@alice:example.org"])
    assert allow.allows("@alice:example.org")
    assert not allow.nobody
    for other in (
        "@Alice:example.org",
        "@alice:Example.org",
        "@alice:example.org.evil",
        "@alice:example.org:8448",
        "@alice2:example.org",
        "@\u0430lice:example.org",  # Cyrillic
        "@alice\u200b:example.org",  # a zero-width space
        "@ALICE:example.org",
    ):
        assert not allow.allows(other), other


def test_a_server_glob_means_that_server_and_no_other() -> None:
    allow = AllowList(["@*:example.org"])
    assert allow.allows("@alice:example.org")
    assert allow.allows("@a.b/c=d+e_f:example.org")
    for other in (
        "@evil:evil.example.org",
        "@evil:evilexample.org",
        "@x:example.org.evil",
        "@x:example.org:8448",
        "@x:evil:example.org",  # a colon more: the server is `evil:example.org`, which is none
        "@x:evil.net:example.org",
        "@x:example.org\n",
        "@x:example.org ",
        "@x:example\u2024org",  # a dot's look-alike
        "x:example.org",
        "@x",
        "@:",
        "",
    ):
        assert not allow.allows(other), other


def test_subdomains_are_allowed_only_where_the_pattern_says_so() -> None:
    allow = AllowList(["@*:*.example.org"])
    assert allow.allows("@a:chat.example.org")
    assert not allow.allows("@a:example.org")
    assert not allow.allows("@a:chat.example.org.evil")


def test_a_question_mark_is_one_character() -> None:
    allow = AllowList(["@bot?:example.org"])
    assert allow.allows("@bot1:example.org")
    assert not allow.allows("@bot:example.org")
    assert not allow.allows("@bot12:example.org")


def test_regex_characters_in_a_pattern_mean_themselves() -> None:
    allow = AllowList(["@a.c:example.org", "@[a-z]+*:example.org"])
    assert not allow.allows("@abc:example.org")
    assert not allow.allows("@abcdef:example.org")
    assert allow.allows("@[a-z]+x:example.org")


def test_a_star_allows_every_user_but_nothing_that_is_no_user_id() -> None:
    everybody = AllowList(["*"])
    assert everybody.everybody
    assert everybody.allows("@alice:example.org")
    assert everybody.allows("@alice:[2001:db8::1]:8448")
    assert everybody.allows("@:example.org")  # an empty name: the specification has servers take it
    for none in ("", "*", "alice", "@alice", "@a:", "@a b:x.org", "@a\x00:x.org", "@a:x.org/path"):
        assert not everybody.allows(none), none
    assert not everybody.allows("@" + "a" * 250 + ":x.org")
    assert not everybody.allows("@" + "\u00e4" * 130 + ":x.org")  # counted in bytes
    assert not everybody.allows("@\ud800:x.org")


def test_ports_and_addresses_are_part_of_the_server_name() -> None:
    allow = AllowList(["@*:localhost:8448", "@*:[::1]", "@*:10.0.0.1"])
    assert allow.allows("@a:localhost:8448")
    assert not allow.allows("@a:localhost")
    assert allow.allows("@a:[::1]")
    assert allow.allows("@a:10.0.0.1")


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("alice:example.org", "did you mean '@alice:example.org'"),
        ("*:example.org", "did you mean '@*:example.org'"),
        ("example.org", "did you mean '@*:example.org'"),
        ("@alice", "names no server"),
        ("@*", "names no server"),
        ("", "@user:server"),
        ("@:example.org", "@user:server"),
        ("!room:example.org", "names a room"),
        ("#room:example.org", "names a room"),
        ("@a:example.org @b:example.org", "one pattern each"),
        ("@a:exa mple", "one pattern each"),
        ("@a:b/c", "@user:server"),
        ("@" + "a" * 300 + ":b", "@user:server"),
        ("@a\ud800:b", "@user:server"),
    ],
)
def test_an_invalid_pattern_is_named_with_the_right_form(pattern: str, hint: str) -> None:
    with pytest.raises(SettingsError) as caught:
        AllowList(["@fine:example.org", pattern], setting="[matrix] admins")
    assert caught.value.message.startswith(f"[matrix] admins: {pattern!r} ")
    assert hint in caught.value.message


def test_spaces_around_a_pattern_are_ignored() -> None:
    assert AllowList([" @alice:example.org "]).allows("@alice:example.org")


def test_a_pattern_full_of_stars_costs_no_more_than_its_length() -> None:
    """A regular expression would take ages here."""
    assert not glob_matches("*a" * 100 + "b", "a" * 250)


@given(st.text(max_size=300))
def test_no_text_raises_or_slips_through_a_server_glob(text: str) -> None:
    allowed = AllowList(["@*:example.org"]).allows(text)
    assert not allowed or (text.startswith("@") and text.split(":") == [text[:-12], "example.org"])


@given(st.text("ab*?", max_size=8), st.text("ab", max_size=8))
def test_the_glob_agrees_with_its_definition(pattern: str, text: str) -> None:
    def matches(p: str, t: str) -> bool:
        if not p:
            return not t
        if p[0] == "*":
            return any(matches(p[1:], t[i:]) for i in range(len(t) + 1))
        return bool(t) and p[0] in ("?", t[0]) and matches(p[1:], t[1:])

    assert glob_matches(pattern, text) == matches(pattern, text)
