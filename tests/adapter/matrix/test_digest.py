"""What a sync batch says of rooms: where our stay in a room begins."""

from __future__ import annotations

import pytest

from antiphon.adapter.matrix.digest import arrival_index, digest
from antiphon.adapter.matrix.transport.events import Event, StrippedEvent
from antiphon.adapter.matrix.transport.sync_response import JoinedRoom, SyncResponse
from antiphon.core.ids import UserId

ME = UserId("@bot:hs")


def member(
    membership: str, previous: str | None = None, who: str = ME, event_id: str = "$m"
) -> Event:
    unsigned = {} if previous is None else {"prev_content": {"membership": previous}}
    content = {"membership": membership}
    return Event(event_id, "m.room.member", "@ada:hs", content, 0, who, unsigned)


def said(event_id: str = "$s") -> Event:
    return Event(event_id, "m.room.message", "@ada:hs", {"msgtype": "m.text", "body": "x"}, 0)


@pytest.mark.parametrize(
    ("events", "index"),
    [
        ([said(), member("invite"), said(), member("join", "invite"), said()], 1),
        ([said(), member("join"), said()], 1),
        ([member("join", "leave"), said(), member("leave", "join"), said()], 0),
        ([member("join"), member("leave"), said(), member("invite"), member("join", "invite")], 3),
        ([said(), said()], None),
        ([said(), member("join", "join"), said()], None),
        ([member("join", None, "@bob:hs"), said()], None),
        ([member("leave"), said(), member("join", "leave")], 2),
        ([member("invite"), said(), member("join", "invite"), said(), member("join")], 0),
        ([member("leave"), member("join", "leave"), said(), member("join", "join")], 1),
    ],
    ids=[
        "since the invite that led to the join",
        "since the join",
        "the join before a kick",
        "the latest stay",
        "not in sight",
        "a new profile is no arrival",
        "somebody else",
        "not what was said while kicked",
        "a profile without its past is no arrival",
        "nor is a profile after a rejoin",
    ],
)
def test_our_stay_begins(events: list[Event], index: int | None) -> None:
    assert arrival_index(events, ME) == index


def test_an_event_twice_in_one_response_counts_where_it_first_stands() -> None:
    """Found by the campaign: a repeated join hid what was said between the invite and it."""
    timeline = (
        member("invite", event_id="$i"),
        said("$1"),
        member("join", "invite", event_id="$j"),
        said("$2"),
        member("join", "invite", event_id="$j"),
    )
    response = SyncResponse("n", {"!a": JoinedRoom(timeline, False, None, ())}, {}, {}, (), ())
    (news,) = digest(response, "s", ME).rooms
    assert [event.event_id for event in news.events] == ["$i", "$1", "$j", "$2"]
    assert news.arrival == 0


def test_a_batch_names_invites_with_their_inviter_and_rooms_that_were_left() -> None:
    invite = StrippedEvent("m.room.member", "@ada:hs", ME, {"membership": "invite"})
    encryption = Event("$c", "m.room.encryption", "@ada:hs", {}, 0, "")
    response = SyncResponse(
        next_batch="n",
        joined={"!a": JoinedRoom((said(),), True, "p", (encryption,))},
        invited={"!b": (invite,), "!c": ()},
        left={},
        to_device=(),
        problems=(),
    )
    batch = digest(response, "s", ME)
    assert [(i.room_id, i.inviter) for i in batch.invites] == [("!b", "@ada:hs"), ("!c", None)]
    assert batch.rooms[0].encrypted
    assert batch.rooms[0].limited
