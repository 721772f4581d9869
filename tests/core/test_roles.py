"""Roles are decided by whole ids: blocked, then the file, then what was given; default nobody."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.access import AllowList
from antiphon.core.people import Grant, Role
from antiphon.core.roles import Access, RoomList
from antiphon.errors import SettingsError

ADA, BOB, EVE = "@ada:example.org", "@bob:example.org", "@eve:evil.example"


def test_nobody_has_a_role_by_default() -> None:
    access = Access()
    assert access.role_of(ADA) is None
    assert not access.may_talk(ADA)
    assert not access.may_invite(ADA)
    assert not access.is_admin(ADA)
    assert access.nobody


def test_the_file_gives_roles_and_admins_may_talk_without_being_named_twice() -> None:
    access = Access(allow=AllowList([BOB]), admins=AllowList([ADA]))
    assert access.role_of(ADA) is Role.ADMIN
    assert access.may_talk(ADA)
    assert access.role_of(BOB) is Role.USER
    assert not access.is_admin(BOB)
    assert not access.nobody


@pytest.mark.parametrize("where", ["file", "given"])
def test_blocked_wins_over_everything(where: str) -> None:
    in_file = AllowList([ADA]) if where == "file" else AllowList(())
    grants = [Grant(ADA, Role.ADMIN), Grant(ADA, Role.USER)]
    if where == "given":
        grants.append(Grant("@ada:*", Role.BLOCKED))
    access = Access(
        allow=AllowList(["*"]),
        admins=AllowList([ADA]),
        invite=AllowList([ADA]),
        blocked=in_file,
        grants=grants,
    )
    assert access.role_of(ADA) is Role.BLOCKED
    assert not access.may_talk(ADA)
    assert not access.may_invite(ADA)
    assert not access.is_admin(ADA)
    assert access.may_talk(BOB)


def test_what_was_given_counts_where_the_file_says_nothing() -> None:
    access = Access(
        allow=AllowList([BOB]),
        grants=[Grant(ADA, Role.USER), Grant("@*:ops.example", Role.ADMIN)],
    )
    assert access.role_of(ADA) is Role.USER
    assert access.role_of("@x:ops.example") is Role.ADMIN
    assert access.role_of(EVE) is None


def test_what_was_given_takes_nothing_from_what_the_file_allows() -> None:
    access = Access(allow=AllowList([ADA]), admins=AllowList([BOB]), grants=[Grant(BOB, Role.USER)])
    assert access.is_admin(BOB)
    assert access.role_of(ADA) is Role.USER


def test_stale_rules_give_nothing_but_still_block() -> None:
    access = Access(
        allow=AllowList([BOB]),
        grants=[
            Grant(ADA, Role.USER),
            Grant(BOB, Role.ADMIN),
            Grant("@*:evil.example", Role.BLOCKED),
        ],
        fresh=False,
    )
    assert access.role_of(ADA) is None
    assert access.role_of(BOB) is Role.USER
    assert access.role_of(EVE) is Role.BLOCKED
    assert Access(grants=[Grant(ADA, Role.USER)], fresh=False).nobody
    assert not access.with_grants([Grant(ADA, Role.USER)], fresh=True).may_talk(EVE)
    assert access.with_grants([Grant(ADA, Role.USER)], fresh=True).may_talk(ADA)


def test_a_given_pattern_that_is_none_names_nobody() -> None:
    access = Access(grants=[Grant("!room:x", Role.ADMIN), Grant(ADA, Role.USER)])
    assert access.role_of(ADA) is Role.USER
    assert access.role_of("!room:x") is None


@pytest.mark.parametrize(
    "alike",
    [
        "@ADA:example.org",
        "@\u0430da:example.org",  # Cyrillic
        "@ada\u200b:example.org",
        "@ada:example.org ",
        " @ada:example.org",
        "@ada:example.org\n",
        "@ada:EXAMPLE.org",
        "@ada:example.org.evil",
        "@ada:example\uff0eorg",
        "@ada:example.org:8448",
        "@ada:example.org:example.org",
        "ada:example.org",
        "@ada",
        "@a\u0064\u0301a:example.org",
        "@" + "ada" * 100 + ":example.org",
        "",
    ],
)
def test_who_only_looks_like_an_admin_has_no_role(alike: str) -> None:
    access = Access(
        admins=AllowList([ADA]), invite=AllowList([ADA]), grants=[Grant(ADA, Role.USER)]
    )
    assert access.role_of(alike) is None
    assert not access.may_invite(alike)


def test_whoever_may_talk_may_invite_unless_the_file_names_others() -> None:
    default = Access(allow=AllowList([BOB]), grants=[Grant(ADA, Role.USER)])
    assert default.may_invite(BOB)
    assert default.may_invite(ADA)
    assert not default.may_invite(EVE)
    named = Access(allow=AllowList([BOB]), admins=AllowList([ADA]), invite=AllowList([EVE]))
    assert not named.may_invite(BOB)
    assert named.may_invite(ADA), "admins always may"
    assert named.may_invite(EVE)
    assert not named.may_talk(EVE), "inviting is not talking"


@given(st.text())
def test_no_text_is_refused_by_an_error(text: str) -> None:
    access = Access(
        allow=AllowList(["*"]), rooms=RoomList(["#a:b", "!*:c"]), grants=[Grant(text, Role.ADMIN)]
    )
    access.role_of(text)
    access.may_invite(text)
    access.may_enter(text, [text])


# --- rooms ----------------------------------------------------------------------------------------


def test_every_room_may_be_entered_unless_some_are_named() -> None:
    assert Access().may_enter("!any:where")
    assert RoomList(["*"]).any_room
    assert RoomList(["!a:b", "*"]).allows("!other:where")


def test_a_room_is_named_by_id_alias_or_glob() -> None:
    rooms = RoomList(["!abc:example.org", "#team:example.org", "#*:chat.example", "!v12opaque"])
    assert rooms.allows("!abc:example.org")
    assert rooms.allows("!x:y", ["#team:example.org"])
    assert rooms.allows("!x:y", ["#no:where", "#anything:chat.example"])
    assert rooms.allows("!v12opaque")
    for room, aliases in (
        ("!abc:example.org.evil", ()),
        ("!ABC:example.org", ()),
        ("!abc:example.org\n", ()),
        ("!x:y", ("#team:example.org.evil", "#Team:example.org")),
        ("!x:y", ("team:example.org", "!abc:example.org")),
        ("!x:y", ("#t\u0435am:example.org",)),
        ("!x:y", ("#evil:evil.net:chat.example",)),
        ("!x:y", ("#*:example.org", "#?eam:*")),
        ("!v12opaque:evil.example", ()),
        ("!abc", ()),
        ("#team:example.org", ()),
        ("", ("",)),
    ):
        assert not rooms.allows(room, aliases), (room, aliases)


def test_a_glob_of_ids_keeps_the_server_apart() -> None:
    rooms = RoomList(["!*:example.org"])
    assert rooms.allows("!anything:example.org")
    assert not rooms.allows("!anything:evil.example.org")
    assert not rooms.allows("!anything")


@pytest.mark.parametrize("pattern", ["", "@ada:example.org", "#alias", "!", "#:x", "! a:b", "room"])
def test_what_names_no_room_is_refused_with_the_right_form(pattern: str) -> None:
    with pytest.raises(SettingsError, match=r"\[matrix\] rooms: .*#alias:server"):
        RoomList([pattern])
